//! What several tests need.

use std::sync::Arc;
use std::time::Duration;

use gosd_core::{Driver, Instance, Memory};
use gosd_http::server::{Server, Settings, serve};

pub(crate) const LEASE: Duration = Duration::from_secs(600);
/// Longer than anything takes on a busy machine.
pub(crate) const LATE: Duration = Duration::from_secs(30);

pub(crate) fn instance(service: &str) -> Instance {
    Instance::new(service, "http://10.0.0.7:8885").expect("a good name and URL")
}

pub(crate) async fn open(url: &str) -> Arc<dyn Driver> {
    gosd_http::open(url).await.expect("the URL is good")
}

/// Serves on a free port.
pub(crate) async fn start(settings: Settings) -> Server {
    serve("127.0.0.1:0", settings).await.expect("a port is free")
}

/// A server with one registry in memory, and that registry.
pub(crate) async fn memory(settings: Settings) -> (Server, Memory) {
    let memory = Memory::new();
    let settings = settings.namespace("gosd", Arc::new(memory.clone())).expect("a good name");
    (start(settings).await, memory)
}
