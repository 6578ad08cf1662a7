//! A service with actix-web. Its own handling of signals is off, because it would close its port before the
//! other services know of the goodbye.
//!
//! ```sh
//! gosdDriver=sqlite:/tmp/gosd.db cargo run -p gosd-servers --bin with_actix
//! ```
//!
//! It listens on the port that is its first argument, or on any.
#![expect(clippy::print_stdout, reason = "it is there to be watched")]

use std::env;
use std::error::Error;

use actix_web::{App, HttpServer, web};

#[actix_web::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let app = || App::new().route("/ping", web::get().to(|| async { "pong" }));
    let port = env::args().nth(1).unwrap_or_else(|| "0".into());
    let server = HttpServer::new(app).disable_signals().bind(format!("0.0.0.0:{port}"))?;
    let bound = server.addrs().first().copied().ok_or("the server listens nowhere")?;
    let server = server.run();

    let url = gosd::advertise(bound)?;
    let gosd = gosd::start("orders", &url).await?;
    println!("registered at {url}");

    let handle = server.handle();
    let end = actix_web::rt::spawn(async move {
        gosd.shutdown_on_signal().await;
        handle.stop(true).await;
    });
    server.await?;
    end.await?;
    println!("left");
    Ok(())
}
