//! Sends a request to the service `orders` twice a second, by hyper-util's client under the layer of
//! gosd-tower.
//!
//! ```sh
//! cargo run -p gosd-reqwest --example server &
//! cargo run -p gosd-tower --example tower_client
//! ```
//!
//! Start and kill servers meanwhile: no request fails.
#![expect(clippy::print_stdout, reason = "it is there to be watched")]

use std::error::Error;
use std::time::Duration;

use gosd_core::Failure;
use gosd_tower::BalanceLayer;
use http::Request;
use http_body_util::{BodyExt, Empty};
use hyper::body::Bytes;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::{self, Client};
use hyper_util::rt::TokioExecutor;
use tower::{Layer, Service, ServiceExt};

/// Whether an error is a failure of the instance, and whether the instance may have received the request.
fn failure(error: &legacy::Error) -> Option<Failure> {
    Some(if error.is_connect() { Failure::Unsent } else { Failure::Unanswered })
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    let gosd = gosd::connect().await?;
    // An empty body can be sent any number of times.
    let copy = |_: &Empty<Bytes>| Some(Empty::new());
    // A host that drops packets would otherwise hold a request up for the two minutes of the operating system.
    let mut connector = HttpConnector::new();
    connector.set_connect_timeout(Some(Duration::from_secs(3)));
    let http = Client::builder(TokioExecutor::new()).build(connector);
    let mut http = BalanceLayer::new(gosd, copy, failure).layer(http);
    let mut pace = tokio::time::interval(Duration::from_millis(500));
    loop {
        pace.tick().await;
        let request = Request::get("gosd://orders/name").body(Empty::new())?;
        let answer = http.ready().await?.call(request).await?;
        let body = answer.into_body().collect().await?.to_bytes();
        println!("{}", String::from_utf8_lossy(&body));
    }
}
