//! Serves a registry in memory, the namespace `gosd`, for trying the API out:
//! `memory_server [ADDRESS [TOKEN]]`.
//!
//! The address is `127.0.0.1:0` unless one is given, which is a free port; it is printed.
#![expect(clippy::print_stdout, reason = "it says where it serves")]

use std::env;
use std::future::pending;
use std::sync::Arc;

use gosd_core::{Memory, Result};
use gosd_server::{Limits, Settings, serve};

#[tokio::main]
async fn main() -> Result<()> {
    let mut args = env::args().skip(1);
    let address = args.next().unwrap_or_else(|| "127.0.0.1:0".into());
    let mut limits = Limits::default();
    limits.requests_per_second = 100_000;
    limits.burst = 100_000;
    let mut settings = Settings::new().namespace("gosd", Arc::new(Memory::new()))?.limits(limits);
    if let Some(token) = args.next() {
        settings = settings.token(&token)?;
    }
    let server = serve(address, settings).await?;
    println!("http://{}", server.address());
    pending().await
}
