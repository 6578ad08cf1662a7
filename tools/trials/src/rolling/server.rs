//! The server that is restarted: a process that serves HTTP as shown in the README.

use std::error::Error;
use std::io::Write;
use std::path::Path;
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use gosd_core::{Client, Settings};
use gosd_testservers::Process;
use tokio::net::TcpListener;

use super::SERVICE;
use crate::backend::open;

/// The line that the process prints once it is registered.
const READY: &str = "serving";

/// Starts a server process.
pub(super) async fn start(program: &Path, url: &str, drain: Duration) -> Process {
    let program = program.to_str().expect("the path is UTF-8");
    let drain = drain.as_millis().to_string();
    Process::start(program, "cargo", ["orders", url, &drain], READY).await
}

/// The program of a server process, which serves until it gets a signal.
///
/// # Errors
///
/// If the server cannot listen or register.
pub async fn serve(url: &str, drain: Duration) -> Result<(), Box<dyn Error>> {
    let app = Router::new().route("/", get(|| async { "served" }));
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let here = format!("http://{}", listener.local_addr()?);
    let client = Client::builder(open(url).await)
        .register(SERVICE, &here)
        .settings(Settings::default().drain(drain))
        .handle_signals(true)
        .start()
        .await?;
    writeln!(std::io::stdout(), "{READY}")?;
    axum::serve(listener, app).with_graceful_shutdown(client.shutdown_on_signal()).await?;
    Ok(())
}
