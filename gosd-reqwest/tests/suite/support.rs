//! Clients and URLs for the tests.

use std::sync::Arc;

use gosd::{Client, Memory, Settings};

/// A client of gosd that knows these instances of `orders`.
pub(crate) async fn knowing(urls: impl IntoIterator<Item = String>) -> Client {
    with_settings(Settings::default(), urls).await
}

pub(crate) async fn with_settings(
    settings: Settings,
    urls: impl IntoIterator<Item = String>,
) -> Client {
    let builder = Client::builder(Arc::new(Memory::new())).settings(settings);
    let gosd = builder.start().await.unwrap();
    for url in urls {
        gosd.add_local("orders", &url).unwrap();
    }
    gosd
}

pub(crate) fn http() -> reqwest::Client {
    reqwest::Client::builder().no_proxy().build().unwrap()
}

/// A URL whose port nobody listens on.
pub(crate) fn nobody() -> String {
    format!("http://127.0.0.1:{}", gosd_testservers::free_port())
}
