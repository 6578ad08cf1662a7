//! The diagnosis of the cluster and of what is registered in it, for `gosd doctor`.

use std::time::Duration;

use etcd_client::{AlarmAction, AlarmMember, AlarmType, Client, GetOptions, StatusResponse};
use futures_util::{StreamExt, stream};
use gosd_core::{BoxFuture, Fact, InstanceId, Result};
use gosd_net::Fault;

use crate::connection::{self, Cluster};
use crate::layout::{self, Keys};
use crate::options::Options;

/// The quota of a server that was started without one. Servers before version 3.6 do not report theirs.
const USUAL_QUOTA: i64 = 2 << 30;
/// From this percentage of its quota on, a member is about to refuse writes.
const ALMOST_FULL: i64 = 80;
/// How many leases are read, and how many at once. Each takes a call.
const LEASES: usize = 1_000;
const AT_ONCE: usize = 16;

/// Finds problems, present or likely, of the cluster of a URL and of what it holds.
///
/// etcd does not report its clock. `lease`, which the diagnosis of other databases needs, is ignored, because
/// each lease has its own length.
///
/// # Errors
///
/// As for the methods of the driver.
pub fn diagnose(url: &str, _lease: Duration) -> BoxFuture<'_, Result<Vec<Fact>>> {
    Box::pin(async move {
        let options = Options::parse(url)?;
        let keys = Keys::new(&options.namespace);
        let cluster = Cluster::new(options)?;
        let client = cluster.open().await?;
        let mut facts = space(&cluster, &client).await;
        facts.extend(records(&cluster, &client, &keys).await?);
        Ok(facts)
    })
}

/// Checks how much space there is. For a user who may not ask, the fact says so.
async fn space(cluster: &Cluster, client: &Client) -> Vec<Fact> {
    let status = async |client: Client| client.maintenance_client().status().await;
    let alarms = async |client: Client| {
        client.maintenance_client().alarm(AlarmAction::Get, AlarmType::None, None).await
    };
    let status = cluster.authorized(client, status).await;
    let alarms = cluster.authorized(client, alarms).await;
    match (status, alarms) {
        (Ok(status), Ok(alarms)) => {
            let alarms: Vec<AlarmType> = alarms.alarms().iter().map(AlarmMember::alarm).collect();
            check_space(&alarms, &status)
        }
        (Err(fault), _) | (_, Err(fault)) => vec![Fact::Trouble {
            name: "not-checked",
            what: format!("whether etcd has room cannot be told: {}", fault.into_error()),
            advice: "ask with a user of the role root: etcdctl alarm list, etcdctl endpoint status"
                .into(),
        }],
    }
}

fn check_space(alarms: &[AlarmType], status: &StatusResponse) -> Vec<Fact> {
    let mut facts = Vec::new();
    if alarms.contains(&AlarmType::Nospace) {
        facts.push(Fact::Trouble {
            name: "no-space",
            what: "etcd has used up its quota (alarm NOSPACE): nobody can register, and a goodbye \
                   looks like a death"
                .into(),
            advice: "make room (etcdctl compact, etcdctl defrag), or raise --quota-backend-bytes; \
                     then etcdctl alarm disarm. --auto-compaction-retention=1h keeps it from \
                     happening again"
                .into(),
        });
    } else {
        facts.extend(check_size(status.db_size(), status.db_size_quota()));
    }
    if alarms.contains(&AlarmType::Corrupt) {
        facts.push(Fact::Trouble {
            name: "corrupt",
            what: "etcd has found that a member's data is corrupt (alarm CORRUPT)".into(),
            advice: "replace that member, or restore the cluster from a backup".into(),
        });
    }
    facts
}

/// Checks the size of the database. A quota of 0 is unknown.
fn check_size(size: i64, quota: i64) -> Option<Fact> {
    let (quota, which) = match quota {
        ..=0 => (USUAL_QUOTA, "the usual quota, for this version tells no other"),
        known => (known, "its quota"),
    };
    (size.saturating_mul(100) >= quota.saturating_mul(ALMOST_FULL)).then(|| Fact::Trouble {
        name: "space",
        what: format!(
            "the database of etcd has {size} of {quota} bytes ({which}); it takes no \
                       registrations when they are used up"
        ),
        advice: "make room (etcdctl compact, etcdctl defrag), have it compact by itself \
                 (--auto-compaction-retention=1h), or raise --quota-backend-bytes"
            .into(),
    })
}

async fn records(cluster: &Cluster, client: &Client, keys: &Keys) -> Result<Vec<Fact>> {
    let range = GetOptions::new().with_prefix();
    let read = |client| {
        let range = Some(range.clone());
        async move { connection::kv(&client).get(keys.prefix(), range).await }
    };
    let read = cluster.authorized(client, read).await;
    let mut facts = Vec::new();
    let mut leases: Vec<(InstanceId, i64)> = Vec::new();
    for record in read.map_err(Fault::into_error)?.kvs() {
        let id = keys.id(record.key());
        let read = id.and_then(|id| Ok((layout::read(id, record.value())?, id)));
        match read {
            Err(problem) => {
                let key = String::from_utf8_lossy(record.key());
                let what = format!("{problem} (etcdctl del {key:?} removes it)");
                facts.push(Fact::Unreadable { what });
            }
            Ok((Some(_), id)) if record.lease() == 0 => facts.push(Fact::NoLease { id: id.into() }),
            Ok((Some(_), id)) if leases.len() < LEASES => leases.push((id.into(), record.lease())),
            // The record is a goodbye, or enough leases have been read.
            Ok(_) => {}
        }
    }
    let mut lengths = stream::iter(leases)
        .map(|(id, lease)| async move { (id, length(cluster, client, lease).await) })
        .buffer_unordered(AT_ONCE);
    while let Some((id, length)) = lengths.next().await {
        // A lease that has ended meanwhile has no length.
        if let Some(length) = length {
            facts.push(Fact::Lease { id, at_least: length, at_most: length });
        }
    }
    Ok(facts)
}

async fn length(cluster: &Cluster, client: &Client, lease: i64) -> Option<Duration> {
    let ask = |mut client: Client| async move { client.lease_time_to_live(lease, None).await };
    let answer = cluster.authorized(client, ask).await.ok()?;
    u64::try_from(answer.granted_ttl()).ok().filter(|ttl| *ttl > 0).map(Duration::from_secs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn when_there_is_little_room_left() {
        for (size, quota, is_told) in [
            (799, 1_000, false),
            (800, 1_000, true),
            (0, 0, false),
            (1_700_000_000, 0, false),
            (1_800_000_000, 0, true),
            (1_800_000_000, 8 << 30, false),
            (i64::MAX, i64::MAX, true),
        ] {
            assert_eq!(check_size(size, quota).is_some(), is_told, "{size} of {quota}");
        }
    }
}
