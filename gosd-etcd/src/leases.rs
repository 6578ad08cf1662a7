//! Which lease a registration has. Nothing here does I/O.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use gosd_core::InstanceId;
use tokio::time::Instant;

/// A lease that this driver makes for a record.
///
/// Its id is chosen here, once for a registration, and not by etcd. So no lease is left over unnoticed when
/// the answer to a grant is lost, or when the record cannot be written.
///
/// A call that got no answer may still arrive, after later ones that came by another connection. One that writes
/// what is registered anyway does no harm. After any other, the next registration has another lease: what hangs
/// on the old one is refused once that is revoked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Lease {
    pub(crate) id: i64,
    /// The length that was asked for, in seconds.
    pub(crate) ttl: i64,
    /// Earlier leases that have not been ended.
    before: Vec<i64>,
    /// Whether the lease has never been asked for.
    pub(crate) is_new: bool,
    /// Whether the record has been attached to this lease.
    is_attached: bool,
    on_its_way: OnItsWay,
}

/// What was sent for a lease without an answer yet, and so may arrive at any later time.
#[derive(Clone, Debug, PartialEq, Eq)]
enum OnItsWay {
    Nothing,
    /// So many writes, all of this JSON.
    Writes(Arc<str>, usize),
    /// A goodbye, or writes of several contents.
    Other,
}

/// The leases of instances that were registered here and not deregistered.
///
/// Behind a server, a driver registers many instances that die without a goodbye. So a lease that was not
/// renewed for twice its length is forgotten. If it still exists because etcd restarted it, the next
/// registration only has to make another.
#[derive(Debug)]
pub(crate) struct Leases {
    known: HashMap<InstanceId, (Lease, Instant)>,
    /// Leases that were not renewed are dropped when the map reaches this size.
    crowd: usize,
}

/// How many leases are kept, at the least, before any is forgotten.
const CROWD: usize = 1_024;
/// How many earlier leases of an instance are kept. Those before run out by themselves.
const EARLIER: usize = 8;

impl Lease {
    /// The leases that were not ended, the present one last.
    fn all(&self) -> Vec<i64> {
        self.before.iter().copied().chain([self.id]).collect()
    }

    /// The earlier leases that the record may be attached to.
    pub(crate) fn may_hold(&self) -> &[i64] {
        if self.is_attached { &[] } else { &self.before }
    }

    /// The leases that end when the record has been written with this one, after it had that of the argument.
    pub(crate) fn to_end(&self, overwritten: i64) -> Vec<i64> {
        let before = self.before.iter().copied().filter(|before| *before != overwritten);
        before.chain([overwritten].into_iter().filter(|it| ![0, self.id].contains(it))).collect()
    }
}

impl OnItsWay {
    /// Whether nothing is on its way that would undo this registration.
    fn agrees_with(&self, json: &str) -> bool {
        match self {
            Self::Nothing => true,
            Self::Writes(sent, _) => **sent == *json,
            Self::Other => false,
        }
    }
}

impl Default for Leases {
    fn default() -> Self {
        Self { known: HashMap::new(), crowd: CROWD }
    }
}

impl Leases {
    /// The lease to register an instance with: its present one, unless that has another length, or something else
    /// is on its way for it.
    pub(crate) fn choose(&mut self, id: &InstanceId, ttl: Duration, json: &str) -> Lease {
        let ttl = seconds(ttl);
        let mut before = match self.known.get_mut(id) {
            Some((lease, since)) if lease.ttl == ttl && lease.on_its_way.agrees_with(json) => {
                *since = Instant::now();
                return lease.clone();
            }
            Some((lease, _)) => lease.all(),
            None => Vec::new(),
        };
        before.drain(..before.len().saturating_sub(EARLIER));
        self.forget_some();
        // Not zero, which means no lease.
        let new = fastrand::i64(1..=i64::MAX);
        let (is_new, is_attached, on_its_way) = (true, false, OnItsWay::Nothing);
        let lease = Lease { id: new, ttl, before, is_new, is_attached, on_its_way };
        self.known.insert(id.clone(), (lease.clone(), Instant::now()));
        lease
    }

    /// Records that a lease was asked for, and so may exist.
    pub(crate) fn asked_for(&mut self, id: &InstanceId, lease: i64) {
        if let Some(lease) = self.present(id, lease) {
            lease.is_new = false;
        }
    }

    /// Records that a write is about to be sent.
    pub(crate) fn sent(&mut self, id: &InstanceId, lease: i64, json: &str) {
        let Some(lease) = self.present(id, lease) else { return };
        match &mut lease.on_its_way {
            OnItsWay::Writes(sent, count) if **sent == *json => *count += 1,
            sent @ OnItsWay::Nothing => *sent = OnItsWay::Writes(json.into(), 1),
            sent => *sent = OnItsWay::Other,
        }
    }

    /// Records that a write has been answered.
    ///
    /// One that was sent before, and whose answer never came, remains on its way.
    pub(crate) fn answered(&mut self, id: &InstanceId, lease: i64) {
        let Some(lease) = self.present(id, lease) else { return };
        match &mut lease.on_its_way {
            OnItsWay::Writes(_, count) if *count > 1 => *count -= 1,
            sent @ OnItsWay::Writes(..) => *sent = OnItsWay::Nothing,
            OnItsWay::Nothing | OnItsWay::Other => {}
        }
    }

    /// Records that a goodbye is about to be sent.
    pub(crate) fn leaves(&mut self, id: &InstanceId) {
        if let Some((lease, _)) = self.known.get_mut(id) {
            lease.on_its_way = OnItsWay::Other;
        }
    }

    /// Records that the record is attached to its lease, and so to no other.
    pub(crate) fn attached(&mut self, id: &InstanceId, lease: i64) {
        if let Some(lease) = self.present(id, lease) {
            lease.is_attached = true;
        }
    }

    /// Records that an earlier lease has been ended.
    pub(crate) fn ended(&mut self, id: &InstanceId, old: i64) {
        if let Some((lease, _)) = self.known.get_mut(id) {
            lease.before.retain(|before| *before != old);
        }
    }

    /// A lease, unless another has taken its place.
    fn present(&mut self, id: &InstanceId, lease: i64) -> Option<&mut Lease> {
        self.known.get_mut(id).map(|(present, _)| present).filter(|present| present.id == lease)
    }

    /// The leases that an instance may have because of calls made here.
    pub(crate) fn known(&self, id: &InstanceId) -> Vec<i64> {
        self.known.get(id).map(|(lease, _)| lease.all()).unwrap_or_default()
    }

    pub(crate) fn remove(&mut self, id: &InstanceId) {
        self.known.remove(id);
    }

    fn forget_some(&mut self) {
        if self.known.len() < self.crowd {
            return;
        }
        self.known.retain(|_, (lease, since)| {
            let length = Duration::from_secs(lease.ttl.unsigned_abs());
            since.elapsed() < length.saturating_mul(2)
        });
        // A large set of active leases is not searched again each time.
        self.crowd = CROWD.max(2 * self.known.len());
    }
}

/// etcd counts in whole seconds, and grants more than was asked for if that is too little.
fn seconds(ttl: Duration) -> i64 {
    let up = i64::from(ttl.subsec_nanos() > 0);
    i64::try_from(ttl.as_secs()).unwrap_or(i64::MAX - 1) + up
}

#[cfg(test)]
mod tests {
    use super::*;

    const JSON: &str = "{}";

    #[tokio::test(start_paused = true)]
    async fn the_lease_of_an_instance_that_died_is_forgotten() {
        let mut leases = Leases::default();
        let lease = Duration::from_secs(15);
        let lives = InstanceId::from("lives");
        let kept = leases.choose(&lives, lease, JSON);
        for id in 0..10 * CROWD {
            tokio::time::advance(Duration::from_millis(100)).await;
            assert_eq!(leases.choose(&lives, lease, JSON), kept);
            leases.choose(&format!("dies-{id}").as_str().into(), lease, JSON);
            assert!(leases.known.len() <= CROWD);
        }
        leases.remove(&lives);
        assert!(leases.known(&lives).is_empty());
        assert_ne!(leases.choose(&lives, lease, JSON).id, kept.id, "a late write could hang on it");
    }

    #[tokio::test(start_paused = true)]
    async fn one_lease_for_a_registration_until_its_length_changes() {
        let (mut leases, id) = (Leases::default(), InstanceId::from("a"));
        let first = leases.choose(&id, Duration::from_secs(15), JSON);
        assert!(first.is_new && first.id > 0 && first.before.is_empty());
        leases.asked_for(&id, first.id);
        let again = leases.choose(&id, Duration::from_secs(15), JSON);
        assert_eq!(again, Lease { is_new: false, ..first.clone() });
        let longer = leases.choose(&id, Duration::from_secs(30), JSON);
        assert!(longer.is_new && longer.id != first.id && longer.may_hold() == [first.id]);
        assert_eq!(leases.known(&id), [first.id, longer.id]);
        leases.attached(&id, longer.id);
        let written = leases.choose(&id, Duration::from_secs(30), JSON);
        assert_eq!((written.may_hold(), written.to_end(0)), ([].as_slice(), vec![first.id]));
        assert_eq!(written.to_end(first.id), [first.id]);
        assert_eq!(written.to_end(longer.id), [first.id]);
        assert_eq!(written.to_end(7), [first.id, 7]);
        leases.ended(&id, first.id);
        assert_eq!(leases.known(&id), [longer.id]);
    }

    #[tokio::test(start_paused = true)]
    async fn another_lease_after_another_call_without_an_answer() {
        let (mut leases, id) = (Leases::default(), InstanceId::from("a"));
        let choose = |leases: &mut Leases, json| leases.choose(&id, Duration::from_secs(15), json);
        let mut ids = vec![choose(&mut leases, "0").id];
        for n in 0..2 * EARLIER {
            match n % 2 {
                0 => leases.sent(&id, ids[n], &n.to_string()),
                _ => leases.leaves(&id),
            }
            let next = choose(&mut leases, "other");
            assert!(next.is_new && !ids.contains(&next.id));
            let earlier = ids.len().saturating_sub(EARLIER);
            assert_eq!(next.before, ids[earlier..]);
            ids.push(next.id);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_same_lease_after_the_same_write_without_an_answer() {
        let (mut leases, id) = (Leases::default(), InstanceId::from("a"));
        let choose =
            |leases: &mut Leases, json| leases.choose(&id, Duration::from_secs(15), json).id;
        let first = choose(&mut leases, JSON);
        for _ in 0..3 {
            leases.sent(&id, first, JSON);
            assert_eq!(choose(&mut leases, JSON), first);
        }
        // The third has an answer, which says nothing of those before.
        leases.answered(&id, first);
        assert_eq!(choose(&mut leases, JSON), first);
        let second = choose(&mut leases, "other");
        assert_ne!(second, first);
        leases.sent(&id, second, "other");
        // That of an earlier lease says nothing of this one.
        leases.answered(&id, first);
        let third = choose(&mut leases, JSON);
        assert_ne!(third, second);
        leases.sent(&id, third, JSON);
        leases.answered(&id, third);
        assert_eq!(choose(&mut leases, "other"), third, "all has arrived");
        // Of two at once, either may be the last.
        leases.sent(&id, third, JSON);
        leases.sent(&id, third, "other");
        leases.answered(&id, third);
        assert_ne!(choose(&mut leases, JSON), third);
    }

    #[test]
    fn leases_are_rounded_up() {
        for (ttl, rounded) in [
            (Duration::from_secs(2), 2),
            (Duration::from_millis(2_001), 3),
            (Duration::from_nanos(1), 1),
            (Duration::MAX, i64::MAX),
        ] {
            assert_eq!(seconds(ttl), rounded, "{ttl:?}");
        }
    }
}
