//! The services that a watcher asks for, and the ids of the events that it is sent.

use std::collections::BTreeSet;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use percent_encoding::percent_decode_str;

use crate::change::Position;

/// How many services a watcher may name: twice as many as a client of gosd ever does. The server keeps the names
/// for as long as the stream of events lasts.
pub(crate) const MOST: usize = 512;

/// How many bytes a name takes beside its characters, in the set of names and in the table of whom to wake.
const PER_NAME: usize = 256;

/// The services whose events a watcher asks for: all, or those that it names.
pub(crate) struct Wanted {
    services: Option<Arc<BTreeSet<String>>>,
    /// What stands behind the position in an event's id.
    mark: String,
}

impl Wanted {
    /// Every service, also those that appear later.
    pub(crate) fn all() -> Self {
        Self { services: None, mark: String::new() }
    }

    /// What a query asks for: `service=` and names with commas between them, or everything if there is no
    /// query. `None` for any other query, also for one with more than [`MOST`] names.
    ///
    /// `keys` are those with which this server marks positions.
    pub(crate) fn by_query(query: Option<&str>, keys: &RandomState) -> Option<Self> {
        let Some(query) = query.filter(|query| !query.is_empty()) else { return Some(Self::all()) };
        let names = query.strip_prefix("service=").filter(|names| !names.contains('&'))?;
        let names = names.replace('+', " ");
        let names = percent_decode_str(&names).decode_utf8().ok()?;
        if names.split(',').count() > MOST {
            return None;
        }
        let names: BTreeSet<String> = names.split(',').map(str::to_owned).collect();
        if names.contains("") {
            return None;
        }
        let mark = format!(".{:x}", keys.hash_one(&names));
        Some(Self { services: Some(Arc::new(names)), mark })
    }

    /// The names, or `None` for all services.
    pub(crate) fn services(&self) -> Option<&Arc<BTreeSet<String>>> {
        self.services.as_ref()
    }

    /// About how many bytes the names take while the watcher is there. The table of whom to wake has each once more.
    pub(crate) fn size(&self) -> usize {
        let names = self.services.iter().flat_map(|names| names.iter());
        names.map(|name| 2 * name.len() + PER_NAME).sum()
    }

    pub(crate) fn includes(&self, service: &str) -> bool {
        self.services.as_ref().is_none_or(|services| services.contains(service))
    }

    /// What the id of an event that this watcher is sent has behind the position.
    ///
    /// A watcher that resumes with other services would miss the instances of the new ones. The mark, which
    /// differs for other services, makes its id one that this server did not assign.
    pub(crate) fn mark(&self) -> &str {
        &self.mark
    }

    /// The position in the id of an event that a watcher with the same services was sent.
    pub(crate) fn position(&self, id: &str) -> Option<Position> {
        id.strip_suffix(&self.mark)?.parse().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_query_asks_for() {
        let keys = RandomState::new();
        let wanted = |query| Wanted::by_query(query, &keys);
        for query in [None, Some("")] {
            let all = wanted(query).unwrap();
            assert!(all.includes("mail") && all.services().is_none() && all.mark().is_empty());
        }
        for query in ["service=mail,shop%20two", "service=shop+two%2Cmail,mail"] {
            let some = wanted(Some(query)).unwrap();
            assert!(some.includes("mail") && some.includes("shop two") && !some.includes("shop"));
        }
        for query in
            ["service", "service=", "service=a,", "service=%ff", "service=a&service=b", "x=a"]
        {
            assert!(wanted(Some(query)).is_none(), "{query}");
        }
    }

    #[test]
    fn a_watcher_names_so_many_services_and_no_more() {
        let keys = RandomState::new();
        let query = |count| (0..count).map(|n: usize| n.to_string()).collect::<Vec<_>>().join(",");
        let wanted = |names: String| Wanted::by_query(Some(&format!("service={names}")), &keys);
        assert_eq!(wanted(query(MOST)).unwrap().services().map(|it| it.len()), Some(MOST));
        assert!(wanted(query(MOST + 1)).is_none());
        assert!(wanted(vec!["same"; MOST + 1].join(",")).is_none());
    }

    #[test]
    fn an_id_holds_for_the_same_services_only() {
        let keys = RandomState::new();
        let wanted = |query| Wanted::by_query(query, &keys).unwrap();
        let (all, one) = (wanted(None), wanted(Some("service=a")));
        let (two, same) = (wanted(Some("service=a,b")), wanted(Some("service=b,a")));
        let id = |wanted: &Wanted| format!("00000000000000ff-7{}", wanted.mark());
        assert!(all.position(&id(&all)).is_some());
        assert_eq!(two.position(&id(&same)), all.position(&id(&all)));
        for other in [&one, &two] {
            assert_eq!(all.position(&id(other)), None);
            assert_eq!(other.position(&id(&all)), None);
        }
        assert_eq!(one.position(&id(&two)), None);
    }
}
