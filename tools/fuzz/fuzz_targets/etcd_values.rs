//! Keys and values of etcd: any text survives, and one that cannot be read is a `Data` error.
#![no_main]

use arbitrary::Arbitrary;
use gosd_core::{ErrorKind, Instance};
use gosd_etcd::fuzzing::{read, write};
use gosd_fuzz::AnyInstance;
use libfuzzer_sys::fuzz_target;

#[derive(Arbitrary, Debug)]
enum Record {
    OfOurs(AnyInstance),
    /// A key of the namespace, which chance would hardly find.
    Ours {
        id: Vec<u8>,
        value: Vec<u8>,
    },
    Any {
        key: Vec<u8>,
        value: Vec<u8>,
    },
}

fuzz_target!(|record: Record| {
    let (key, value) = match record {
        Record::OfOurs(instance) => {
            let instance = Instance::from(instance);
            let (key, value) = write(&instance);
            let read = read(&key, &value);
            // The prefix alone is the key of nobody.
            let has_id = !instance.id().as_str().is_empty();
            assert_eq!(read.ok(), has_id.then_some(Some(instance)));
            return;
        }
        Record::Ours { id, value } => ([b"/gosd/instances/", &*id].concat(), value),
        Record::Any { key, value } => (key, value),
    };
    match read(&key, &value) {
        Ok(Some(instance)) => assert_eq!(write(&instance).0, key),
        Ok(None) => assert!(value.starts_with(b"{\"gone\"")),
        Err(error) => assert_eq!(error.kind(), ErrorKind::Data),
    }
});
