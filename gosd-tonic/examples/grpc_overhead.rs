//! Measures what the channel adds to a call on the loopback interface, beside tonic's own channel.
//!
//! ```sh
//! cargo run --release -p gosd-tonic --example grpc_overhead
//! ```
//!
//! The two take turns, call by call, so that other load on the machine hits both alike.
#![expect(clippy::print_stdout, reason = "it is there to be read")]

use std::error::Error;
use std::sync::Arc;
use std::time::{Duration, Instant};

use gosd::{Client, Memory};
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::{Endpoint, Server};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

const CALLS: usize = 20_000;
const WARM_UP: usize = 1_000;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}", listener.local_addr()?);
    let (_, health) = tonic_health::server::health_reporter();
    let server = Server::builder().add_service(health);
    let server = tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));

    let gosd = Client::builder(Arc::new(Memory::new())).start().await?;
    gosd.add_local("mail", &url)?;
    let mut bare = HealthClient::new(Endpoint::from_shared(url)?.connect().await?);
    let mut by_name = HealthClient::new(gosd_tonic::channel(&gosd, "mail"));
    let request = || HealthCheckRequest { service: String::new() };
    let (mut bares, mut by_names) = (Vec::new(), Vec::new());
    for call in 0..2 * (CALLS + WARM_UP) {
        // Each of the two goes first in every other pair.
        let is_bare = call % 4 == 0 || call % 4 == 3;
        let start = Instant::now();
        if is_bare {
            bare.check(request()).await?;
        } else {
            by_name.check(request()).await?;
        }
        let took = start.elapsed();
        if call >= 2 * WARM_UP {
            if is_bare { &mut bares } else { &mut by_names }.push(took);
        }
    }
    server.abort();
    bares.sort_unstable();
    by_names.sort_unstable();
    let at = |all: &[Duration], percent: usize| all[all.len() * percent / 100].as_secs_f64() * 1e6;
    println!("of {CALLS} calls each, in us:");
    for (name, percent) in [("median", 50), ("p99", 99)] {
        let (bare, by_name) = (at(&bares, percent), at(&by_names, percent));
        let added = by_name - bare;
        let share = 100.0 * added / bare;
        println!(
            "{name:6}  bare {bare:7.1}  by name {by_name:7.1}  added {added:5.1} ({share:.1} %)"
        );
    }
    Ok(())
}
