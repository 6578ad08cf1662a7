//! Checks whether this user may write, by a record that is removed again.

use std::io;
use std::time::Duration;

use gosd::{ErrorKind, Instance, InstanceId};

use super::report::{Finding, Report};
use crate::backend::Backend;
use crate::failure::with_causes;

/// The service of the record. Names that begin like this are reserved for gosd, and no client shows them.
const SERVICE: &str = "gosd.doctor";
/// How long the record stays if this process is killed before it removes the record.
const LEASE: Duration = Duration::from_secs(10);

pub(super) async fn check(backend: &Backend, report: &mut Report<'_>) -> io::Result<()> {
    // A random id, because another doctor may be at work.
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
