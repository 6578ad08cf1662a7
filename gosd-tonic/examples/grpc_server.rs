//! An instance of the service `mail`, which answers gRPC's health check, for the example `grpc_client`.
//!
//! ```sh
//! cargo run -p gosd-tonic --example grpc_server
//! ```
//!
//! The registry is the one that `gosdDriver` names; by default it is the file `gosd.db` in the working
//! directory.
#![expect(clippy::print_stdout, reason = "it is there to be watched")]

use std::error::Error;

use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::Server;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = gosd::advertise(listener.local_addr()?)?;
    let (_, health) = tonic_health::server::health_reporter();
    let gosd = gosd::start("mail", &url).await?;
    println!("registered at {url}");
    Server::builder()
        .add_service(health)
        .serve_with_incoming_shutdown(TcpListenerStream::new(listener), gosd.shutdown_on_signal())
        .await?;
    Ok(())
}
