//! The contract of a driver, against real servers of every kind.

mod fixture;

use fixture::{ClusterFixture, ServerFixture};

gosd_testkit::conformance!(ServerFixture::plain().await);

mod password {
    use super::ServerFixture;

    gosd_testkit::conformance!(ServerFixture::with_password().await);
}

mod acl {
    use super::ServerFixture;

    gosd_testkit::conformance!(ServerFixture::with_acl().await);
}

mod tls {
    use super::ServerFixture;

    gosd_testkit::conformance!(ServerFixture::with_tls().await);
}

mod client_certificates {
    use super::ServerFixture;

    gosd_testkit::conformance!(ServerFixture::with_client_certificates().await);
}

mod cluster {
    use super::ClusterFixture;

    gosd_testkit::conformance!(ClusterFixture::start().await);
}
