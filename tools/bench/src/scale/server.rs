//! A registry server of a simulation: over memory, or as one of several over a database.

use std::net::SocketAddr;
use std::sync::Arc;

use gosd::Drivers;
use gosd_core::{Driver, Memory};
use gosd_server::{Limits, Settings};

/// The line of the output that says that the server is ready.
pub const READY: &str = "serving";

/// Serves the database of a URL, or memory, to who has the token, until the process is killed or asked to end.
pub async fn run(address: &str, token: &str, url: Option<&str>) {
    let driver: Arc<dyn Driver> = match url {
        Some(url) => Drivers::compiled().open(url).await.expect("the database is there"),
        None => Arc::new(Memory::new()),
    };
    // All clients come from one address here, which is what the limits count by.
    let mut limits = Limits::default().for_clients_of_one_address(100_000);
    limits.instances = 1_000_000;
    let settings = Settings::new().namespace("gosd", driver).expect("a good name").limits(limits);
    let settings = settings.token(token).expect("a good token");
    let address: SocketAddr = address.parse().expect("an address");
    let server = gosd_server::serve(address, settings).await.expect("the port is free");
    println!("{READY}");
    server.shutdown_on_signal().await.expect("signals can be awaited");
}
