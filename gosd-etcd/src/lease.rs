//! Records and their leases in etcd. Each record has its own lease.

use etcd_client::{
    Client, Compare, CompareOp, Error, KeyValue, LeaseGrantOptions, LeaseTimeToLiveOptions,
    PutOptions, Txn, TxnOp, TxnOpResponse,
};
use tonic::Code;
use tracing::debug;

use crate::error;
use crate::layout::GONE;
use crate::leases::Lease;

type Result<T> = std::result::Result<T, Error>;

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

/// Writes a record with its lease, whatever was there before. Returns the lease that it had, or 0.
pub(crate) async fn write(
    client: &mut Client,
    key: &str,
    json: &str,
    lease: &Lease,
) -> Result<i64> {
    let options = PutOptions::new().with_lease(lease.id).with_prev_key();
    let overwritten = client.put(key, json, Some(options)).await?.take_prev_key();
    Ok(overwritten.map_or(0, |record| record.lease()))
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
pub(crate) async fn revoke_unless_shared(
    client: &mut Client,
    key: &str,
    lease: i64,
) -> Result<bool> {
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
