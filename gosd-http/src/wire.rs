//! The bodies of the API, as the client writes and reads them.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use gosd_core::{Error, ErrorKind, Event, Instance, InstanceId, Result};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use serde_json::value::RawValue;

/// All but the unreserved characters of a URL's path.
pub(crate) const PATH: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// How long a query is at most. Servers and proxies take some 8,000 bytes before the body in all.
const QUERY: usize = 4_096;

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

/// The path of the events of some services; `None` if no path can name them all.
pub(crate) fn events_path(services: &BTreeSet<String>) -> Option<String> {
    // The server takes a comma for the end of a name, also an encoded one.
    let fits = services.iter().all(|service| !service.is_empty() && !service.contains(','));
    fits.then(|| path("events?service=", services, ",")).filter(|path| path.len() <= QUERY)
}

/// The path of the list of some services; `None` if no path can name them all.
pub(crate) fn list_path(services: &BTreeSet<String>) -> Option<String> {
    let fits = services.iter().all(|service| !service.is_empty());
    let path = fits.then(|| path("instances?service=", services, "&service="));
    path.filter(|path| path.len() <= QUERY)
}

fn path(begin: &str, services: &BTreeSet<String>, between: &str) -> String {
    let encoded = services.iter().map(|service| utf8_percent_encode(service, PATH).to_string());
    format!("{begin}{}", encoded.collect::<Vec<_>>().join(between))
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

/// The description in a problem document (RFC 9457), cut to a readable length; `None` if the secret is in it.
///
/// A server may repeat in its error what it was sent.
pub(crate) fn problem_detail(json: &[u8], secret: Option<&str>) -> Option<String> {
    const MAX: usize = 300;
    let problem: Problem = serde_json::from_slice(json).ok()?;
    // The whole is searched, because the cut could leave a part of the secret.
    let text: String = problem.detail.chars().filter(|c| !c.is_control()).collect();
    let is_in = |secret| problem.detail.contains(secret) || text.contains(secret);
    if secret.is_some_and(is_in) {
        return None;
    }
    Some(text.chars().take(MAX).collect())
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
    fn paths_name_services_or_there_are_none() {
        let services = |names: &[&str]| names.iter().map(|it| (*it).to_owned()).collect();
        let odd = services(&["mail", "shop two", "a&b=c"]);
        let events = "events?service=a%26b%3Dc,mail,shop%20two";
        let list = "instances?service=a%26b%3Dc&service=mail&service=shop%20two";
        assert_eq!(events_path(&odd).as_deref(), Some(events));
        assert_eq!(list_path(&odd).as_deref(), Some(list));
        assert_eq!(events_path(&services(&["a,b", "c"])), None);
        assert_eq!(events_path(&services(&[""])).or(list_path(&services(&[""]))), None);
        let longest = |count: usize| (0..count).map(|n| format!("{n:0128}")).collect();
        assert!(events_path(&longest(31)).is_some() && events_path(&longest(32)).is_none());
        assert!(list_path(&longest(29)).is_some() && list_path(&longest(30)).is_none());
    }

    #[test]
    fn no_part_of_a_secret_is_in_a_detail() {
        let detail = |text: &str, secret| {
            let json = serde_json::json!({ "detail": text }).to_string();
            problem_detail(json.as_bytes(), Some(secret))
        };
        let long = "sesame".repeat(60);
        for secret in ["sesame-sesame", &long] {
            for before in [0, 280, 299, 300, 1_000] {
                let text = format!("{}{secret} is unknown", "x".repeat(before));
                assert_eq!(detail(&text, secret), None, "{before} characters before it");
            }
            assert_eq!(detail(&secret.replacen("sam", "s\u{1}am", 1), secret), None);
        }
        assert_eq!(detail(&"x".repeat(400), "sesame"), Some("x".repeat(300)));
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
            let _ = problem_detail(data.as_bytes(), Some("a"));
        }
    }
}
