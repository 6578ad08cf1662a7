//! Records and their leases. Each record has a lease of its own.

use std::time::Duration;

use etcd_client::{
    Client, Compare, CompareOp, Error, KeyValue, LeaseTimeToLiveOptions, PutOptions, Txn, TxnOp,
    TxnOpResponse,
};
use tonic::Code;
use tracing::debug;

use crate::layout::GONE;

type Result<T> = std::result::Result<T, Error>;

/// A lease that this driver made for a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Lease {
    id: i64,
    /// As asked for, in seconds.
    ttl: i64,
}

/// etcd counts in whole seconds, and grants more than was asked for if that is too little.
fn seconds(ttl: Duration) -> i64 {
    let up = i64::from(ttl.subsec_nanos() > 0);
    i64::try_from(ttl.as_secs()).unwrap_or(i64::MAX - 1) + up
}

/// Restarts a lease, if it is still there, still of that length, and still that of the record.
pub(crate) async fn renew(
    client: &mut Client,
    key: &str,
    json: &str,
    lease: Lease,
    ttl: Duration,
) -> Result<bool> {
    if lease.ttl != seconds(ttl) {
        return Ok(false);
    }
    match client.lease_keep_alive(lease.id).await {
        Ok(_) => {}
        // That is what the client library makes of a lease that the server does not know.
        Err(Error::LeaseKeepAliveError(_)) => return Ok(false),
        Err(error) => return Err(error),
    }
    let unchanged = Txn::new().when([
        Compare::lease(key, CompareOp::Equal, lease.id),
        Compare::value(key, CompareOp::Equal, json),
    ]);
    Ok(client.txn(unchanged).await?.succeeded())
}

/// Makes a lease.
pub(crate) async fn grant(client: &mut Client, ttl: Duration) -> Result<Lease> {
    let ttl = seconds(ttl);
    Ok(Lease { id: client.lease_grant(ttl, None).await?.id(), ttl })
}

/// Writes a record with its lease, whatever was there before, and ends the leases that it had.
pub(crate) async fn write(
    client: &mut Client,
    key: &str,
    json: &str,
    lease: Lease,
    known: Option<Lease>,
) -> Result<()> {
    let options = PutOptions::new().with_lease(lease.id).with_prev_key();
    let before = client.put(key, json, Some(options)).await?.take_prev_key();
    let before = before.map_or(0, |record| record.lease());
    let known = known.map_or(0, |known| known.id);
    let left = [before, if known == before { 0 } else { known }];
    for old in left.into_iter().filter(|old| *old != 0 && *old != lease.id) {
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
/// between has a lease of its own, and stays; but not one on the known lease of whoever says
/// goodbye, which may still be on its way.
pub(crate) async fn remove(client: &mut Client, key: &str, known: Option<Lease>) -> Result<()> {
    let say_goodbye = Txn::new().when([Compare::version(key, CompareOp::Greater, 0)]).and_then([
        TxnOp::put(key, GONE, Some(PutOptions::new().with_ignore_lease())),
        TxnOp::get(key, None),
    ]);
    let record = match client.txn(say_goodbye).await?.op_responses().pop() {
        Some(TxnOpResponse::Get(said)) => said.kvs().first().cloned(),
        _ => None,
    };
    let lease = record.as_ref().map_or(0, KeyValue::lease);
    if let Some(known) = known.filter(|known| known.id != lease) {
        revoke(client, known.id).await?;
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
