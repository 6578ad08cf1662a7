//! A service with axum.
//!
//! ```sh
//! gosdDriver=sqlite:/tmp/gosd.db cargo run -p gosd-servers --bin with_axum
//! ```
//!
//! It listens on the port that is its first argument, or on any.
#![expect(clippy::print_stdout, reason = "it is there to be watched")]

use std::env;
use std::error::Error;

use axum::Router;
use axum::routing::get;
use sd_notify::NotifyState;
use tokio::net::TcpListener;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let app = Router::new().route("/ping", get(|| async { "pong" }));
    let port = env::args().nth(1).unwrap_or_else(|| "0".into());
    let listener = TcpListener::bind(format!("0.0.0.0:{port}")).await?;

    let url = gosd::advertise(listener.local_addr()?)?;
    let gosd = gosd::start("orders", &url).await?;
    println!("registered at {url}");
    // Without systemd this does nothing.
    sd_notify::notify(&[NotifyState::Ready])?;

    // On a signal: the goodbye, a while in which the server still serves, and then its end.
    axum::serve(listener, app).with_graceful_shutdown(gosd.shutdown_on_signal()).await?;
    println!("left");
    Ok(())
}
