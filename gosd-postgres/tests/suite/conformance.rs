//! The contract of a driver, against real servers of every kind.

use super::fixture::Server;

gosd_testkit::conformance!(Server::plain().await);

mod owner_of_the_schema {
    use super::super::fixture::Server;

    gosd_testkit::conformance!(Server::with_schema().await);
}

mod granted_rights {
    use super::super::fixture::Server;

    gosd_testkit::conformance!(Server::with_rights().await);
}

mod client_certificates {
    use super::super::fixture::Server;

    gosd_testkit::conformance!(Server::with_client_certificates().await);
}
