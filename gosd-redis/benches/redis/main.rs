//! Measures the driver beside plain Redis: `cargo bench -p gosd-redis`.
//!
//! Every figure is measured against the same client library on the same server, in rounds that alternate
//! between the two, so that other load on the machine slows both.

#![expect(clippy::print_stdout, reason = "the figures are what it is for")]

mod heartbeats;
mod latency;
mod snapshot;

use gosd_testservers::RedisServer;

fn main() {
    // `cargo test` passes other arguments, and then there is nothing to measure.
    if !std::env::args().any(|arg| arg == "--bench") {
        return;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime can be made");
    runtime.block_on(async {
        latency::measure(&RedisServer::start(&[]).await).await;
        snapshot::measure(&RedisServer::start(&[]).await).await;
        heartbeats::measure(&RedisServer::start(&[]).await).await;
    });
}
