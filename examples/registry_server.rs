//! A registry for a team without a database server: the HTTP API over an SQLite file.
//!
//! `registry_server [ADDRESS [FILE]]` serves at `127.0.0.1:4673` over `gosd.db` unless told otherwise.
//! Then, in any language:
//!
//! ```sh
//! curl -X PUT localhost:4673/v1/gosd/instances/mail-1 -H 'content-type: application/json' -d '{
//!   "instance": {"id": "mail-1", "service": "mail", "url": "http://10.0.0.7:8885"}, "lease_ms": 15000}'
//! curl localhost:4673/v1/gosd/instances
//! curl -N localhost:4673/v1/gosd/events
//! curl -X DELETE localhost:4673/v1/gosd/instances/mail-1
//! ```
//!
//! <http://127.0.0.1:4673/> is a page that shows what is registered.
//!
//! For other hosts, add a token and a certificate: see `gosd_server::Settings`.
#![expect(clippy::print_stdout, reason = "it says where it serves")]

use std::env;

use gosd::{Drivers, Result};
use gosd_server::{Settings, serve};

#[tokio::main]
async fn main() -> Result<()> {
    let mut args = env::args().skip(1);
    let address = args.next().unwrap_or_else(|| "127.0.0.1:4673".into());
    let file = args.next().unwrap_or_else(|| "gosd.db".into());
    let driver = Drivers::compiled().open(&format!("sqlite:{file}")).await?;

    let server = serve(address, Settings::new().namespace("gosd", driver)?).await?;
    println!("http://{}", server.address());

    // Until SIGTERM or Ctrl-C; this works as the only process of a container, too.
    server.shutdown_on_signal().await
}
