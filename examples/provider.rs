//! A service that registers itself: the first of the Go library's two programs.
//!
//! ```sh
//! cargo run --example provider --features sqlite -- :3333 1
//! cargo run --example provider --features sqlite -- :3334 2
//! cargo run --example consumer --features sqlite
//! ```
//!
//! Use three terminals, in any order. Each program finds the registry by the variable `gosdDriver`; by
//! default it is the file `gosd.db` in the working directory. End a provider with Ctrl-C, and it leaves the
//! registry before it ends. Kill it with SIGKILL, and it is gone once its lease has run out.
#![expect(clippy::print_stdout, reason = "it is there to be watched")]

use std::env;
use std::error::Error;

use axum::routing::get;
use axum::{Json, Router};
use tokio::net::TcpListener;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut args = env::args().skip(1);
    let (Some(address), Some(name)) = (args.next(), args.next()) else {
        return Err("usage: provider [HOST]:PORT NAME, such as :3333 1".into());
    };
    // Others have to reach this process at the registered address. Without a host that is only this machine;
    // to be found from another one, give an address that it can reach, such as 10.0.0.7:3333.
    let address = if address.starts_with(':') { format!("127.0.0.1{address}") } else { address };
    let listener = TcpListener::bind(&address).await?;
    let url = format!("http://{}", listener.local_addr()?);

    let body = format!("Provider: {name}");
    let app = Router::new().route("/ping", get(async move || Json(body)));

    // The listener is bound, so this process can serve requests as soon as others find the instance.
    let gosd = gosd::start("provider", &url).await?;
    println!("registered at {url}");

    // On Ctrl-C or SIGTERM: leave, finish the requests under way, and end.
    axum::serve(listener, app).with_graceful_shutdown(gosd.shutdown_on_signal()).await?;
    println!("left");
    Ok(())
}
