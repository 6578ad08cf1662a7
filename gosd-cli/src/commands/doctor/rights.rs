//! Whether this user may write: tried with a record of its own, which is taken away again.

use std::io;
use std::time::Duration;

use gosd::{ErrorKind, Instance, InstanceId};

use super::report::{Finding, Report};
use crate::backend::Backend;
use crate::failure::with_causes;

/// The service of the record. Names that begin like this are gosd's own, and no client shows them.
const SERVICE: &str = "gosd.doctor";
/// For how long it stays if this process is killed before it takes it away.
const LEASE: Duration = Duration::from_secs(10);

pub(super) async fn check(backend: &Backend, report: &mut Report<'_>) -> io::Result<()> {
    // Unique, for there may be another doctor at work.
    let random = fastrand::u128(..);
    let id = InstanceId::from(format!("{SERVICE}-{random:032x}"));
    let record = Instance::from_parts(id, SERVICE, "gosd://doctor", [].into());
    let written = backend.register(&record, LEASE).await;
    let tried = match written {
        Ok(()) => backend.deregister(record.id()).await,
        refused => refused,
    };
    let Err(error) = tried else { return Ok(()) };
    let (name, advice) = match error.kind() {
        ErrorKind::Denied => (
            "read-only",
            "that will do for what only discovers; what registers needs the right to write",
        ),
        _ => ("no-writes", "see to the database: while nobody can renew, nobody can register"),
    };
    report.add(Finding::new(name, with_causes(&error), advice.into()))
}
