//! An older view, from before this process began. It is shown as far as the backend has not been heard.

use tokio::time::Instant;

use super::{Effects, Registry, Scope};
use crate::Instance;

/// What is not shown of an older view. Once the whole backend has been reached, there is no use for it.
#[derive(Default)]
pub(super) struct Older {
    /// What it has of services that nobody has asked for.
    pub(super) unasked: Vec<Instance>,
}

impl Registry {
    /// Takes over an older view, unless the backend has been reached already. What it has of services that
    /// nobody asked for is kept for when somebody does.
    pub(crate) fn seed(&mut self, all: Vec<Instance>, asked: &Scope, since: Instant) -> Effects {
        if self.contact.seed(since) {
            self.older.unasked = all;
        }
        self.show_asked(asked)
    }

    /// Shows what an older view has of the services that are asked for by now.
    pub(crate) fn show_asked(&mut self, asked: &Scope) -> Effects {
        let is_asked = |it: &Instance| asked.includes(it.service());
        let old = std::mem::take(&mut self.older.unasked);
        let (shown, unasked): (Vec<_>, Vec<_>) = old.into_iter().partition(is_asked);
        self.older.unasked = unasked;
        for instance in shown {
            // What has been heard since is newer.
            if !self.known.contains(instance.id()) {
                self.known.put(instance);
            }
        }
        self.publish(false)
    }
}
