//! Records and their leases. Each record has its own lease.

use std::collections::HashMap;
use std::time::Duration;

use etcd_client::{
    Client, Compare, CompareOp, Error, KeyValue, LeaseGrantOptions, LeaseTimeToLiveOptions,
    PutOptions, Txn, TxnOp, TxnOpResponse,
};
use gosd_core::InstanceId;
use tokio::time::Instant;
use tonic::Code;
use tracing::debug;

use crate::error;
use crate::layout::GONE;

type Result<T> = std::result::Result<T, Error>;

/// A lease that this driver makes for a record.
///
/// Its id is chosen here, once for a registration, and not by etcd. So no lease is left over unnoticed when
/// the answer to a grant is lost, or when the record cannot be written.
///
/// A call that got no answer may still arrive, after later ones that came by another connection. So after such a
/// call the next registration has another lease: what hangs on the old one is refused once that is revoked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Lease {
    pub(crate) id: i64,
    /// The length that was asked for, in seconds.
    ttl: i64,
    /// Earlier leases that the record may still be attached to.
    pub(crate) before: Vec<i64>,
    /// Whether the lease has never been asked for.
    pub(crate) is_new: bool,
    /// Whether a write or a goodbye with this lease was begun, and its answer has not come.
    is_in_doubt: bool,
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
    /// The leases that the record may be attached to, the present one last.
    fn all(&self) -> Vec<i64> {
        self.before.iter().copied().chain([self.id]).collect()
    }
}

impl Default for Leases {
    fn default() -> Self {
        Self { known: HashMap::new(), crowd: CROWD }
    }
}

impl Leases {
    /// The lease to register an instance with: its present one, unless that has another length or is in doubt.
    pub(crate) fn choose(&mut self, id: &InstanceId, ttl: Duration) -> Lease {
        let ttl = seconds(ttl);
        let mut before = match self.known.get_mut(id) {
            Some((lease, since)) if lease.ttl == ttl && !lease.is_in_doubt => {
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
        let lease = Lease { id: new, ttl, before, is_new: true, is_in_doubt: false };
        self.known.insert(id.clone(), (lease.clone(), Instant::now()));
        lease
    }

    /// Records that a lease was asked for, and so may exist.
    pub(crate) fn asked_for(&mut self, id: &InstanceId) {
        if let Some((lease, _)) = self.known.get_mut(id) {
            lease.is_new = false;
        }
    }

    /// Records that a write or a goodbye is about to be sent.
    pub(crate) fn sent(&mut self, id: &InstanceId) {
        if let Some((lease, _)) = self.known.get_mut(id) {
            lease.is_in_doubt = true;
        }
    }

    /// Records that all that was sent has been answered.
    pub(crate) fn answered(&mut self, id: &InstanceId) {
        if let Some((lease, _)) = self.known.get_mut(id) {
            lease.is_in_doubt = false;
        }
    }

    /// Records that the record is attached to its lease, and to no other.
    pub(crate) fn written(&mut self, id: &InstanceId) {
        if let Some((lease, _)) = self.known.get_mut(id) {
            lease.before.clear();
        }
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

/// Restarts a lease, if it still exists.
pub(crate) async fn keep_alive(client: &mut Client, lease: i64) -> Result<bool> {
    match client.lease_keep_alive(lease).await {
        Ok(_) => Ok(true),
        // The client library returns this error for a lease that the server does not know.
        Err(Error::LeaseKeepAliveError(_)) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Whether a record is unchanged and attached to its lease, as confirmed by a majority of the cluster.
///
/// A read, and not a transaction with a comparison, which counts as a write when there is no space.
pub(crate) async fn is_intact(
    client: &Client,
    key: &str,
    json: &str,
    lease: &Lease,
) -> Result<bool> {
    let found = client.kv_client().get(key, None).await?;
    Ok(found
        .kvs()
        .first()
        .is_some_and(|record| record.lease() == lease.id && record.value() == json.as_bytes()))
}

/// Grants a lease, unless an earlier attempt has done so.
pub(crate) async fn grant(client: &mut Client, lease: &Lease) -> Result<()> {
    let options = LeaseGrantOptions::new().with_id(lease.id);
    match client.lease_grant(lease.ttl, Some(options)).await {
        Err(Error::GRpcStatus(status)) if status.message().contains("lease already exists") => {
            Ok(())
        }
        granted => granted.map(drop),
    }
}

/// Writes a record with its lease, whatever was there before, and ends the leases that it had.
pub(crate) async fn write(client: &mut Client, key: &str, json: &str, lease: &Lease) -> Result<()> {
    let options = PutOptions::new().with_lease(lease.id).with_prev_key();
    let overwritten = client.put(key, json, Some(options)).await?.take_prev_key();
    let overwritten = overwritten.map_or(0, |record| record.lease());
    let before = lease.before.iter().copied().filter(|before| *before != overwritten);
    for old in before.chain([overwritten]) {
        if old == 0 || old == lease.id {
            continue;
        }
        // The old lease then runs out by itself.
        if let Err(error) = revoke_unless_shared(client, key, old).await {
            debug!(key, %error, "the lease of an overwritten record was not revoked");
        }
    }
    Ok(())
}

/// Writes a goodbye into a record, and then removes the record and its lease.
///
/// If only the first step succeeds, the lease ends the record. A record that was written again in between has
/// another lease, and stays, unless the lease is one that this driver knows: then the write may have been a
/// late heartbeat. If the goodbye cannot be written for lack of space, the lease is revoked all the same,
/// which watchers see as an expiry.
pub(crate) async fn remove(client: &mut Client, key: &str, known: &[i64]) -> Result<()> {
    let record = say_goodbye(client, key).await?;
    let lease = record.as_ref().map_or(0, KeyValue::lease);
    for known in known.iter().filter(|known| **known != lease) {
        revoke(client, *known).await?;
    }
    let Some(record) = record else { return Ok(()) };
    if lease != 0 && revoke_unless_shared(client, key, lease).await? {
        return Ok(());
    }
    // The record was written by hand, without a lease or with one that others use.
    let delete = Txn::new()
        .when([Compare::mod_revision(key, CompareOp::Equal, record.mod_revision())])
        .and_then([TxnOp::delete(key, None)]);
    client.txn(delete).await.map(drop)
}

/// Writes a goodbye into a record, and returns what is there now.
///
/// It is written only over the record that was read, so that it hits nothing else if it arrives late.
async fn say_goodbye(client: &mut Client, key: &str) -> Result<Option<KeyValue>> {
    let mut found = client.get(key, None).await?.kvs().first().cloned();
    while let Some(record) = found {
        let unchanged = Compare::mod_revision(key, CompareOp::Equal, record.mod_revision());
        let gone = TxnOp::put(key, GONE, Some(PutOptions::new().with_ignore_lease()));
        let read = TxnOp::get(key, None);
        let goodbye = Txn::new().when([unchanged]).and_then([gone, read.clone()]).or_else([read]);
        let said = match client.txn(goodbye).await {
            Ok(said) => said,
            Err(error) if has_no_space(&error) => {
                debug!(key, %error, "the goodbye is not written; revoking the lease");
                return Ok(Some(record));
            }
            Err(error) => return Err(error),
        };
        found = match said.op_responses().pop() {
            Some(TxnOpResponse::Get(read)) => read.kvs().first().cloned(),
            _ => None,
        };
        if said.succeeded() {
            break;
        }
    }
    Ok(found)
}

fn has_no_space(error: &Error) -> bool {
    error::of_server(error).is_some_and(|status| {
        status.code() == Code::ResourceExhausted && status.message().contains("space exceeded")
    })
}

/// Revokes a lease, and with it the record if that is attached to it, unless other keys are attached, too.
async fn revoke_unless_shared(client: &mut Client, key: &str, lease: i64) -> Result<bool> {
    let options = LeaseTimeToLiveOptions::new().with_keys();
    let status = client.lease_time_to_live(lease, Some(options)).await?;
    if status.keys().iter().any(|other| other != key.as_bytes()) {
        return Ok(false);
    }
    revoke(client, lease).await.map(|()| true)
}

/// Revokes a lease, if it exists.
async fn revoke(client: &mut Client, lease: i64) -> Result<()> {
    match client.lease_revoke(lease).await {
        Err(Error::GRpcStatus(status)) if status.code() == Code::NotFound => Ok(()),
        revoked => revoked.map(drop),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_lease_of_an_instance_that_died_is_forgotten() {
        let mut leases = Leases::default();
        let lease = Duration::from_secs(15);
        let lives = InstanceId::from("lives");
        let kept = leases.choose(&lives, lease);
        for id in 0..10 * CROWD {
            tokio::time::advance(Duration::from_millis(100)).await;
            assert_eq!(leases.choose(&lives, lease), kept);
            leases.choose(&format!("dies-{id}").as_str().into(), lease);
            assert!(leases.known.len() <= CROWD);
        }
        leases.remove(&lives);
        assert!(leases.known(&lives).is_empty());
        assert_ne!(leases.choose(&lives, lease).id, kept.id, "a late write could hang on it");
    }

    #[tokio::test(start_paused = true)]
    async fn one_lease_for_a_registration_until_its_length_changes() {
        let (mut leases, id) = (Leases::default(), InstanceId::from("a"));
        let first = leases.choose(&id, Duration::from_secs(15));
        assert!(first.is_new && first.id > 0 && first.before.is_empty());
        leases.asked_for(&id);
        let again = leases.choose(&id, Duration::from_secs(15));
        assert_eq!(again, Lease { is_new: false, ..first.clone() });
        let longer = leases.choose(&id, Duration::from_secs(30));
        assert!(longer.is_new && longer.id != first.id && longer.before == [first.id]);
        assert_eq!(leases.known(&id), [first.id, longer.id]);
        leases.written(&id);
        assert_eq!(leases.known(&id), [longer.id]);
    }

    #[tokio::test(start_paused = true)]
    async fn another_lease_after_a_call_without_an_answer() {
        let (mut leases, id) = (Leases::default(), InstanceId::from("a"));
        let choose = |leases: &mut Leases| leases.choose(&id, Duration::from_secs(15));
        let mut ids = vec![choose(&mut leases).id];
        for _ in 0..2 * EARLIER {
            leases.sent(&id);
            let next = choose(&mut leases);
            assert!(next.is_new && !ids.contains(&next.id));
            let earlier = ids.len().saturating_sub(EARLIER);
            assert_eq!(next.before, ids[earlier..]);
            ids.push(next.id);
        }
        leases.sent(&id);
        leases.answered(&id);
        assert_eq!(Some(&choose(&mut leases).id), ids.last());
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
