//! Bodies that a server of the API sends: every entry of a list counts, as an instance or as one that
//! cannot be read, and what is no list is a `Data` error.
#![no_main]

use arbitrary::Arbitrary;
use gosd_core::{ErrorKind, Event, Instance};
use gosd_fuzz::AnyInstance;
use gosd_http::fuzzing::{event, list, problem_detail};
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

#[derive(Arbitrary, Debug)]
enum Answer {
    OfOurs(Vec<AnyInstance>),
    List(String),
    Event { name: u8, data: String },
    Problem(Vec<u8>),
}

fuzz_target!(|answer: Answer| match answer {
    Answer::OfOurs(instances) => {
        let instances: Vec<Instance> = instances.into_iter().map(Into::into).collect();
        let json: Vec<_> = instances.iter().map(Instance::to_json).collect();
        let json = format!("{{\"instances\":[{}]}}", json.join(","));
        assert_eq!(event("reset", &json).unwrap(), Some(Event::Reset(instances.clone())));
        if let Some(first) = instances.first() {
            assert_eq!(event("put", &first.to_json()).unwrap(), Some(Event::Put(first.clone())));
        }
        let (read, skipped) = list(&json);
        assert_eq!((read.unwrap(), skipped), (instances, 0));
    }
    Answer::List(json) => match list(&json) {
        (Ok(instances), skipped) => {
            // Another reader finds as many, unless a number is too large for it.
            if let Ok(other) = serde_json::from_str::<Value>(&json) {
                let entries = other.get("instances").and_then(Value::as_array);
                assert_eq!(instances.len() + skipped, entries.expect("it is a list").len());
            }
        }
        (Err(error), _) => assert_eq!(error.kind(), ErrorKind::Data),
    },
    Answer::Event { name, data } => {
        let name = ["reset", "put", "remove", "expire", "resumed", "other"][usize::from(name) % 6];
        match event(name, &data) {
            Ok(Some(event)) => {
                let expected = match event {
                    Event::Reset(_) => "reset",
                    Event::Put(_) => "put",
                    Event::Remove(_) => "remove",
                    Event::Expire(_) => "expire",
                    Event::Resumed => "resumed",
                    other => panic!("{other:?}"),
                };
                assert_eq!(name, expected);
            }
            Ok(None) => assert_ne!(name, "reset", "it could hide that something was there"),
            Err(error) => assert_eq!((name, error.kind()), ("reset", ErrorKind::Data)),
        }
    }
    Answer::Problem(json) => {
        if let Some(detail) = problem_detail(&json) {
            assert!(detail.chars().count() <= 300 && !detail.contains(char::is_control));
        }
    }
});
