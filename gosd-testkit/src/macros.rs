//! The macro that makes a test function of each test of the kit.

/// Makes one named test of each thing that the contract asks of a driver.
///
/// The first argument is an expression, evaluated once in each test inside a runtime, so it may
/// `.await`; its value is a [`Fixture`](crate::Fixture).
///
/// ```
/// # use std::sync::Arc;
/// # use gosd_core::{async_trait, Driver, Memory};
/// # struct MyFixture(Memory);
/// # impl MyFixture { async fn start() -> Self { Self(Memory::new()) } }
/// # #[async_trait]
/// # impl gosd_testkit::Fixture for MyFixture {
/// #     async fn driver(&self, _: &str) -> Arc<dyn Driver> { Arc::new(self.0.clone()) }
/// # }
/// gosd_testkit::conformance!(MyFixture::start().await);
///
/// // The same driver in another setting: a module of its own.
/// mod tls {
///     use super::MyFixture;
///
///     gosd_testkit::conformance!(
///         MyFixture::start().await,
///         without: [
///             wipe = "the server is shared with others",
///             clause_08 = "this server reports no expiries",
///         ],
///     );
/// }
/// # fn main() {}
/// ```
///
/// # Leaving something out
///
/// `without: [name = "reason", ..]` ignores the tests that need what is named, and shows
/// the reason in the output of the test runner. The names:
///
/// - `watch`: the driver has no watch, so core polls it;
/// - `interrupt`, `wipe`, `refuse_writes`, `write_unreadable`: the fixture does not offer the hook;
/// - `dots`: the namespaces `.` and `..` cannot be sent, as in the path of an HTTP URL;
/// - `clause_01` to `clause_16`: the backend by its nature cannot keep the clause.
///
/// Another name does not compile, and a hook that is neither offered nor named here fails its
/// tests.
///
/// # What a driver need not have
///
/// `with: [services]`, before `without`, runs the tests of clause 16, for a driver that has
/// [`watch_services`](gosd_core::Driver::watch_services). For others they show as ignored.
#[macro_export]
macro_rules! conformance {
    (
        $fixture:expr
        $(, with: [$($more:ident),* $(,)?])?
        $(, without: [$($name:ident = $reason:literal),* $(,)?])?
        $(,)?
    ) => {
        const _: () = {
            $($(let () = $crate::__private::may_be_added::$more;)*)?
            $($(let () = $crate::__private::may_be_left_out::$name;)*)?
        };

        // A test has up to four needs. If one of them was left out, the test is ignored.
        macro_rules! gosd_conformance_test {
            $($(
                ([$name $b:tt $c:tt $d:tt] $test:ident) => {
                    $crate::__test!($test, $fixture, #[ignore = $reason]);
                };
                ([$a:tt $name $c:tt $d:tt] $test:ident) => {
                    $crate::__test!($test, $fixture, #[ignore = $reason]);
                };
                ([$a:tt $b:tt $name $d:tt] $test:ident) => {
                    $crate::__test!($test, $fixture, #[ignore = $reason]);
                };
                ([$a:tt $b:tt $c:tt $name] $test:ident) => {
                    $crate::__test!($test, $fixture, #[ignore = $reason]);
                };
            )*)?
            ([$a:tt $b:tt $c:tt slow] $test:ident) => {
                $crate::__test!($test, $fixture, #[ignore = "it takes more than a minute"]);
            };
            $($(
                ([$a:tt $b:tt $c:tt $more] $test:ident) => {
                    $crate::__test!($test, $fixture);
                };
            )*)?
            ([$a:tt $b:tt $c:tt services] $test:ident) => {
                $crate::__test!($test, $fixture, #[ignore = "the driver need not have this"]);
            };
            ($needs:tt $test:ident) => {
                $crate::__test!($test, $fixture);
            };
        }
        $crate::__for_each_clause!(gosd_conformance_test);
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __test {
    ($test:ident, $fixture:expr $(, #[$ignore:meta])?) => {
        #[test]
        $(#[$ignore])?
        fn $test() -> ::std::result::Result<(), $crate::Violation> {
            $crate::__private::run(async {
                let fixture = $fixture;
                $crate::clauses::$test(&fixture).await
            })
        }
    };
}

/// The one list of all tests, each with its needs: the clause, and up to three of the hooks. A test marked
/// `slow` runs only when asked for, and one marked `services` only `with: [services]`. One marked `many` can be
/// left out by whoever tests many drivers.
#[doc(hidden)]
#[macro_export]
macro_rules! __for_each_clause {
    ($test:ident) => {
        $test!([clause_01 _ _ _] clause_01_twice_is_once);
        $test!([clause_01 _ _ _] clause_01_register_restarts_the_lease);
        $test!([clause_02 _ _ _] clause_02_register_is_visible_at_once);
        $test!([clause_02 many _ _] clause_02_thousands_are_listed);
        $test!([clause_03 _ _ _] clause_03_deregister_removes_one);
        $test!([clause_03 _ _ _] clause_03_absent_is_success);
        $test!([clause_04 _ _ _] clause_04_expired_is_not_listed);
        $test!([clause_04 _ _ _] clause_04_only_the_expired_are_removed);
        $test!([clause_04 _ _ slow] clause_04_long_leases_last);
        $test!([clause_05 _ _ _] clause_05_renewed_stays);
        $test!([clause_05 watch _ _] clause_05_renewed_stays_for_watchers);
        $test!([clause_05 _ _ _] clause_05_renewal_hides_nothing);
        $test!([clause_05 watch _ _] clause_05_renewal_hides_nothing_from_watchers);
        $test!([clause_05 _ _ _] clause_05_renewal_restores_what_was_removed);
        $test!([clause_05 wipe _ _] clause_05_renewal_restores_what_was_lost);
        $test!([clause_06 _ _ _] clause_06_nothing_is_an_empty_list);
        $test!([clause_06 interrupt _ _] clause_06_a_failure_is_an_error);
        $test!([clause_07 watch _ _] clause_07_snapshot_comes_first);
        $test!([clause_07 watch many _] clause_07_a_large_snapshot_is_whole);
        $test!([clause_07 watch _ _] clause_07_every_change_follows);
        $test!([clause_07 watch _ _] clause_07_a_burst_arrives_whole);
        $test!([clause_07 watch _ _] clause_07_no_gap_after_the_snapshot);
        $test!([clause_07 watch _ _] clause_07_a_slow_reader_misses_nothing);
        $test!([clause_07 watch wipe _] clause_07_a_wipe_reaches_watchers);
        $test!([clause_08 watch _ _] clause_08_expiry_reaches_watchers);
        $test!([clause_08 watch _ _] clause_08_expiry_passes_no_watcher_by);
        $test!([clause_09 watch interrupt _] clause_09_lost_contact_is_an_error);
        $test!([clause_09 watch interrupt _] clause_09_opened_without_contact);
        $test!([clause_09 watch interrupt _] clause_09_an_outage_leaves_no_gap);
        $test!([clause_09 watch interrupt wipe] clause_09_a_loss_during_an_outage_is_noticed);
        $test!([clause_09 watch _ _] clause_09_dropped_watches_are_freed);
        $test!([clause_10 _ _ _] clause_10_a_dropped_call_is_whole_or_nothing);
        $test!([clause_10 watch _ _] clause_10_watchers_see_what_dropped_calls_did);
        $test!([clause_10 _ _ _] clause_10_a_dropped_register_undoes_no_goodbye);
        $test!([clause_10 _ _ _] clause_10_no_call_holds_the_thread);
        $test!([clause_11 _ _ _] clause_11_concurrent_registrations);
        $test!([clause_12 _ _ _] clause_12_odd_values_survive);
        $test!([clause_12 watch _ _] clause_12_odd_values_survive_watching);
        $test!([clause_13 _ _ _] clause_13_namespaces_are_apart);
        $test!([clause_13 dots _ _] clause_13_dots_are_names);
        $test!([clause_13 watch _ _] clause_13_watches_are_apart);
        $test!([clause_14 write_unreadable _ _] clause_14_unreadable_hides_nothing);
        $test!([clause_14 watch write_unreadable _] clause_14_unreadable_stops_no_watch);
        $test!([clause_15 refuse_writes _ _] clause_15_refused_writes_are_no_deaths);
        $test!([clause_15 watch refuse_writes _] clause_15_watchers_outlast_refused_writes);
        $test!([clause_16 watch _ services] clause_16_snapshot_of_services_comes_first);
        $test!([clause_16 watch _ services] clause_16_changes_of_services_follow);
        $test!([clause_16 watch _ services] clause_16_expiry_reaches_watchers_of_services);
        $test!([clause_16 watch _ services] clause_16_no_gap_between_two_watches);
    };
}
