//! Measures what `send_by` adds to a request on the loopback interface, beside the bare client.
//!
//! ```sh
//! cargo run --release -p gosd-reqwest --example overhead
//! ```
//!
//! The two take turns, request by request, so that other load on the machine hits both alike.
#![expect(clippy::print_stdout, reason = "it is there to be read")]

use std::error::Error;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::routing::get;
use gosd::{Client, Memory};
use gosd_reqwest::SendBy;
use tokio::net::TcpListener;

const REQUESTS: usize = 20_000;
const WARM_UP: usize = 1_000;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}", listener.local_addr()?);
    let app = Router::new().route("/7", get(async || "order"));
    let server = tokio::spawn(async move { axum::serve(listener, app).await });

    let gosd = Client::builder(Arc::new(Memory::new())).start().await?;
    gosd.add_local("orders", &url)?;
    let http = reqwest::Client::builder().no_proxy().build()?;
    let (mut bare, mut by_name) = (Vec::new(), Vec::new());
    for request in 0..2 * (REQUESTS + WARM_UP) {
        // Each of the two goes first in every other pair.
        let is_bare = request % 4 == 0 || request % 4 == 3;
        let start = Instant::now();
        if is_bare {
            http.get(format!("{url}/7")).send().await?.bytes().await?;
        } else {
            http.get("gosd://orders/7").send_by(&gosd).await?.bytes().await?;
        }
        let took = start.elapsed();
        if request >= 2 * WARM_UP {
            if is_bare { &mut bare } else { &mut by_name }.push(took);
        }
    }
    server.abort();
    bare.sort_unstable();
    by_name.sort_unstable();
    let at = |all: &[Duration], percent: usize| all[all.len() * percent / 100].as_secs_f64() * 1e6;
    println!("of {REQUESTS} requests each, in us:");
    for (name, percent) in [("median", 50), ("p99", 99)] {
        let (bare, by_name) = (at(&bare, percent), at(&by_name, percent));
        let added = by_name - bare;
        let share = 100.0 * added / bare;
        println!(
            "{name:6}  bare {bare:7.1}  send_by {by_name:7.1}  added {added:5.1} ({share:.1} %)"
        );
    }
    Ok(())
}
