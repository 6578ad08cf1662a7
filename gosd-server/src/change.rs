//! A change in the log of a namespace, as watchers are sent it, and its position.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use bytes::Bytes;
use gosd_core::InstanceId;

use crate::wanted::Wanted;

/// A position in the log. The epoch names the snapshot from which changes are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Position {
    pub(crate) epoch: u64,
    /// How many changes there were since that snapshot.
    pub(crate) n: u64,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}-{}", self.epoch, self.n)
    }
}

impl FromStr for Position {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (epoch, n) = text.split_once('-').ok_or(())?;
        let epoch = u64::from_str_radix(epoch, 16).map_err(drop)?;
        Ok(Self { epoch, n: n.parse().map_err(drop)? })
    }
}

/// A change, serialised as an event.
pub(crate) struct Change {
    pub(crate) text: Bytes,
    /// The index in the text behind the position, where the mark of a watcher is inserted.
    pub(crate) mark_at: usize,
    service: Arc<str>,
    /// If the instance belonged to another service before: that service, and its `remove` event.
    left: Option<Box<Change>>,
}

impl Change {
    pub(crate) fn put(at: Position, service: &Arc<str>, json: &[u8]) -> Self {
        Self::new("put", at, service, json)
    }

    /// An event that says that an instance is gone.
    pub(crate) fn gone(name: &str, at: Position, service: &Arc<str>, id: &InstanceId) -> Self {
        let data = serde_json::json!({ "id": id.as_str() }).to_string();
        Self::new(name, at, service, data.as_bytes())
    }

    /// The instance belonged to another service before.
    pub(crate) fn leaving(mut self, left: Self) -> Self {
        self.left = Some(Box::new(left));
        self
    }

    fn new(name: &str, at: Position, service: &Arc<str>, data: &[u8]) -> Self {
        let head = format!("event: {name}\nid: {at}");
        let text = [head.as_bytes(), b"\ndata: ", data, b"\n\n"].concat();
        let (mark_at, service) = (head.len(), Arc::clone(service));
        Self { text: text.into(), mark_at, service, left: None }
    }

    pub(crate) fn size(&self) -> usize {
        self.text.len() + self.left.as_ref().map_or(0, |left| left.text.len())
    }

    /// The change as a watcher sees it; `None` if the watcher did not ask for the service.
    pub(crate) fn seen_by(&self, wanted: &Wanted) -> Option<&Self> {
        if wanted.includes(&self.service) {
            return Some(self);
        }
        self.left.as_deref().filter(|left| wanted.includes(&left.service))
    }
}
