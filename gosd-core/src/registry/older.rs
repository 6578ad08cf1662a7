//! An older view, from before this process began. It is shown as far as the backend has not been heard.
//!
//! A part of the backend may be heard, such as one of two databases. The older view does not say who was in
//! which of them, so whoever the part lacks may be in the other, and is shown.

use std::collections::HashSet;

use tokio::time::Instant;

use super::{Effects, Registry, Scope};
use crate::contract::DRAIN;
use crate::{Instance, InstanceId, Settings};

/// What is not shown of an older view. Once the whole backend has been reached, there is no use for it.
#[derive(Default)]
pub(super) struct Older {
    /// What it has of services that nobody has asked for.
    pub(super) unasked: Vec<Instance>,
    /// Who has gone before it comes, and may be in it still; `None` if none is expected.
    gone: Option<HashSet<InstanceId>>,
    /// Whether a part of the backend has been heard before it comes.
    pub(super) is_beside_a_part: bool,
}

impl Older {
    pub(super) fn new(settings: &Settings) -> Self {
        let gone = settings.snapshot_path.is_some().then(HashSet::new);
        Self { gone, ..Self::default() }
    }

    /// Records that an instance is gone, whatever an older view says of it.
    pub(super) fn remove(&mut self, id: &InstanceId) {
        self.unasked.retain(|instance| instance.id() != id);
        if let Some(gone) = &mut self.gone {
            gone.insert(id.clone());
        }
    }
}

impl Registry {
    /// Takes over an older view, unless the backend has been reached already. What it has of services that
    /// nobody asked for is kept for when somebody does.
    pub(crate) fn seed(
        &mut self,
        mut all: Vec<Instance>,
        asked: &Scope,
        since: Instant,
    ) -> Effects {
        let gone = self.older.gone.take().unwrap_or_default();
        if self.contact.seed(since) {
            // Nobody renews a drain. One that a part lacks has ended there, and would not be told of again.
            let has_ended = |it: &Instance| self.older.is_beside_a_part && it.service() == DRAIN;
            all.retain(|it| !gone.contains(it.id()) && !has_ended(it));
            self.older.unasked = all;
        }
        self.show_asked(asked)
    }

    /// Records that no older view comes.
    pub(crate) fn seed_nothing(&mut self) -> Effects {
        self.older.gone = None;
        Effects::default()
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
