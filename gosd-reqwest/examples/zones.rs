//! Sends requests to the instances of `orders` in one zone, and to those of all zones while the zone has
//! none.
//!
//! ```sh
//! cargo run -p gosd-reqwest --example server -- zone=a &
//! cargo run -p gosd-reqwest --example server -- zone=b &
//! cargo run -p gosd-reqwest --example zones -- b
//! ```
//!
//! Stop the server of the zone and start it again meanwhile: no request fails.
#![expect(clippy::print_stdout, reason = "it is there to be watched")]

use std::error::Error;
use std::time::Duration;

use gosd_reqwest::SendBy;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let zone = std::env::args().nth(1).ok_or("usage: zones ZONE")?;
    let gosd = gosd::connect().await?;
    gosd.next("orders").await?;
    let http = reqwest::Client::builder().no_proxy().build()?;
    // Made once, because the selection has its own rotation. Clones, one for each task, share it.
    let near = gosd.service_where("orders", move |it| it.metadata().get("zone") == Some(&zone));
    let mut near = near.or_else_all();
    let mut pace = tokio::time::interval(Duration::from_millis(500));
    loop {
        pace.tick().await;
        let turn = near.turn().ok_or("nobody serves orders")?;
        let answer = http.get("gosd://orders/name").send_by_turn(turn).await?;
        println!("{}", answer.error_for_status()?.text().await?);
    }
}
