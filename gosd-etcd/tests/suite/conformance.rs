//! The conformance kit over real servers in each of their settings.

use super::fixture::Server;

gosd_testkit::conformance!(
    Server::plain().await,
    without: [refuse_writes = "etcd renews leases where it refuses to write: see bad_ground"],
);

mod auth {
    use super::super::fixture::Server;

    gosd_testkit::conformance!(
        Server::with_auth().await,
        without: [refuse_writes = "etcd renews leases where it refuses to write: see bad_ground"],
    );
}

mod client_certificates {
    use super::super::fixture::Server;

    gosd_testkit::conformance!(
        Server::with_client_certificates().await,
        without: [refuse_writes = "etcd renews leases where it refuses to write: see bad_ground"],
    );
}
