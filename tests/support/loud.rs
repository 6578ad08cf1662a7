//! A registry that prints every goodbye, for tests of how a process ends.

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use gosd::{BoxFuture, Driver, Drivers, Instance, InstanceId, Memory, Result, async_trait};
use tokio::sync::Barrier;

use super::{Cast, Process, tell};

struct Loud {
    memory: Memory,
    goodbye: Goodbye,
}

enum Goodbye {
    Simple,
    /// Each goodbye ends when this many are under way.
    Together(Barrier),
    Hangs,
}

#[async_trait]
impl Driver for Loud {
    async fn register(&self, instance: &Instance, ttl: Duration) -> Result<()> {
        self.memory.register(instance, ttl).await
    }

    async fn deregister(&self, id: &InstanceId) -> Result<()> {
        tell("leaving");
        match &self.goodbye {
            Goodbye::Simple => {}
            Goodbye::Together(barrier) => {
                barrier.wait().await;
            }
            Goodbye::Hangs => pending().await,
        }
        self.memory.deregister(id).await?;
        tell("left");
        Ok(())
    }

    async fn list(&self) -> Result<Vec<Instance>> {
        self.memory.list().await
    }
}

fn open(url: &str) -> BoxFuture<'_, Result<Arc<dyn Driver>>> {
    Box::pin(async move {
        let goodbye = match url {
            "loud:simple" => Goodbye::Simple,
            "loud:together" => Goodbye::Together(Barrier::new(2)),
            "loud:hangs" => Goodbye::Hangs,
            _ => panic!("{url}"),
        };
        Ok(Arc::new(Loud { memory: Memory::new(), goodbye }) as Arc<dyn Driver>)
    })
}

pub(crate) fn drivers() -> Drivers {
    Drivers::compiled().with("loud", open)
}

pub(crate) const SIMPLE: [(&str, &str); 1] = [("gosdDriver", "loud:simple")];

/// Starts a process in a role, and waits until it prints that it is ready.
pub(crate) fn ready(cast: &Cast, role: &str, env: &[(&str, &str)]) -> Process {
    let process = cast.start(role, env);
    process.wait_for("ready");
    process
}
