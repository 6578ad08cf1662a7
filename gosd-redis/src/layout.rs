//! The data in Redis, and the events and instances that it stands for. Nothing here does I/O.

use std::collections::BTreeMap;

use gosd_core::{Error, ErrorKind, Event, Instance, InstanceId, Result};

/// The keys of a namespace, all in one slot of a cluster.
pub(crate) struct Keys {
    /// Hash: id -> URL, as the Go library has it.
    pub(crate) registry: String,
    /// Sorted set: id -> when its lease runs out, in ms by the server's clock.
    pub(crate) leases: String,
    /// Hash: id -> the instance's JSON, for instances that the id and the URL do not describe completely.
    pub(crate) meta: String,
    /// Stream: one entry for each change.
    pub(crate) events: String,
    /// What the keys of the fences begin with.
    fence: String,
}

impl Keys {
    pub(crate) fn new(namespace: &str) -> Self {
        let tagged = |name| format!("{{{namespace}}}:{name}");
        Self {
            registry: namespace.to_owned(),
            leases: tagged("leases"),
            meta: tagged("meta"),
            events: tagged("events"),
            fence: tagged("fence"),
        }
    }

    /// String: the latest call of a driver for an instance, where an older one may still arrive.
    pub(crate) fn fence(&self, id: &str) -> String {
        format!("{}:{id}", self.fence)
    }

    /// A fence that never exists.
    pub(crate) fn no_fence(&self) -> String {
        self.fence("")
    }
}

/// The service in an id: what stands before the last hyphen.
fn service_of(id: &str) -> &str {
    id.rsplit_once('-').map_or(id, |(service, _)| service)
}

/// The JSON that is stored beside the URL of an instance; empty if the id and the URL describe it completely.
pub(crate) fn meta_of(instance: &Instance) -> String {
    if instance.metadata().is_empty() && service_of(instance.id().as_str()) == instance.service() {
        return String::new();
    }
    instance.to_json()
}

/// The instance of a field of the registry.
pub(crate) fn instance(id: &str, url: &str, meta: Option<&str>) -> Result<Instance> {
    let Some(json) = meta.filter(|json| !json.is_empty()) else {
        let id = InstanceId::from(id);
        return Ok(Instance::from_parts(id.clone(), service_of(id.as_str()), url, BTreeMap::new()));
    };
    let read = Instance::from_json(json)
        .map_err(|error| Error::new(ErrorKind::Data, format!("the metadata of {id}: {error}")))?;
    if read.id().as_str() == id && read.url() == url {
        return Ok(read);
    }
    // The fields of the registry count, because a Go process or a person may have changed them.
    Ok(Instance::from_parts(id.into(), read.service(), url, read.metadata().clone()))
}

/// The event of an entry of the stream.
pub(crate) fn event(fields: Vec<(String, String)>) -> Result<Event> {
    let mut fields: BTreeMap<String, String> = fields.into_iter().collect();
    let mut take = |name: &str| {
        fields.remove(name).ok_or_else(|| {
            Error::new(ErrorKind::Data, format!("an entry of the stream lacks the field {name}"))
        })
    };
    let (op, id) = (take("op")?, take("id")?);
    match op.as_str() {
        "put" => Ok(Event::Put(instance(&id, &take("url")?, take("meta").ok().as_deref())?)),
        "remove" => Ok(Event::Remove(id.into())),
        "expire" => Ok(Event::Expire(id.into())),
        _ => Err(Error::new(ErrorKind::Data, format!("the stream has the unknown change {op:?}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(fields: &[(&str, &str)]) -> Result<Event> {
        event(fields.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect())
    }

    #[test]
    fn the_service_is_what_stands_before_the_last_hyphen() {
        for (id, service) in [
            ("provider-20160315122936.17256541", "provider"),
            ("order-api-1", "order-api"),
            ("lonely", "lonely"),
            ("-1", ""),
            ("a-", "a"),
        ] {
            assert_eq!(instance(id, "u", None).unwrap().service(), service);
        }
    }

    #[test]
    fn meta_is_kept_only_where_it_says_more() {
        let plain = Instance::new("order-api", "http://h").unwrap();
        assert_eq!(meta_of(&plain), "");
        let odd = Instance::from_parts("7".into(), "mail", "http://h", BTreeMap::new());
        for instance_with_meta in [plain.with_metadata("zone", "b"), odd] {
            let (id, url) = (instance_with_meta.id().as_str(), instance_with_meta.url());
            let meta = meta_of(&instance_with_meta);
            assert_eq!(instance(id, url, Some(&meta)).unwrap(), instance_with_meta);
            let moved = instance(id, "http://elsewhere", Some(&meta)).unwrap();
            assert_eq!(
                (moved.url(), moved.service()),
                ("http://elsewhere", instance_with_meta.service())
            );
        }
        let error = instance("a-1", "u", Some("{")).unwrap_err().to_string();
        assert!(error.contains("a-1"), "{error}");
    }

    #[test]
    fn entries_that_are_no_event() {
        assert_eq!(entry(&[("id", "a-1"), ("op", "expire")]).unwrap(), Event::Expire("a-1".into()));
        for fields in [
            &[][..],
            &[("op", "put"), ("id", "a-1")],
            &[("op", "remove")],
            &[("op", "rename"), ("id", "a-1")],
            &[("op", "put"), ("id", "a-1"), ("url", "u"), ("meta", "{")],
        ] {
            assert_eq!(entry(fields).unwrap_err().kind(), ErrorKind::Data, "{fields:?}");
        }
    }
}
