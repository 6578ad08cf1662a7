//! An instance of the service `orders`, for the other examples.
//!
//! ```sh
//! cargo run -p gosd-reqwest --example server
//! cargo run -p gosd-reqwest --example server -- zone=b version=2
//! ```
//!
//! The arguments are the metadata of the instance. The registry is the one that `gosdDriver` names; by
//! default it is the file `gosd.db` in the working directory.
#![expect(clippy::print_stdout, reason = "it is there to be watched")]

use std::error::Error;

use axum::Router;
use axum::routing::get;
use gosd::{Client, Drivers, Instance};
use tokio::net::TcpListener;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = gosd::advertise(listener.local_addr()?)?;
    let me = url.clone();
    let app = Router::new().route("/name", get(async move || me));
    let mut instance = Instance::new("orders", &url)?;
    for pair in std::env::args().skip(1) {
        let (key, value) = pair.split_once('=').ok_or("usage: server [KEY=VALUE]..")?;
        instance = instance.with_metadata(key, value);
    }
    // Without metadata this would be `gosd::start("orders", &url)`.
    let driver = Drivers::compiled().from_env().await?;
    let builder = Client::builder(driver).settings(gosd::settings()?);
    let gosd = builder.register_instance(instance).start().await?;
    println!("registered at {url}");
    axum::serve(listener, app).with_graceful_shutdown(gosd.shutdown_on_signal()).await?;
    Ok(())
}
