//! The snapshot file: what was written is read as it was, and what can be read can be written.
#![no_main]

use arbitrary::Arbitrary;
use gosd_core::fuzzing::{read_snapshot, write_snapshot};
use gosd_core::{ErrorKind, Instance};
use gosd_fuzz::AnyInstance;
use libfuzzer_sys::fuzz_target;

const DRIVER: &str = "memory";

#[derive(Arbitrary, Debug)]
enum File {
    OfOurs(Vec<AnyInstance>),
    /// With the right first line, which chance would hardly find.
    Headed(String),
    Any(String),
}

fuzz_target!(|file: File| {
    let text = match file {
        File::OfOurs(instances) => {
            let instances: Vec<Instance> = instances.into_iter().map(Into::into).collect();
            return assert_eq!(written_and_read(instances.clone()), instances);
        }
        File::Headed(text) => {
            let count = text.lines().count();
            format!(
                "{{\"gosd_snapshot\":2,\"driver\":\"{DRIVER}\",\"registry\":null,\"count\":{count}}}\n{text}"
            )
        }
        File::Any(text) => text,
    };
    match read_snapshot(&text, DRIVER) {
        Ok(instances) => assert_eq!(written_and_read(instances.clone()), instances),
        Err(error) => assert_eq!(error.kind(), ErrorKind::Data),
    }
});

fn written_and_read(instances: Vec<Instance>) -> Vec<Instance> {
    let text = String::from_utf8(write_snapshot(DRIVER, instances)).expect("it is text");
    read_snapshot(&text, DRIVER).expect("it is a snapshot")
}
