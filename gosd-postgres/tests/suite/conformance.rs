//! The conformance kit over real servers in each of their settings.

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

mod pooler {
    use super::super::fixture::Server;

    gosd_testkit::conformance!(Server::behind_pooler().await);
}
