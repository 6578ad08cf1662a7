//! Sends one request in twenty to the canary of `orders`, and all others to the other instances.
//!
//! ```sh
//! cargo run -p gosd-reqwest --example server &
//! cargo run -p gosd-reqwest --example server -- canary=yes &
//! cargo run -p gosd-reqwest --example canary
//! ```
//!
//! The choice depends on the customer, so that each customer sees one version. Stop the canary meanwhile: its
//! customers go to the other instances, and no request fails.
#![expect(clippy::print_stdout, reason = "it is there to be watched")]

use std::error::Error;
use std::time::Duration;

use gosd_reqwest::SendBy;

/// How many customers of a hundred get the new version.
const SHARE: u32 = 5;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let gosd = gosd::connect().await?;
    gosd.next("orders").await?;
    let http = reqwest::Client::builder().no_proxy().build()?;
    let is_canary = |it: &gosd::Instance| it.metadata().contains_key("canary");
    let mut canary = gosd.service_where("orders", is_canary).or_else_all();
    let mut stable = gosd.service_where("orders", move |it| !is_canary(it)).or_else_all();
    let mut pace = tokio::time::interval(Duration::from_millis(100));
    for customer in 0_u32.. {
        pace.tick().await;
        let orders = if customer % 100 < SHARE { &mut canary } else { &mut stable };
        let turn = orders.turn().ok_or("nobody serves orders")?;
        let answer = http.get("gosd://orders/name").send_by_turn(turn).await?;
        println!("customer {customer}: {}", answer.error_for_status()?.text().await?);
    }
    Ok(())
}
