//! The conformance kit over the registry server, with several databases behind it.

use super::fixture::Served;

gosd_testkit::conformance!(
    Served::over_memory().await,
    with: [services],
    without: [
        dots = "in the path of a URL they are no names",
        write_unreadable = "the in-memory driver holds instances, not texts",
    ],
);

mod polled {
    use super::super::fixture::Served;

    gosd_testkit::conformance!(
        Served::over_a_driver_without_watch().await,
        with: [services],
        without: [
            dots = "in the path of a URL they are no names",
            write_unreadable = "the in-memory driver holds instances, not texts",
        ],
    );
}

mod several {
    use super::super::fixture::Served;

    gosd_testkit::conformance!(
        Served::over_memory_by_three_servers().await,
        with: [services],
        without: [
            dots = "in the path of a URL they are no names",
            write_unreadable = "the in-memory driver holds instances, not texts",
        ],
    );
}

mod tls {
    use super::super::fixture::Served;

    gosd_testkit::conformance!(
        Served::over_memory_by_tls().await.silent(),
        with: [services],
        without: [
            dots = "in the path of a URL they are no names",
            write_unreadable = "the in-memory driver holds instances, not texts",
        ],
    );
}

mod sqlite {
    use super::super::fixture::Served;

    gosd_testkit::conformance!(
        Served::over_sqlite().await,
        with: [services],
        without: [
            dots = "in the path of a URL they are no names",
            refuse_writes = "the fixture does not refuse writes yet",
        ],
    );
}

mod redis {
    use super::super::fixture::Served;

    gosd_testkit::conformance!(
        Served::over_redis().await.silent(),
        with: [services],
        without: [
            dots = "in the path of a URL they are no names",
            refuse_writes = "the fixture does not refuse writes yet",
        ],
    );
}

mod redis_cut_off {
    use super::super::fixture::Served;

    gosd_testkit::conformance!(
        Served::over_redis_that_can_be_cut_off().await,
        with: [services],
        without: [
            dots = "in the path of a URL they are no names",
            refuse_writes = "the fixture does not refuse writes yet",
        ],
    );
}
