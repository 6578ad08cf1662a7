//! Sends a request to the service `orders` twice a second; see the example `server`.
//!
//! ```sh
//! cargo run -p gosd-reqwest --example client
//! ```
//!
//! Start and kill servers meanwhile: no request fails.
#![expect(clippy::print_stdout, reason = "it is there to be watched")]

use std::error::Error;
use std::time::Duration;

use gosd_reqwest::SendBy;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let gosd = gosd::connect().await?;
    let http = reqwest::Client::builder().no_proxy().build()?;
    let mut pace = tokio::time::interval(Duration::from_millis(500));
    loop {
        pace.tick().await;
        let answer = http.get("gosd://orders/name").send_by(&gosd).await?;
        println!("{}", answer.error_for_status()?.text().await?);
    }
}
