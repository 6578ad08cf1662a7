//! The schema: whether it exists, whether it is gosd's, and its creation.

use gosd_core::{Error, ErrorKind, Result};
use tokio_postgres::{Client, Error as PgError};

use crate::error::from_postgres;

/// The version of the layout, which `gosd.layout` contains.
const VERSION: i32 = 1;
const LAYOUT: &str = include_str!("layout.sql");
/// Makes the following statements wait for another process that is creating the tables.
const ALONE: &str = "SELECT pg_advisory_xact_lock(1735357284, 0);";

/// Checks that the server accepts writes and that the schema is gosd's, and creates it if there is none.
pub(crate) async fn prepare(client: &Client) -> Result<()> {
    let found = client.query_typed_one(
        "SELECT pg_is_in_recovery() OR current_setting('transaction_read_only')::bool,
             to_regnamespace('gosd') IS NOT NULL,
             EXISTS (SELECT FROM pg_class WHERE relnamespace = to_regnamespace('gosd')::oid),
             to_regclass('gosd.layout') IS NOT NULL",
        &[],
    );
    let found = found.await.map_err(|error| from_postgres(&error))?;
    let [only_reads, has_schema, has_tables, is_ours] =
        [0, 1, 2, 3].map(|column| found.try_get::<_, bool>(column).unwrap_or(false));
    if only_reads {
        return Err(Error::new(
            ErrorKind::Unavailable,
            "the server takes no writes: is it a standby, or default_transaction_read_only on?",
        ));
    }
    match (is_ours, has_tables) {
        (true, _) => {}
        (false, true) => {
            let message = "the schema gosd belongs to something else; use another database";
            return Err(Error::new(ErrorKind::Data, message));
        }
        (false, false) => {
            make(client, has_schema).await.map_err(|error| from_postgres(&error))?;
        }
    }
    let version = client.query_typed_one("SELECT max(version) FROM gosd.layout", &[]);
    let version = version.await.and_then(|row| row.try_get::<_, Option<i32>>(0));
    match version.map_err(|error| from_postgres(&error))? {
        Some(newer) if newer > VERSION => Err(Error::new(
            ErrorKind::Unsupported,
            format!("the layout has version {newer}, and this gosd knows {VERSION}: update gosd"),
        )),
        _ => Ok(()),
    }
}

/// Creates the schema. The statements of one text are one transaction.
async fn make(client: &Client, has_schema: bool) -> Result<(), PgError> {
    if !has_schema {
        // Even where the schema exists, this statement needs the right to create one.
        let schema = format!("{ALONE} CREATE SCHEMA IF NOT EXISTS gosd");
        client.batch_execute(&schema).await?;
    }
    client.batch_execute(&format!("{ALONE} {LAYOUT}")).await
}
