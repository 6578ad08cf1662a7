//! The conformance kit over real servers in each of their settings.

use super::fixture::ServerFixture;

gosd_testkit::conformance!(ServerFixture::plain().await);

mod password {
    use super::super::fixture::ServerFixture;

    gosd_testkit::conformance!(ServerFixture::with_password().await);
}

mod acl {
    use super::super::fixture::ServerFixture;

    gosd_testkit::conformance!(ServerFixture::with_acl().await);
}

mod tls {
    use super::super::fixture::ServerFixture;

    gosd_testkit::conformance!(ServerFixture::with_tls().await);
}

mod client_certificates {
    use super::super::fixture::ServerFixture;

    gosd_testkit::conformance!(ServerFixture::with_client_certificates().await);
}

mod cluster {
    use super::super::fixture::ClusterFixture;

    gosd_testkit::conformance!(ClusterFixture::start().await);
}
