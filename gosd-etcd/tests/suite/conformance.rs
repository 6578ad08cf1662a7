//! The contract of a driver, against real servers of every kind.

use super::fixture::Server;

gosd_testkit::conformance!(Server::plain().await);

mod auth {
    use super::super::fixture::Server;

    gosd_testkit::conformance!(Server::with_auth().await);
}

mod client_certificates {
    use super::super::fixture::Server;

    gosd_testkit::conformance!(Server::with_client_certificates().await);
}
