//! Drivers, leases and bounds that several tests need.

use std::sync::Arc;
use std::time::Duration;

use gosd_core::{Driver, Instance};
use gosd_testservers::EtcdServer;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// A lease longer than any test.
pub(crate) const LONG_LEASE: Duration = Duration::from_secs(600);
/// How long a test waits before it gives up, on a busy machine too.
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

/// The lease of the only key, as `etcdctl` prints it: in hexadecimal.
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

/// How many calls of a method the server has `"started"`, or `"handled"`, since its own start.
pub(crate) async fn calls(port: u16, state: &str, method: &str) -> u32 {
    let mut socket = TcpStream::connect(("127.0.0.1", port)).await.expect("the server listens");
    let request = "GET /metrics HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n";
    socket.write_all(request.as_bytes()).await.expect("it takes requests");
    let mut answer = String::new();
    socket.read_to_string(&mut answer).await.expect("it answers in text");
    let (name, method) =
        (format!("grpc_server_{state}_total"), format!("grpc_method=\"{method}\""));
    // One line for each code that calls ended with.
    let lines = answer.lines().filter(|line| line.starts_with(&name) && line.contains(&method));
    let counts = lines.filter_map(|line| line.rsplit(' ').next()?.parse::<u32>().ok());
    counts.reduce(|one, other| one + other).expect("the server counts")
}
