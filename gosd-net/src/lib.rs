//! What gosd's drivers for servers on a network share, so that it is written once and behaves alike.
//!
//! For the authors of drivers; programs that only use gosd need none of it.
//!
//! - [`Tls`]: from the files that a URL names to connections by TLS. The files are read for each
//!   connection, so that renewed ones count without a restart. [`tls::error`] says what a failure of
//!   TLS means, the same for every driver; [`tls::is_spoken_by`] and [`Tls::refusal`] find out why a
//!   connection failed that says no more than that it broke.
//! - [`ServerTls`]: the same for a server's certificate.
//! - [`connect`]: a TCP connection to a host, which may have several addresses of which some do not
//!   answer. [`connection_error`] says what its failures mean. [`open`] does the same with TLS or without.
//! - [`Lazy`]: a connection that is made when it is first needed, shared by all calls, and replaced
//!   after one that broke it. A call may be repeated once on the new one.
//! - [`Lifetimes`]: whether a watch may replace a closed connection without a word.
//! - [`race`]: several ways to one end, such as the addresses of a host or servers that stand in for each
//!   other, of which the first to succeed counts.
//! - [`Rest`]: the rest of a watcher after changes, so that those of a rollout are taken together.
//! - [`WarnOnce`]: what can be said for each record is said loudly for the first.
//!
//! ```no_run
//! use gosd_core::{DriverUrl, Error, ErrorKind, Result};
//! use gosd_net::{Fault, Lazy, Tls, connection_error};
//! use std::sync::Arc;
//! use tokio::io::AsyncWriteExt;
//! use tokio::net::TcpStream;
//! use tokio::sync::Mutex;
//! use tokio_rustls::client::TlsStream;
//!
//! struct Driver {
//!     tls: Arc<Tls>,
//!     connection: Lazy<Arc<Mutex<TlsStream<TcpStream>>>>,
//! }
//!
//! impl Driver {
//!     fn new(url: &DriverUrl) -> Result<Self> {
//!         let tls = Tls::new(url.tls_files()?, &[b"h2"])?;
//!         Ok(Self { tls: Arc::new(tls), connection: Lazy::new() })
//!     }
//!
//!     async fn ping(&self) -> Result<()> {
//!         let open = || {
//!             let tls = self.tls.clone();
//!             // Goes on when the call that began it is dropped, so it bounds itself in time.
//!             async move { Ok(Arc::new(Mutex::new(tls.connect("db.example", 7000).await?))) }
//!         };
//!         let ping = async |socket: Arc<Mutex<TlsStream<TcpStream>>>| {
//!             let sent = socket.lock().await.write_all(b"PING\n").await;
//!             sent.map_err(|error| Fault::Connection(connection_error(&error)))
//!         };
//!         self.connection.call_with_retry(open, ping).await
//!     }
//! }
//! ```
//!
//! # Which cryptography
//!
//! The provider that the process has installed as its default
//! ([`CryptoProvider::install_default`](rustls::crypto::CryptoProvider::install_default)); else AWS-LC
//! with the feature `tls-aws-lc`, or ring with `tls-ring`; else opening a URL with TLS fails with an
//! error that says so. Nothing is ever installed, and no other feature switches one of the two on: a
//! program that uses rustls in its own right keeps the provider that it chose.
#![cfg_attr(docsrs, feature(doc_cfg))]

mod lazy;
mod lifetimes;
mod race;
mod rest;
mod socket;
mod tcp;
pub mod tls;
mod warn_once;

pub use lazy::{Fault, Lazy};
pub use lifetimes::Lifetimes;
pub use race::race;
pub use rest::Rest;
pub use socket::{Socket, open};
pub use tcp::{connect, connection_error};
pub use tls::{ServerTls, Tls};
pub use warn_once::WarnOnce;
