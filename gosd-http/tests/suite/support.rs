//! Servers and instances that several tests need.

use std::sync::Arc;
use std::time::Duration;

use gosd_core::{Driver, Instance, Memory};
use gosd_server::{Server, Settings, serve};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::time::timeout;

pub(crate) const LEASE: Duration = Duration::from_secs(600);
/// Longer than anything in these tests takes on a busy machine.
pub(crate) const LATE: Duration = Duration::from_secs(30);

pub(crate) fn instance(service: &str) -> Instance {
    Instance::new(service, "http://10.0.0.7:8885").expect("a good name and URL")
}

pub(crate) async fn open(url: &str) -> Arc<dyn Driver> {
    gosd_http::open(url).await.expect("the URL is good")
}

/// Starts a server on a free port.
pub(crate) async fn start(settings: Settings) -> Server {
    serve("127.0.0.1:0", settings).await.expect("a port is free")
}

/// A server with one registry in memory.
pub(crate) async fn memory(settings: Settings) -> Server {
    let settings = settings.namespace("gosd", Arc::new(Memory::new())).expect("a good name");
    start(settings).await
}

/// Reads until a text has come, or the connection ends; says all that came.
pub(crate) async fn read_until(stream: &mut TcpStream, text: &str) -> String {
    let mut all = Vec::new();
    let read = async {
        while !String::from_utf8_lossy(&all).contains(text) {
            match stream.read_buf(&mut all).await {
                Ok(0) | Err(_) => break,
                Ok(_) => {}
            }
        }
    };
    timeout(LATE, read).await.expect("an end in time");
    String::from_utf8_lossy(&all).into_owned()
}
