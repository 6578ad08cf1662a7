//! Measures the driver beside plain etcd: `cargo bench -p gosd-etcd`.
//!
//! Every figure is measured against the same client library on the same server, in rounds that alternate
//! between the two, so that other load on the machine slows both. With the name of a section, such as
//! `cargo bench -p gosd-etcd -- snapshot`, only that one runs.

mod latency;
mod registrations;
mod snapshot;

use std::sync::Arc;

use etcd_client::{Client, KvClient};
use gosd_core::Driver;
use gosd_testservers::EtcdServer;

fn main() {
    // `cargo test` passes other arguments, and then there is nothing to measure.
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if !arguments.iter().any(|argument| argument == "--bench") {
        return;
    }
    let sections = ["latency", "snapshot", "registrations"];
    let named: Vec<_> =
        sections.into_iter().filter(|it| arguments.iter().any(|arg| arg == it)).collect();
    let runs = |section| named.is_empty() || named.contains(&section);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime can be made");
    runtime.block_on(async {
        if runs("latency") {
            Box::pin(latency::measure(&EtcdServer::start(&[]).await)).await;
        }
        if runs("snapshot") {
            snapshot::measure(&EtcdServer::start(&[]).await).await;
        }
        if runs("registrations") {
            registrations::measure(&EtcdServer::start(&[]).await).await;
        }
    });
}

async fn open(etcd: &EtcdServer) -> Arc<dyn Driver> {
    let url = format!("etcd://127.0.0.1:{}", etcd.port());
    gosd_etcd::open(&url).await.expect("the URL is good")
}

/// A connection of the same client library.
async fn plain(etcd: &EtcdServer) -> Client {
    let url = format!("http://127.0.0.1:{}", etcd.port());
    Client::connect([url], None).await.expect("the server is up")
}

/// For replies of any size.
fn large(client: &Client) -> KvClient {
    client.kv_client().max_decoding_message_size(usize::MAX)
}
