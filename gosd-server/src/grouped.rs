//! Instances as JSON, of which a reader gets all or those of some services.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;

use crate::snapshot::{Items, Reader};

/// JSON with commas between its items, which are sorted by service.
#[derive(Default)]
pub(crate) struct Grouped {
    pub(crate) items: Items,
    services: BTreeMap<Box<str>, Range<usize>>,
}

impl Grouped {
    /// Also returns the range of each item.
    pub(crate) fn new<'a>(
        all: impl Iterator<Item = (&'a str, impl AsRef<[u8]>)>,
    ) -> (Self, Vec<Range<usize>>) {
        let mut items = Vec::new();
        let mut services = BTreeMap::<Box<str>, Range<usize>>::new();
        let mut parts = Vec::new();
        for (service, json) in all {
            if !items.is_empty() {
                items.push(b',');
            }
            let start = items.len();
            items.extend_from_slice(json.as_ref());
            let end = items.len();
            match services.get_mut(service) {
                Some(part) => part.end = end,
                None => drop(services.insert(service.into(), start..end)),
            }
            parts.push(start..end);
        }
        (Self { items: Arc::new(items), services }, parts)
    }

    /// The range of the items of one service, or of all.
    pub(crate) fn part(&self, service: Option<&str>) -> Range<usize> {
        match service {
            None => 0..self.items.len(),
            Some(service) => self.services.get(service).cloned().unwrap_or_default(),
        }
    }

    /// The ranges of the items of each service.
    pub(crate) fn services(&self) -> impl Iterator<Item = Range<usize>> {
        self.services.values().cloned()
    }

    /// A reader of the items of some services, or of all.
    pub(crate) fn reader(
        &self,
        services: Option<&BTreeSet<String>>,
        prefix: String,
        suffix: &'static str,
    ) -> Reader {
        Reader::of_parts(&self.items, self.parts(services), prefix, suffix)
    }

    /// The ranges of the items of some services, or of all.
    pub(crate) fn parts(&self, services: Option<&BTreeSet<String>>) -> Vec<Range<usize>> {
        match services {
            None => vec![self.part(None)],
            Some(services) => services.iter().map(|service| self.part(Some(service))).collect(),
        }
    }
}
