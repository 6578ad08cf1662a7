//! Records and their leases. Each record has a lease of its own.

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
/// Its id is chosen here, once for a registration, and not by etcd: a grant whose answer is lost, or a
/// record that may not be written, leaves no lease behind that nobody knows of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Lease {
    id: i64,
    /// As asked for, in seconds.
    ttl: i64,
    /// One of another length that the record may still hang on.
    before: Option<i64>,
    /// It has never been asked for.
    pub(crate) is_new: bool,
}

/// The leases of what was registered here and not deregistered.
///
/// A driver behind a server registers many that die without a goodbye, so those that nobody has
/// renewed for twice their length are forgotten. If one of them lives yet, since etcd restarted it,
/// the next registration only has to make another.
#[derive(Debug)]
pub(crate) struct Leases {
    known: HashMap<InstanceId, (Lease, Instant)>,
    /// Leases that were not renewed are dropped when the map reaches this size.
    crowd: usize,
}

/// How many leases are kept, at the least, before any is forgotten.
const CROWD: usize = 1_024;

impl Default for Leases {
    fn default() -> Self {
        Self { known: HashMap::new(), crowd: CROWD }
    }
}

impl Leases {
    /// The lease to register an instance with: the one that it has, unless that is of another length.
    pub(crate) fn choose(&mut self, id: &InstanceId, ttl: Duration) -> Lease {
        let ttl = seconds(ttl);
        let before = match self.known.get_mut(id) {
            Some((lease, since)) if lease.ttl == ttl => {
                *since = Instant::now();
                return *lease;
            }
            Some((lease, _)) => Some(lease.id),
            None => None,
        };
        self.forget_some();
        // Not zero, which stands for no lease.
        let lease = Lease { id: fastrand::i64(1..=i64::MAX), ttl, before, is_new: true };
        self.known.insert(id.clone(), (lease, Instant::now()));
        lease
    }

    /// Notes that a lease was asked for, so that it may be there.
    pub(crate) fn asked_for(&mut self, id: &InstanceId) {
        if let Some((lease, _)) = self.known.get_mut(id) {
            lease.is_new = false;
        }
    }

    /// Notes that the record hangs on its lease, and on no other.
    pub(crate) fn written(&mut self, id: &InstanceId) {
        if let Some((lease, _)) = self.known.get_mut(id) {
            lease.before = None;
        }
    }

    /// The leases that an instance may have by what was done here.
    pub(crate) fn known(&self, id: &InstanceId) -> Vec<i64> {
        let lease = self.known.get(id).map(|(lease, _)| *lease);
        lease.into_iter().flat_map(|lease| lease.before.into_iter().chain([lease.id])).collect()
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
        // So that a crowd that stays is not gone through each time.
        self.crowd = CROWD.max(2 * self.known.len());
    }
}

/// etcd counts in whole seconds, and grants more than was asked for if that is too little.
fn seconds(ttl: Duration) -> i64 {
    let up = i64::from(ttl.subsec_nanos() > 0);
    i64::try_from(ttl.as_secs()).unwrap_or(i64::MAX - 1) + up
}

/// Restarts a lease, if it is still there.
pub(crate) async fn keep_alive(client: &mut Client, lease: Lease) -> Result<bool> {
    match client.lease_keep_alive(lease.id).await {
        Ok(_) => Ok(true),
        // That is what the client library makes of a lease that the server does not know.
        Err(Error::LeaseKeepAliveError(_)) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Whether a record is as it should be, and on its lease, by the word of a majority of the cluster.
///
/// A read, and not a transaction that compares: one of those counts as a write when there is no space.
pub(crate) async fn is_intact(
    client: &Client,
    key: &str,
    json: &str,
    lease: Lease,
) -> Result<bool> {
    let found = client.kv_client().get(key, None).await?;
    Ok(found
        .kvs()
        .first()
        .is_some_and(|record| record.lease() == lease.id && record.value() == json.as_bytes()))
}

/// Makes a lease, unless an earlier attempt has made it.
pub(crate) async fn grant(client: &mut Client, lease: Lease) -> Result<()> {
    let options = LeaseGrantOptions::new().with_id(lease.id);
    match client.lease_grant(lease.ttl, Some(options)).await {
        Err(Error::GRpcStatus(status)) if status.message().contains("lease already exists") => {
            Ok(())
        }
        granted => granted.map(drop),
    }
}

/// Writes a record with its lease, whatever was there before, and ends the leases that it had.
pub(crate) async fn write(client: &mut Client, key: &str, json: &str, lease: Lease) -> Result<()> {
    let options = PutOptions::new().with_lease(lease.id).with_prev_key();
    let overwritten = client.put(key, json, Some(options)).await?.take_prev_key();
    let overwritten = overwritten.map_or(0, |record| record.lease());
    let before = lease.before.filter(|before| *before != overwritten);
    for old in before.into_iter().chain([overwritten]) {
        if old == 0 || old == lease.id {
            continue;
        }
        // What is left over ends by itself, only later.
        if let Err(error) = revoke_unless_shared(client, key, old).await {
            debug!(key, %error, "the lease of an overwritten record was not revoked");
        }
    }
    Ok(())
}

/// Says goodbye in a record, and then removes it and its lease.
///
/// If only the first step is done, the lease does the rest. A record that was written anew in
/// between has a lease of its own, and stays; but not one on a known lease of whoever says goodbye,
/// which may still be on its way. Where the goodbye cannot be written, for want of space, the lease
/// is revoked all the same: then it looks like an expiry to those who watch.
pub(crate) async fn remove(client: &mut Client, key: &str, known: &[i64]) -> Result<()> {
    let say_goodbye = Txn::new().when([Compare::version(key, CompareOp::Greater, 0)]).and_then([
        TxnOp::put(key, GONE, Some(PutOptions::new().with_ignore_lease())),
        TxnOp::get(key, None),
    ]);
    let record = match client.txn(say_goodbye).await {
        Ok(said) => match said.op_responses().pop() {
            Some(TxnOpResponse::Get(said)) => said.kvs().first().cloned(),
            _ => None,
        },
        Err(error) if has_no_space(&error) => {
            debug!(key, %error, "the goodbye is not written; revoking the lease");
            client.get(key, None).await?.kvs().first().cloned()
        }
        Err(error) => return Err(error),
    };
    let lease = record.as_ref().map_or(0, KeyValue::lease);
    for known in known.iter().filter(|known| **known != lease) {
        revoke(client, *known).await?;
    }
    let Some(record) = record else { return Ok(()) };
    if lease != 0 && revoke_unless_shared(client, key, lease).await? {
        return Ok(());
    }
    // It was written by hand, without a lease or with that of others.
    let delete = Txn::new()
        .when([Compare::mod_revision(key, CompareOp::Equal, record.mod_revision())])
        .and_then([TxnOp::delete(key, None)]);
    client.txn(delete).await.map(drop)
}

fn has_no_space(error: &Error) -> bool {
    error::of_server(error).is_some_and(|status| {
        status.code() == Code::ResourceExhausted && status.message().contains("space exceeded")
    })
}

/// Revokes a lease, and with it the record if that is on it; not if there are other keys on it.
async fn revoke_unless_shared(client: &mut Client, key: &str, lease: i64) -> Result<bool> {
    let options = LeaseTimeToLiveOptions::new().with_keys();
    let status = client.lease_time_to_live(lease, Some(options)).await?;
    if status.keys().iter().any(|other| other != key.as_bytes()) {
        return Ok(false);
    }
    revoke(client, lease).await.map(|()| true)
}

/// Revokes a lease, if it is there.
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
    async fn who_died_without_a_goodbye_is_forgotten() {
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
        assert!(first.is_new && first.id > 0 && first.before.is_none());
        leases.asked_for(&id);
        let again = leases.choose(&id, Duration::from_secs(15));
        assert_eq!(again, Lease { is_new: false, ..first });
        let longer = leases.choose(&id, Duration::from_secs(30));
        assert!(longer.is_new && longer.id != first.id && longer.before == Some(first.id));
        assert_eq!(leases.known(&id), [first.id, longer.id]);
        leases.written(&id);
        assert_eq!(leases.known(&id), [longer.id]);
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
