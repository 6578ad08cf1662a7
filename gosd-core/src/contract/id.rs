//! The id of an instance.

use std::borrow::Borrow;
use std::fmt;

use uuid::Uuid;

/// The service of the records that drain others.
pub(crate) const DRAIN: &str = "gosd.drain";

/// The id of a registered instance, unique in its namespace: `<service>-<unique>`.
///
/// Ids of other software are kept unchanged, whatever their form.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InstanceId(Box<str>);

impl InstanceId {
    pub(crate) fn unique(service: &str) -> Self {
        Self(format!("{service}-{}", Uuid::now_v7().simple()).into())
    }

    /// The id of the record that drains the instance with this id.
    pub(crate) fn of_drain(&self) -> Self {
        Self(format!("{DRAIN}-{self}").into())
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the id has the form that gosd gives: it ends in `-` and a UUIDv7 without hyphens.
    ///
    /// A driver that shares its layout with other software tells by this whose record it sees.
    ///
    /// ```
    /// use gosd_core::{Instance, InstanceId};
    ///
    /// assert!(Instance::new("mail", "http://10.0.0.7:25")?.id().is_generated());
    /// assert!(!InstanceId::from("mail-20160315122936.17256541").is_generated());
    /// # Ok::<(), gosd_core::Error>(())
    /// ```
    pub fn is_generated(&self) -> bool {
        self.0.rsplit_once('-').is_some_and(|(_, unique)| {
            unique.len() == 32
                && !unique.bytes().any(|b| b.is_ascii_uppercase())
                && Uuid::try_parse(unique).is_ok_and(|id| id.get_version_num() == 7)
        })
    }
}

#[cfg(feature = "client")]
impl InstanceId {
    /// The id of the instance that the record with this id drains, if it is the id of such a record.
    pub(crate) fn drained(&self) -> Option<Self> {
        self.0.strip_prefix(DRAIN)?.strip_prefix('-').map(Self::from)
    }
}

impl From<&str> for InstanceId {
    fn from(id: &str) -> Self {
        Self(id.into())
    }
}

impl From<String> for InstanceId {
    fn from(id: String) -> Self {
        Self(id.into())
    }
}

impl AsRef<str> for InstanceId {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl Borrow<str> for InstanceId {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for InstanceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for InstanceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use super::super::Instance;
    use super::*;

    #[test]
    fn ids_are_unique_and_recognized() {
        let make = || Instance::new("with-hyphen", "http://h").unwrap();
        assert_ne!(make().id(), make().id());
        assert!(make().id().is_generated());
        for other in ["x", "x-1", "x-00000000000000000000000000000000", "x-2016.17"] {
            assert!(!InstanceId::from(other).is_generated(), "{other}");
        }
    }

    #[cfg(feature = "client")]
    #[test]
    fn the_id_of_a_drain_names_its_target() {
        let target = InstanceId::from("mail-1");
        assert_eq!(target.of_drain().drained(), Some(target.clone()));
        assert_eq!(target.drained(), None);
    }
}
