//! The bodies of the API, as the client writes and reads them.

use std::fmt;
use std::time::Duration;

use gosd_core::{Error, ErrorKind, Event, Instance, InstanceId, Result};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use serde_json::value::RawValue;

/// All but the unreserved characters of a URL's path.
pub(crate) const PATH: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

#[derive(Deserialize)]
struct List<'a> {
    #[serde(borrow)]
    instances: Vec<&'a RawValue>,
}

#[derive(Deserialize)]
struct Gone {
    id: String,
}

#[derive(Deserialize)]
struct Problem {
    detail: String,
}

/// The path of an instance below its namespace; `None` for an id that no path can hold.
pub(crate) fn instance_path(id: &InstanceId) -> Option<String> {
    let fits = !matches!(id.as_str(), "" | "." | "..");
    fits.then(|| format!("instances/{}", utf8_percent_encode(id.as_str(), PATH)))
}

/// The body that registers.
pub(crate) fn registration(instance: &Instance, lease: Duration) -> String {
    format!("{{\"instance\":{},\"lease_ms\":{}}}", instance.to_json(), lease.as_millis())
}

/// The instances of a list; those that cannot be read are reported and left out.
pub(crate) fn list(json: &str, mut skip: impl FnMut(&Error)) -> Result<Vec<Instance>> {
    let not_a_list = |problem: &dyn fmt::Display| {
        Error::new(ErrorKind::Data, format!("the answer is not a list of instances: {problem}"))
    };
    // Serde would take `[[]]` for an object with an empty list in it.
    if !json.trim_start().starts_with('{') {
        return Err(not_a_list(&"it is no object"));
    }
    let list: List<'_> = serde_json::from_str(json).map_err(|error| not_a_list(&error))?;
    let read = list.instances.into_iter().map(|json| Instance::from_json(json.get()));
    Ok(read.filter_map(|read| read.inspect_err(&mut skip).ok()).collect())
}

/// The event of a message: `None` for one that this version does not know, or cannot read.
///
/// An instance that has become unreadable is gone, as it is from a list.
pub(crate) fn event(name: &str, data: &str, mut skip: impl FnMut(&Error)) -> Result<Option<Event>> {
    let event = match name {
        "reset" => return list(data, skip).map(|all| Some(Event::Reset(all))),
        "resumed" => Ok(Event::Resumed),
        "put" => Instance::from_json(data).map(Event::Put).or_else(|error| {
            skip(&error);
            // What was known of the instance no longer holds.
            gone(data).map(Event::Expire)
        }),
        "remove" => gone(data).map(Event::Remove),
        "expire" => gone(data).map(Event::Expire),
        _ => return Ok(None),
    };
    Ok(event.inspect_err(&mut skip).ok())
}

fn gone(json: &str) -> Result<InstanceId> {
    let gone: Gone = serde_json::from_str(json)
        .map_err(|error| Error::new(ErrorKind::Data, format!("an event without an id: {error}")))?;
    Ok(gone.id.into())
}

/// The description in a problem document (RFC 9457), cut to a readable length.
pub(crate) fn problem_detail(json: &[u8]) -> Option<String> {
    const MAX: usize = 300;
    let problem: Problem = serde_json::from_slice(json).ok()?;
    Some(problem.detail.chars().filter(|c| !c.is_control()).take(MAX).collect())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn paths() {
        let path = |id: &str| instance_path(&id.into());
        assert_eq!(path("mail-a b/c\\d%2F").unwrap(), "instances/mail-a%20b%2Fc%5Cd%252F");
        assert_eq!(path("...").unwrap(), "instances/...");
        for id in ["", ".", ".."] {
            assert_eq!(path(id), None, "{id}");
        }
    }

    #[test]
    fn one_that_cannot_be_read_does_not_hide_the_others() {
        let good = Instance::new("mail", "http://h").unwrap();
        let json = format!(r#"{{"instances":[{{"id":1}},{},null]}}"#, good.to_json());
        let mut skipped = 0;
        assert_eq!(list(&json, |_| skipped += 1).unwrap(), [good]);
        assert_eq!(skipped, 2);
    }

    #[test]
    fn what_is_no_list_is_an_error_and_never_an_empty_one() {
        for json in ["", "null", "[]", "[[]]", "{}", r#"{"instances":null}"#, "<html></html>"] {
            assert_eq!(list(json, |_| {}).unwrap_err().kind(), ErrorKind::Data, "{json}");
            assert!(event("reset", json, |_| {}).is_err(), "{json}");
        }
    }

    #[test]
    fn events() {
        let read = |name, data| event(name, data, |_| {}).unwrap();
        assert_eq!(read("remove", r#"{"id":"a-1"}"#), Some(Event::Remove("a-1".into())));
        assert_eq!(read("expire", r#"{"id":"a-1"}"#), Some(Event::Expire("a-1".into())));
        assert_eq!(read("resumed", "{}"), Some(Event::Resumed));
        assert_eq!(read("put", "{"), None);
        assert_eq!(read("put", r#"{"id":"a-1","url":1}"#), Some(Event::Expire("a-1".into())));
        assert_eq!(read("later", "{}"), None);
    }

    proptest! {
        #[test]
        fn any_instance_survives(key in "\\PC*", value in any::<String>(), url in any::<String>()) {
            let metadata = [(key, value)].into();
            let instance = Instance::from_parts("a-1".into(), "a", &url, metadata);
            let json = format!(r#"{{"instances":[{}]}}"#, instance.to_json());
            prop_assert_eq!(list(&json, |_| {}).unwrap(), [instance]);
        }

        #[test]
        fn nothing_panics(name in "reset|put|remove|expire", data in "[\\[\\]{}\":,a-z0-9]*") {
            let _ = event(&name, &data, |_| {});
            let _ = problem_detail(data.as_bytes());
        }
    }
}
