//! The contract of a driver, against real servers of every kind.

use super::fixture::ServerFixture;

gosd_testkit::conformance!(
    ServerFixture::plain().await,
    without: [refuse_writes = "the fixture does not refuse writes yet"],
);

mod password {
    use super::super::fixture::ServerFixture;

    gosd_testkit::conformance!(
        ServerFixture::with_password().await,
        without: [refuse_writes = "the fixture does not refuse writes yet"],
    );
}

mod acl {
    use super::super::fixture::ServerFixture;

    gosd_testkit::conformance!(
        ServerFixture::with_acl().await,
        without: [refuse_writes = "the fixture does not refuse writes yet"],
    );
}

mod tls {
    use super::super::fixture::ServerFixture;

    gosd_testkit::conformance!(
        ServerFixture::with_tls().await,
        without: [refuse_writes = "the fixture does not refuse writes yet"],
    );
}

mod client_certificates {
    use super::super::fixture::ServerFixture;

    gosd_testkit::conformance!(
        ServerFixture::with_client_certificates().await,
        without: [refuse_writes = "the fixture does not refuse writes yet"],
    );
}

mod cluster {
    use super::super::fixture::ClusterFixture;

    gosd_testkit::conformance!(
        ClusterFixture::start().await,
        without: [refuse_writes = "the fixture does not refuse writes yet"],
    );
}
