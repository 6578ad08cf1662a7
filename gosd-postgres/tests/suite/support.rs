//! What the tests share.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use gosd_core::{BoxStream, Driver, Event, Instance, Result};
use tokio::time::timeout;

/// Longer than any lease that a test waits for.
pub(crate) const LONG_LEASE: Duration = Duration::from_secs(600);
/// What anything may take before a test gives up; generous, for busy machines.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// The rights that a user needs where another one has made the schema.
pub(crate) const GRANTS: &str = "
    GRANT USAGE ON SCHEMA gosd TO shop;
    GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA gosd TO shop;
    GRANT USAGE ON ALL SEQUENCES IN SCHEMA gosd TO shop";

pub(crate) async fn open(url: &str) -> Arc<dyn Driver> {
    gosd_postgres::open(url).await.expect("the URL is good")
}

pub(crate) fn instance(service: &str) -> Instance {
    Instance::new(service, "http://10.0.0.7:8885").expect("a good instance")
}

/// A watch, read item by item.
pub(crate) struct Watch<'a>(BoxStream<'a, Result<Event>>);

impl<'a> Watch<'a> {
    /// Begins a watch, and returns it with the snapshot.
    pub(crate) async fn start(driver: &'a dyn Driver) -> (Self, Vec<Instance>) {
        let mut watch = Self(driver.watch().expect("the driver has a watch"));
        match watch.next().await {
            Ok(Event::Reset(all)) => (watch, all),
            other => panic!("a snapshot comes first, not {other:?}"),
        }
    }

    pub(crate) async fn next(&mut self) -> Result<Event> {
        let next = timeout(PATIENCE, self.0.next()).await;
        next.expect("something comes in time").expect("the watch does not end")
    }

    /// The next event; there must be no error.
    pub(crate) async fn event(&mut self) -> Event {
        self.next().await.expect("contact is not lost")
    }

    /// Polls on, as core does after an error, until something other than an error comes.
    pub(crate) async fn back(&mut self) -> Event {
        let again = async {
            loop {
                match self.next().await {
                    Ok(event) => return event,
                    Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
                }
            }
        };
        timeout(PATIENCE, again).await.expect("contact comes back")
    }
}
