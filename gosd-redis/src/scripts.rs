use std::time::Duration;

use gosd_core::{Instance, InstanceId};
use redis::aio::MultiplexedConnection;
use redis::{RedisResult, Script, ScriptInvocation};

use crate::layout::{self, Keys};

/// How many changes a watcher may be behind before it starts again with a snapshot; about.
const ENTRIES: usize = 10_000;
/// How many instances one call removes or adopts at most, so that it never blocks the server for long.
pub(crate) const BATCH: usize = 100;
/// How long a lease has been over before it is purged, so that one process does it for all.
pub(crate) const GRACE: Duration = Duration::from_secs(1);

/// The changes: each is one script, called by its hash and loaded again where it is not known.
pub(crate) struct Scripts {
    register: Script,
    deregister: Script,
    purge: Script,
    adopt: Script,
}

impl Scripts {
    pub(crate) fn new() -> Self {
        Self {
            register: Script::new(include_str!("register.lua")),
            deregister: Script::new(include_str!("deregister.lua")),
            purge: Script::new(include_str!("purge.lua")),
            adopt: Script::new(include_str!("adopt.lua")),
        }
    }

    pub(crate) async fn register(
        &self,
        redis: &mut MultiplexedConnection,
        keys: &Keys,
        instance: &Instance,
        lease: Duration,
    ) -> RedisResult<()> {
        on(&self.register, keys)
            .arg(instance.id().as_str())
            .arg(instance.url())
            .arg(layout::meta_of(instance))
            .arg(millis(lease))
            .arg(ENTRIES)
            .invoke_async(redis)
            .await
    }

    pub(crate) async fn deregister(
        &self,
        redis: &mut MultiplexedConnection,
        keys: &Keys,
        id: &InstanceId,
    ) -> RedisResult<()> {
        on(&self.deregister, keys).arg(id.as_str()).arg(ENTRIES).invoke_async(redis).await
    }

    /// Removes what has expired, unless somebody did within the last [`GRACE`]; says how many.
    pub(crate) async fn purge(
        &self,
        redis: &mut MultiplexedConnection,
        keys: &Keys,
    ) -> RedisResult<usize> {
        on(&self.purge, keys).arg(millis(GRACE)).arg(BATCH).arg(ENTRIES).invoke_async(redis).await
    }

    /// Gives a lease to those that have none; says how many got one.
    pub(crate) async fn adopt(
        &self,
        redis: &mut MultiplexedConnection,
        keys: &Keys,
        ids: &[&str],
        lease: Duration,
    ) -> RedisResult<i64> {
        on(&self.adopt, keys).arg(millis(lease)).arg(ids).invoke_async(redis).await
    }
}

fn on<'a>(script: &'a Script, keys: &Keys) -> ScriptInvocation<'a> {
    let mut invocation = script.prepare_invoke();
    for key in [&keys.registry, &keys.leases, &keys.meta, &keys.events] {
        invocation.key(key);
    }
    invocation
}

pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
