//! The reference server: the API before any [`Driver`](gosd_core::Driver).

mod auth;
mod events;
mod feed;
mod limits;
mod log;
mod poll;
mod problem;
mod registration;
mod routes;
mod serve;
mod settings;
mod shared;
mod socket;
mod tls;

pub use limits::Limits;
pub use routes::router;
pub use serve::{Server, serve};
pub use settings::Settings;
