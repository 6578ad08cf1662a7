//! A client's counters for Prometheus: `Client::stats` at `/metrics`.
//!
//! ```sh
//! cargo run --example metrics --features sqlite
//! curl localhost:9464/metrics
//! ```
#![expect(clippy::print_stdout, reason = "it is there to be watched")]

use std::error::Error;

use axum::Router;
use axum::routing::get;
use tokio::net::TcpListener;

/// The counters are read on request, so that they cost a pick nothing. The names follow OpenTelemetry's.
fn metrics(gosd: &gosd::Client) -> String {
    let stats = gosd.stats();
    let mut text = format!("gosd_client_registration_up {}\n", u8::from(stats.registered));
    for (what, counts) in [("heartbeats", stats.heartbeats), ("reads", stats.reads)] {
        text += &format!("gosd_client_{what}_total{{result=\"ok\"}} {}\n", counts.ok);
        text += &format!("gosd_client_{what}_total{{result=\"failed\"}} {}\n", counts.failed);
    }
    let age = stats.view_age.map_or(f64::NAN, |age| age.as_secs_f64());
    text += &format!("gosd_client_view_age_seconds {age}\n");
    text += &format!("gosd_client_ejections_total {}\n", stats.ejections);
    for it in stats.services {
        text += &format!("gosd_client_instances{{service={:?}}} {}\n", it.name, it.instances);
        text += &format!("gosd_client_picks_total{{service={:?}}} {}\n", it.name, it.picks);
    }
    text
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let gosd = gosd::connect().await?;
    let listener = TcpListener::bind("127.0.0.1:9464").await?;
    println!("serving http://{}/metrics", listener.local_addr()?);
    let client = gosd.clone();
    let app = Router::new().route("/metrics", get(async move || metrics(&client)));
    axum::serve(listener, app).with_graceful_shutdown(gosd.shutdown_on_signal()).await?;
    Ok(())
}
