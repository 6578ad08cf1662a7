//! TLS for drivers and servers: certificates from files, and the errors of its failures.

mod client;
mod files;
mod meaning;
mod provider;
mod server;
mod spoken;

pub use client::Tls;
pub use meaning::error;
pub use provider::provider;
pub use server::ServerTls;
pub use spoken::is_spoken_by;
