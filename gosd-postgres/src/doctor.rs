//! The diagnosis of the server and of what is registered in it, for `gosd doctor`.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use gosd_core::{BoxFuture, Error, ErrorKind, Fact, Result};
use tokio::time::timeout;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, Error as PgError};

use crate::connection::Connection;
use crate::error;
use crate::options::Options;
use crate::statements;

/// How long all answers together may take.
const ANSWERS: Duration = Duration::from_secs(5);
/// From this percentage of its connections on, a server is about to refuse more.
const ALMOST_FULL: i64 = 90;

/// Finds problems, present or likely, of the server of a URL and of what it holds.
///
/// `lease`, which the diagnosis of other databases needs, is ignored, because each record has its own. Like
/// any other first call, this one creates the schema if there is none.
///
/// # Errors
///
/// As for the methods of the driver.
pub fn diagnose(url: &str, _lease: Duration) -> BoxFuture<'_, Result<Vec<Fact>>> {
    Box::pin(async move {
        let options = Options::parse(url)?;
        let connection = Connection::open(&options, Arc::default(), &mut 0).await?;
        let found = timeout(ANSWERS, facts(&connection.client, &options.namespace)).await;
        let found = found.map_err(|_| {
            let message = format!("no answer within {ANSWERS:?}; is a table of gosd locked?");
            Error::new(ErrorKind::Timeout, message)
        });
        found?.map_err(|error| error::from_postgres(&error))
    })
}

async fn facts(client: &Client, namespace: &str) -> Result<Vec<Fact>, PgError> {
    let mut facts = vec![clock(client).await?];
    facts.extend(connections(client).await?);
    facts.extend(transactions(client).await?);
    let parameters: [(&(dyn ToSql + Sync), Type); 1] = [(&namespace, Type::TEXT)];
    let records = client.query_typed(
        "SELECT 0::bigint, '', '', id, service, url, metadata::text,
             (extract(epoch FROM lease) * 1000000)::bigint, isfinite(expires_at)
         FROM gosd.instances WHERE namespace = $1 AND expires_at > clock_timestamp()",
        &parameters,
    );
    for row in records.await? {
        match (statements::instance(&row), row.try_get::<_, Option<i64>>(7)?) {
            (Err(what), _) => facts.push(Fact::Unreadable { what }),
            (Ok(instance), _) if !row.try_get::<_, bool>(8)? => {
                facts.push(Fact::NoLease { id: instance.id().clone() });
            }
            (Ok(instance), Some(lease)) => {
                let lease = Duration::from_micros(u64::try_from(lease).unwrap_or(0));
                let id = instance.id().clone();
                facts.push(Fact::Lease { id, at_least: lease, at_most: lease });
            }
            // The record does not say what its lease is.
            (Ok(_), None) => {}
        }
    }
    Ok(facts)
}

async fn clock(client: &Client) -> Result<Fact, PgError> {
    let (sent, own) = (Instant::now(), SystemTime::now());
    let time = client
        .query_typed_one("SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint", &[]);
    let server: i64 = time.await?.try_get(0)?;
    let half = sent.elapsed() / 2;
    let own = (own + half).duration_since(UNIX_EPOCH).unwrap_or_default();
    let own = i64::try_from(own.as_millis()).unwrap_or(i64::MAX);
    Ok(Fact::Clock { ahead_ms: server - own, within: half + Duration::from_millis(1) })
}

async fn connections(client: &Client) -> Result<Option<Fact>, PgError> {
    let counted = client.query_typed_one(
        "SELECT (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'),
             current_setting('max_connections')::bigint
                 - current_setting('superuser_reserved_connections')::bigint",
        &[],
    );
    let counted = counted.await?;
    let (used, most): (i64, i64) = (counted.try_get(0)?, counted.try_get(1)?);
    Ok((used * 100 >= most * ALMOST_FULL).then(|| Fact::Trouble {
        name: "connections",
        what: format!("{used} of {most} connections of PostgreSQL are in use; a client takes two"),
        advice: "raise max_connections, or put a pooler before the server".into(),
    }))
}

async fn transactions(client: &Client) -> Result<Option<Fact>, PgError> {
    let oldest = client.query_typed_one(
        "SELECT coalesce(max(extract(epoch FROM clock_timestamp() - xact_start)), 0)::bigint
         FROM pg_stat_activity WHERE backend_type = 'client backend'",
        &[],
    );
    let oldest: i64 = oldest.await?.try_get(0)?;
    Ok((oldest > 600).then(|| Fact::Trouble {
        name: "long-transaction",
        what: format!(
            "a transaction has been open for {} minutes: what heartbeats leave behind cannot be \
             taken away meanwhile, and the table grows",
            oldest / 60
        ),
        advice:
            "see pg_stat_activity for whose it is; idle_in_transaction_session_timeout ends such"
                .into(),
    }))
}
