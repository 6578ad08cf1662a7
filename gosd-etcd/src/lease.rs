//! Records and their leases. Each record has a lease of its own.

use std::time::Duration;

use etcd_client::{
    Client, Compare, CompareOp, Error, LeaseTimeToLiveOptions, PutOptions, Txn, TxnOp,
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

/// Writes a record with a new lease, whatever was there before.
pub(crate) async fn write(
    client: &mut Client,
    key: &str,
    json: &str,
    ttl: Duration,
) -> Result<Lease> {
    let ttl = seconds(ttl);
    let id = client.lease_grant(ttl, None).await?.id();
    let options = PutOptions::new().with_lease(id).with_prev_key();
    let before = client.put(key, json, Some(options)).await?.take_prev_key();
    if let Some(old) = before.map(|record| record.lease()).filter(|old| *old != 0) {
        // What was left over ends by itself, only later.
        if let Err(error) = revoke_unless_shared(client, key, old).await {
            debug!(key, %error, "the lease of an overwritten record was not revoked");
        }
    }
    Ok(Lease { id, ttl })
}

/// Says goodbye in a record, and then removes it and its lease.
///
/// If only the first step is done, the lease does the rest. A record that was written anew in
/// between has a lease of its own, and stays.
pub(crate) async fn remove(client: &mut Client, key: &str) -> Result<()> {
    let say_goodbye = Txn::new().when([Compare::version(key, CompareOp::Greater, 0)]).and_then([
        TxnOp::put(key, GONE, Some(PutOptions::new().with_ignore_lease())),
        TxnOp::get(key, None),
    ]);
    let said = client.txn(say_goodbye).await?;
    let Some(TxnOpResponse::Get(record)) = said.op_responses().pop() else { return Ok(()) };
    let Some(record) = record.kvs().first() else { return Ok(()) };
    if record.lease() != 0 && revoke_unless_shared(client, key, record.lease()).await? {
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
    match client.lease_revoke(lease).await {
        Err(Error::GRpcStatus(status)) if status.code() == Code::NotFound => Ok(true),
        revoked => revoked.map(|_| true),
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
