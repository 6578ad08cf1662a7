//! Bodies that a client of the API sends: whatever is taken may be registered, and what the driver
//! sends is taken.
#![no_main]

use std::time::Duration;

use arbitrary::Arbitrary;
use gosd_core::Instance;
use gosd_fuzz::AnyInstance;
use gosd_http::fuzzing::registration;
use gosd_server::fuzzing::register;
use libfuzzer_sys::fuzz_target;
use tokio::runtime::{Builder, Runtime};

#[derive(Arbitrary, Debug)]
enum Request {
    OfOurs { instance: AnyInstance, lease: Option<u32> },
    Any(Vec<u8>),
}

thread_local! {
    static CLOCK: Runtime = Builder::new_current_thread().enable_time().build().unwrap();
}

fuzz_target!(|request: Request| match request {
    Request::OfOurs { instance, lease } => {
        // Fifteen seconds, unless it is to be another.
        let lease = Duration::from_millis(lease.unwrap_or(15_000).into());
        let instance = Instance::from(instance);
        let taken = taken(registration(&instance, lease).as_bytes());
        if instance.check().is_ok() && lease == Duration::from_secs(15) {
            let is_path = !matches!(instance.id().as_str(), "." | "..");
            assert_eq!(taken, is_path.then_some((instance, lease)));
        }
    }
    Request::Any(body) => drop(taken(&body)),
});

fn taken(body: &[u8]) -> Option<(Instance, Duration)> {
    let taken = CLOCK.with(|clock| clock.block_on(register(body)));
    if let Some((instance, lease)) = &taken {
        instance.check().expect("it may be registered");
        assert!((Duration::from_secs(1)..=Duration::from_secs(86_400)).contains(lease));
    }
    taken
}
