//! Entries of the stream in Redis: any text survives, and what is no entry is a `Data` error.
#![no_main]

use arbitrary::Arbitrary;
use gosd_core::{ErrorKind, Event, Instance};
use gosd_fuzz::AnyInstance;
use gosd_redis::fuzzing::{event, put};
use libfuzzer_sys::fuzz_target;

#[derive(Arbitrary, Debug)]
enum Entry {
    OfOurs(AnyInstance),
    /// Known operations are likelier than random ones.
    Known {
        op: u8,
        id: Vec<u8>,
        url: Vec<u8>,
        meta: Vec<u8>,
    },
    Any(Vec<Vec<u8>>),
}

fuzz_target!(|entry: Entry| match entry {
    Entry::OfOurs(instance) => {
        let instance = Instance::from(instance);
        assert_eq!(event(put(&instance)).unwrap(), Event::Put(instance));
    }
    Entry::Known { op, id, url, meta } => {
        let op = [&b"put"[..], b"remove", b"expire", b"other"][usize::from(op) % 4];
        let fields = [b"op", op, b"id", &id, b"url", &url, b"meta", &meta];
        let read = event(fields.map(<[u8]>::to_vec).to_vec());
        if let Ok(event) = check(read) {
            let (of, at) = match &event {
                Event::Put(instance) => (instance.id(), Some(instance.url())),
                Event::Remove(id) | Event::Expire(id) => (id, None),
                other => panic!("{other:?}"),
            };
            assert_eq!(of.as_str().as_bytes(), id);
            assert!(at.is_none_or(|at| at.as_bytes() == url));
        }
    }
    Entry::Any(fields) => drop(check(event(fields))),
});

fn check(read: gosd_core::Result<Event>) -> gosd_core::Result<Event> {
    read.inspect_err(|error| assert_eq!(error.kind(), ErrorKind::Data))
}
