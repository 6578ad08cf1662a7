//! A program that uses TLS itself and finds services with gosd, without a conflict. rustls panics if it finds
//! two providers of cryptography among its features, or none.
//!
//! ```sh
//! cargo run --features own-ring,redis
//! ```

use gosd::ErrorKind;
use rustls::crypto::CryptoProvider;
use rustls::{ClientConfig, RootCertStore};

/// The drivers' URLs with TLS.
const URLS: [(&str, bool); 4] = [
    ("rediss://127.0.0.1:6390", cfg!(feature = "redis")),
    ("postgres://127.0.0.1:5490?sslmode=verify-full", cfg!(feature = "postgres")),
    ("etcds://127.0.0.1:2390", cfg!(feature = "etcd")),
    ("https://127.0.0.1:4690", cfg!(feature = "http")),
];

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let drivers = gosd::Drivers::compiled();
    for (url, is_compiled) in URLS {
        match drivers.open(url).await {
            Ok(_) => assert!(is_compiled || cfg!(feature = "full"), "{url} is not compiled in"),
            // The driver is not compiled in; or there is no provider for it, which gosd leaves to the
            // program.
            Err(error) => assert_eq!(error.kind(), ErrorKind::Config, "{url}: {error}"),
        }
    }
    assert!(CryptoProvider::get_default().is_none(), "gosd chose a provider for all");

    let _ = ClientConfig::builder()
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth();

    assert!(CryptoProvider::get_default().is_some(), "rustls notes what was chosen");
    for (url, is_compiled) in URLS {
        if is_compiled || cfg!(feature = "full") {
            drivers.open(url).await.unwrap_or_else(|error| panic!("{url}: {error}"));
        }
    }
}
