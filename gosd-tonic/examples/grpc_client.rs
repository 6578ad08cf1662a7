//! Checks the health of the service `mail` twice a second; see the example `grpc_server`.
//!
//! ```sh
//! cargo run -p gosd-tonic --example grpc_client
//! ```
//!
//! Start and kill servers meanwhile.
#![expect(clippy::print_stdout, reason = "it is there to be watched")]

use std::error::Error;
use std::time::Duration;

use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let gosd = gosd::connect().await?;
    let mut mail = HealthClient::new(gosd_tonic::channel(&gosd, "mail"));
    let mut pace = tokio::time::interval(Duration::from_millis(500));
    loop {
        pace.tick().await;
        match mail.check(HealthCheckRequest { service: String::new() }).await {
            Ok(answer) => println!("{:?}", answer.into_inner().status()),
            Err(status) => println!("{status}"),
        }
    }
}
