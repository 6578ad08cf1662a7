//! The parts that the expansion of [`conformance!`](crate::conformance!) needs.

use std::time::Duration;

use tokio::runtime::Builder;
use tokio::time::timeout;

use crate::Violation;

/// The bound of a whole test. No test comes near it, however slow the machine.
const LONGEST: Duration = Duration::from_secs(600);

/// Runs one test on its own runtime. Two threads are enough to use the driver from both.
pub fn run(test: impl Future<Output = Result<(), Violation>>) -> Result<(), Violation> {
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.expect("a runtime for the test");
    let bounded = async { timeout(LONGEST, test).await.expect("the test to end") };
    let result = runtime.block_on(bounded);
    // A thread of the driver that hangs must not keep the test from ending.
    runtime.shutdown_timeout(Duration::from_secs(5));
    result
}

/// The names that `with` takes.
#[allow(non_upper_case_globals, missing_docs)]
pub mod may_be_added {
    pub const services: () = ();
}

/// The names that `without` takes.
#[allow(non_upper_case_globals, missing_docs)]
pub mod may_be_left_out {
    macro_rules! names {
        ($($name:ident)*) => { $(pub const $name: () = ();)* };
    }
    names! {
        watch interrupt wipe refuse_writes write_unreadable dots
        clause_01 clause_02 clause_03 clause_04 clause_05 clause_06 clause_07
        clause_08 clause_09 clause_10 clause_11 clause_12 clause_13 clause_14
        clause_15 clause_16
    }
}
