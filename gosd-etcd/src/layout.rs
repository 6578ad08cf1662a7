//! The keys and values in etcd. Nothing here does I/O.

use std::fmt;

use gosd_core::{Error, ErrorKind, Instance, InstanceId, Result};

/// The value that a goodbye writes before it removes the key, so that watchers can tell it from an expiry.
pub(crate) const GONE: &str = r#"{"gone":true}"#;

/// The keys of a namespace.
#[derive(Debug)]
pub(crate) struct Keys {
    prefix: String,
}

impl Keys {
    pub(crate) fn new(namespace: &str) -> Self {
        Self { prefix: format!("/{namespace}/instances/") }
    }

    /// The common beginning of all keys of the namespace, and of no others.
    pub(crate) fn prefix(&self) -> &str {
        &self.prefix
    }

    pub(crate) fn key(&self, id: &InstanceId) -> String {
        format!("{}{id}", self.prefix)
    }

    /// The id that a key holds, as text: a large snapshot has many, which are only compared.
    pub(crate) fn id<'a>(&self, key: &'a [u8]) -> Result<&'a str> {
        let id = key.strip_prefix(self.prefix.as_bytes());
        match id.map(str::from_utf8) {
            Some(Ok(id)) if !id.is_empty() => Ok(id),
            _ => {
                let key = String::from_utf8_lossy(key);
                Err(Error::new(ErrorKind::Data, format!("the key {key:?} holds no id")))
            }
        }
    }
}

/// Parses the value of an id's key; `None` for a goodbye.
pub(crate) fn read(id: &str, value: &[u8]) -> Result<Option<Instance>> {
    let unreadable = |problem: &dyn fmt::Display| {
        Error::new(ErrorKind::Data, format!("the value of {id:?} cannot be read: {problem}"))
    };
    if value == GONE.as_bytes() {
        return Ok(None);
    }
    let text = str::from_utf8(value).map_err(|error| unreadable(&error))?;
    let instance = Instance::from_json(text).map_err(|error| unreadable(&error))?;
    if instance.id().as_str() != id {
        return Err(unreadable(&format_args!("it is that of {:?}", instance.id())));
    }
    Ok(Some(instance))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_and_ids() {
        let keys = Keys::new("gosd");
        for id in ["mail-1", "a/b", "schlüssel \u{1f980}", "/"] {
            let id = InstanceId::from(id);
            assert_eq!(keys.id(keys.key(&id).as_bytes()).unwrap(), id.as_str());
        }
        let bad: [&[u8]; 5] =
            [b"", b"/gosd/instances/", b"/gosd/instances/\xff", b"/gosd2/instances/a", b"a"];
        for key in bad {
            assert_eq!(keys.id(key).unwrap_err().kind(), ErrorKind::Data, "{key:?}");
        }
    }

    #[test]
    fn a_namespace_that_begins_with_another_is_apart() {
        let key = Keys::new("a.b").key(&"x".into());
        assert!(!key.starts_with(Keys::new("a").prefix()), "{key}");
    }

    #[test]
    fn values() {
        let instance = Instance::new("mail", "http://h").unwrap().with_metadata("zone", "b");
        let id = instance.id().as_str();
        assert_eq!(read(id, instance.to_json().as_bytes()).unwrap(), Some(instance.clone()));
        assert_eq!(read(id, GONE.as_bytes()).unwrap(), None);
        let of_another = Instance::new("mail", "http://h").unwrap().to_json();
        let bad: [&[u8]; 4] = [b"", b"{}", b"\xff", of_another.as_bytes()];
        for value in bad {
            assert_eq!(read(id, value).unwrap_err().kind(), ErrorKind::Data, "{value:?}");
        }
    }
}
