//! A history arranged by instance and by fault, for the checks.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::{SLACK, Terms};
use crate::history::{Event, History, Ids};

/// When instances lived and died, and when the fault was.
pub(super) struct Times<'a> {
    pub(super) lives: BTreeMap<&'a str, Life<'a>>,
    pub(super) ready: Duration,
    pub(super) began: Duration,
    /// When the end of the last fault began. A server that starts again has clients before it is known to run.
    pub(super) ending: Duration,
    pub(super) ended: Duration,
    /// When the fault was over, and the last instance had come or gone.
    pub(super) quiet: Duration,
    /// When all clients have to agree.
    pub(super) due: Duration,
    /// When clients that came back to their server know all the same who is dead.
    pub(super) settled: BTreeMap<usize, Duration>,
    /// The instances that live at the end.
    pub(super) truth: Ids,
}

pub(super) struct Life<'a> {
    pub(super) service: &'a str,
    pub(super) started: Duration,
    /// From this time on the instance may be absent.
    pub(super) leaving: Option<Duration>,
    pub(super) left: Option<Duration>,
    pub(super) killed: Option<Duration>,
}

impl Life<'_> {
    pub(super) fn ends(&self) -> Option<Duration> {
        self.leaving.or(self.left).or(self.killed)
    }
}

impl<'a> Times<'a> {
    pub(super) fn of(history: &'a History, terms: &Terms) -> Self {
        let mut lives: BTreeMap<&str, Life<'_>> = BTreeMap::new();
        let (mut ready, mut began, mut ending, mut ended, mut quiet) = Default::default();
        for (at, event) in history {
            let at = *at;
            let life = match event {
                Event::Started { id, service } => {
                    let life =
                        Life { service, started: at, leaving: None, left: None, killed: None };
                    lives.insert(id, life);
                    quiet = at;
                    continue;
                }
                Event::Leaving { id } => lives.get_mut(&**id).map(|life| &mut life.leaving),
                Event::Left { id } => lives.get_mut(&**id).map(|life| &mut life.left),
                Event::Killed { id } => lives.get_mut(&**id).map(|life| &mut life.killed),
                Event::Ready => Some(&mut ready),
                Event::FaultBegan => Some(&mut began),
                Event::FaultEnding => Some(&mut ending),
                Event::FaultEnded => Some(&mut ended),
                _ => continue,
            };
            // Several faults count as one.
            if let Some(time) = life
                && (time.is_none() || matches!(event, Event::FaultEnding | Event::FaultEnded))
            {
                *time = Some(at);
            }
            quiet = at;
        }
        let truth = lives.iter().filter(|(_, life)| life.ends().is_none());
        let truth = truth.map(|(id, _)| (*id).to_owned()).collect();
        let poll = terms.poll();
        let end = history.last().map_or(Duration::ZERO, |(at, _)| *at);
        Self {
            lives,
            ready: ready.unwrap_or(end),
            began: began.unwrap_or(end),
            ending: ending.or(ended).unwrap_or(end),
            ended: ended.unwrap_or(end),
            quiet,
            due: quiet + terms.lease + terms.refresh + poll + SLACK,
            settled: match terms.wanders {
                true => settled(history, terms.lease, ended.unwrap_or(end)),
                false => BTreeMap::new(),
            },
            truth,
        }
    }

    /// Whether a client that came back to its server still has to find out who is dead.
    pub(super) fn is_settling(&self, client: usize, at: Duration) -> bool {
        self.settled.get(&client).is_some_and(|settled| at <= *settled)
    }

    /// From when on a death can be noticed, for an instance killed at this time.
    pub(super) fn known(&self, killed: Duration, within: Duration) -> Duration {
        if self.is_seen(killed, within) { killed } else { killed.max(self.ended) }
    }

    /// Whether the death was noticeable at once, because its time was over before the fault began.
    pub(super) fn is_seen(&self, killed: Duration, within: Duration) -> bool {
        killed + within < self.began
    }
}

/// When clients that came back to their server after the fault have had the time to find out who is dead.
///
/// A client that comes back has been in contact, and then gets a snapshot. It comes back once, so no further one counts.
fn settled(history: &History, lease: Duration, ended: Duration) -> BTreeMap<usize, Duration> {
    let mut settled = BTreeMap::new();
    let mut in_contact = BTreeSet::new();
    for (at, event) in history {
        match event {
            Event::Contact { client, fresh: true } => _ = in_contact.insert(client),
            Event::Contact { client, fresh: false } => _ = in_contact.remove(client),
            Event::Reset { client } if *at > ended && in_contact.contains(client) => {
                settled.entry(*client).or_insert(*at + lease / 2 + SLACK);
            }
            _ => {}
        }
    }
    settled
}
