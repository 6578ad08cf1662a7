use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use gosd_core::{BoxStream, Driver, Event, Instance, Result};
use gosd_testservers::EtcdServer;
use tokio::time::timeout;

/// Longer than any lease that a test waits for.
pub(crate) const LONG_LEASE: Duration = Duration::from_secs(600);
/// What anything may take before a test gives up; generous, for busy machines.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) async fn open(url: &str) -> Arc<dyn Driver> {
    gosd_etcd::open(url).await.expect("the URL is good")
}

/// Opens a driver for the namespace `gosd` at a port without TLS or authentication.
pub(crate) async fn open_at(port: u16) -> Arc<dyn Driver> {
    open(&format!("etcd://127.0.0.1:{port}")).await
}

pub(crate) fn instance(service: &str) -> Instance {
    Instance::new(service, "http://10.0.0.7:8885").expect("a good instance")
}

pub(crate) fn key(instance: &Instance) -> String {
    format!("/gosd/instances/{}", instance.id())
}

/// The lease of the only key there is, as `etcdctl` writes it: in hexadecimal.
pub(crate) async fn lease(etcd: &EtcdServer, instance: &Instance) -> String {
    let json = etcd.ctl(&["get", &key(instance), "-w", "fields"]).await;
    let line = json.lines().find_map(|line| line.strip_prefix("\"Lease\" : "));
    format!("{:x}", line.expect("the key is there").parse::<i64>().expect("a number"))
}

/// How many leases there are.
pub(crate) async fn leases(etcd: &EtcdServer) -> usize {
    // The first line says how many were found.
    etcd.ctl(&["lease", "list"]).await.lines().count() - 1
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

    /// Polls on, as core does after an error, until there is a snapshot.
    pub(crate) async fn snapshot(&mut self) -> Vec<Instance> {
        let again = async {
            loop {
                match self.next().await {
                    Ok(Event::Reset(all)) => return all,
                    Ok(event) => panic!("a snapshot comes first after an error, not {event:?}"),
                    Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
                }
            }
        };
        timeout(PATIENCE, again).await.expect("contact comes back")
    }
}
