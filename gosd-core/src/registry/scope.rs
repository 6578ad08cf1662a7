//! The services that an answer of the backend is about: all, or some by name.

use std::collections::BTreeSet;

/// The services that a client watches, and so those that an answer is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    Everything,
    Only(BTreeSet<String>),
}

impl Scope {
    pub(crate) fn includes(&self, service: &str) -> bool {
        match self {
            Self::Everything => true,
            Self::Only(services) => services.contains(service),
        }
    }

    /// Adds the services of another scope; returns whether there were any new ones.
    pub(crate) fn add(&mut self, other: &Self) -> bool {
        match (&mut *self, other) {
            (Self::Everything, _) => false,
            (_, Self::Everything) => {
                *self = Self::Everything;
                true
            }
            (Self::Only(known), Self::Only(others)) => {
                let before = known.len();
                known.extend(others.difference(known).cloned().collect::<Vec<_>>());
                known.len() > before
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn only(services: &[&str]) -> Scope {
        Scope::Only(services.iter().map(|it| (*it).to_owned()).collect())
    }

    #[test]
    fn a_scope_only_grows() {
        let mut scope = only(&["a"]);
        assert!(scope.includes("a") && !scope.includes("b"));
        assert!(!scope.add(&only(&["a"])));
        assert!(scope.add(&only(&["a", "b"])) && scope == only(&["a", "b"]));
        assert!(scope.add(&Scope::Everything) && scope.includes("c"));
        assert!(!scope.add(&only(&["d"])) && scope == Scope::Everything);
    }
}
