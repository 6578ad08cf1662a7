//! The scripts that change the registry, and the calls of them.

use std::time::Duration;

use crate::answers::Answers;
use gosd_core::{Instance, InstanceId};
use redis::{Cmd, FromRedisValue, RedisResult, Script, ServerErrorKind};

use crate::evidence::{Span, ends_after};
use crate::layout::{self, Keys};
use crate::order::Sent;

/// About how many changes a watcher may be behind before it starts again with a snapshot.
const ENTRIES: usize = 10_000;
/// How many instances one call removes or adopts at most, so that it never blocks the server for long.
pub(crate) const BATCH: usize = 100;
/// How long a lease has been over before the instance is purged, so that one process does it for all.
pub(crate) const GRACE: Duration = Duration::from_secs(1);

/// Each change is one script, called by its hash, and loaded again if the server does not know the hash.
pub(crate) struct Scripts {
    register: Script,
    deregister: Script,
    purge: Script,
    adopt: Script,
    cut: Script,
}

impl Scripts {
    pub(crate) fn new() -> Self {
        Self {
            register: Script::new(concat!(include_str!("fence.lua"), include_str!("register.lua"))),
            deregister: Script::new(concat!(
                include_str!("fence.lua"),
                include_str!("deregister.lua")
            )),
            purge: Script::new(include_str!("purge.lua")),
            adopt: Script::new(include_str!("adopt.lua")),
            cut: Script::new(include_str!("cut.lua")),
        }
    }

    pub(crate) async fn register(
        &self,
        redis: &mut Answers,
        keys: &Keys,
        instance: &Instance,
        lease: Duration,
        sent: &Sent<'_>,
    ) -> RedisResult<()> {
        let id = instance.id().as_str();
        run(redis, keys, &keys.fence(id), &self.register, |call| {
            sent.sign(call);
            call.arg(id)
                .arg(instance.url())
                .arg(layout::meta_of(instance))
                .arg(millis(lease))
                .arg(ENTRIES);
        })
        .await
    }

    pub(crate) async fn deregister(
        &self,
        redis: &mut Answers,
        keys: &Keys,
        id: &InstanceId,
        sent: &Sent<'_>,
    ) -> RedisResult<()> {
        let id = id.as_str();
        run(redis, keys, &keys.fence(id), &self.deregister, |call| {
            sent.sign(call);
            call.arg(id).arg(ENTRIES);
        })
        .await
    }

    /// Removes dead instances, unless a process has done so within the last [`GRACE`]. Returns how many.
    ///
    /// This fails whenever a registration would, even if there is nothing to remove.
    pub(crate) async fn purge(
        &self,
        redis: &mut Answers,
        keys: &Keys,
        dead: Option<Span>,
    ) -> RedisResult<usize> {
        let dead = dead.unwrap_or(Span { after: u64::MAX, until: 0 });
        run(redis, keys, &keys.no_fence(), &self.purge, |call| {
            call.arg(millis(GRACE)).arg(BATCH).arg(ENTRIES);
            call.arg(ends_after(dead.after)).arg(dead.until);
        })
        .await
    }

    /// Shortens leases that became too long because the server's clock was set back by this many ms; one
    /// batch of them. Returns how many.
    pub(crate) async fn cut(
        &self,
        redis: &mut Answers,
        keys: &Keys,
        longest: Duration,
        back: u64,
    ) -> RedisResult<usize> {
        run(redis, keys, &keys.no_fence(), &self.cut, |call| {
            call.arg(millis(longest)).arg(back).arg(BATCH);
        })
        .await
    }

    /// Gives a lease to instances that have none. Returns how many got one.
    pub(crate) async fn adopt(
        &self,
        redis: &mut Answers,
        keys: &Keys,
        ids: &[InstanceId],
        lease: Duration,
    ) -> RedisResult<i64> {
        run(redis, keys, &keys.no_fence(), &self.adopt, |call| {
            call.arg(millis(lease));
            for id in ids {
                call.arg(id.as_str());
            }
        })
        .await
    }
}

/// Calls a script by its hash; `arguments` adds what comes after the keys.
async fn run<T: FromRedisValue>(
    redis: &mut Answers,
    keys: &Keys,
    fence: &str,
    script: &Script,
    arguments: impl FnOnce(&mut Cmd),
) -> RedisResult<T> {
    let mut call = redis::cmd("EVALSHA");
    call.arg(script.get_hash()).arg(5);
    call.arg(&keys.registry).arg(&keys.leases).arg(&keys.meta).arg(&keys.events).arg(fence);
    arguments(&mut call);
    match call.query_async(redis).await {
        Err(error) if error.kind() == ServerErrorKind::NoScript.into() => {
            script.load_async(redis).await?;
            call.query_async(redis).await
        }
        result => result,
    }
}

pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
