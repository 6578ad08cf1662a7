//! What the driver costs beside plain PostgreSQL: `cargo bench -p gosd-postgres`.
//!
//! Every figure is measured against the same client library on the same server, in rounds that
//! alternate between the two, so that what slows the machine slows both.

mod heartbeats;
mod latency;
mod snapshot;

use std::sync::Arc;

use gosd_core::Driver;
use gosd_testservers::PostgresServer;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_postgres::tls::NoTlsStream;
use tokio_postgres::{Client, Config, Connection, NoTls};

fn main() {
    // What `cargo test` passes: nothing to measure.
    if !std::env::args().any(|arg| arg == "--bench") {
        return;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime can be made");
    runtime.block_on(async {
        latency::measure(&PostgresServer::start(&[]).await).await;
        snapshot::measure(&PostgresServer::start(&[]).await).await;
        heartbeats::measure(&PostgresServer::start(&[]).await).await;
    });
}

async fn open(server: &PostgresServer) -> Arc<dyn Driver> {
    gosd_postgres::open(&server.url()).await.expect("the URL is good")
}

/// A connection of the same client library, and what has to be polled for it.
async fn connect(server: &PostgresServer) -> (Client, Connection<TcpStream, NoTlsStream>) {
    let socket = TcpStream::connect(("127.0.0.1", server.port())).await.expect("the server is up");
    socket.set_nodelay(true).expect("it is connected");
    let config: Config = server.url().parse().expect("the URL is good");
    config.connect_raw(socket, NoTls).await.expect("the server is up")
}

/// The same, polled by a task of its own, which ends with the client.
async fn plain(server: &PostgresServer) -> (Client, JoinHandle<()>) {
    let (client, connection) = connect(server).await;
    // Whoever asks hears of an error.
    (client, tokio::spawn(async { drop(connection.await) }))
}
