//! The connections to the instances, made when they are first needed and dropped when an instance leaves.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use futures_util::StreamExt;
use gosd_core::{Change, Client, Error, ErrorKind, Instance, InstanceId, Result};
use tokio::task::AbortHandle;
use tonic::transport::{Channel, Endpoint};

/// How long a call waits for a silent host before it goes on to another instance.
const CONNECT: Duration = Duration::from_secs(3);

pub(crate) type Configure = dyn Fn(Endpoint) -> Endpoint + Send + Sync;

/// tonic's channels, one for each instance.
pub(crate) struct Senders {
    configure: Arc<Configure>,
    made: Mutex<Made>,
}

#[derive(Default)]
struct Made {
    channels: HashMap<InstanceId, (Arc<Instance>, Channel)>,
    /// The task that drops the channels of instances that leave. It ends with this value.
    follower: Option<AbortHandle>,
}

impl Senders {
    pub(crate) fn new(configure: Arc<Configure>) -> Self {
        Self { configure, made: Mutex::default() }
    }

    pub(crate) fn configure(&self) -> &Arc<Configure> {
        &self.configure
    }

    /// The channel to an instance. It connects when it is first used, and again after its connection broke.
    pub(crate) fn to(self: &Arc<Self>, instance: &Arc<Instance>, gosd: &Client) -> Result<Channel> {
        let mut made = self.made();
        if let Some((known, channel)) = made.channels.get(instance.id())
            && known.url() == instance.url()
        {
            return Ok(channel.clone());
        }
        let endpoint = Endpoint::from_shared(instance.url().to_owned()).map_err(|error| {
            let message =
                format!("{} is registered with a URL that is none: {error}", instance.id());
            Error::new(ErrorKind::Data, message)
        })?;
        let channel = (self.configure)(endpoint.connect_timeout(CONNECT)).connect_lazy();
        // An instance that left while its call was on the way here would be removed by no later change.
        let all = gosd.instances(instance.service());
        made.channels.retain(|id, _| all.iter().any(|it| it.id() == id));
        made.channels.insert(instance.id().clone(), (Arc::clone(instance), channel.clone()));
        if made.follower.is_none() {
            let follower = tokio::spawn(follow(Arc::downgrade(self), gosd.changes()));
            made.follower = Some(follower.abort_handle());
        }
        Ok(channel)
    }

    fn made(&self) -> MutexGuard<'_, Made> {
        self.made.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Senders {
    fn drop(&mut self) {
        if let Some(follower) = self.made().follower.take() {
            follower.abort();
        }
    }
}

/// Drops the channels of instances that leave. Streams on them continue to their end.
async fn follow(
    senders: Weak<Senders>,
    mut changes: impl futures_util::Stream<Item = Change> + Unpin,
) {
    while let Some(change) = changes.next().await {
        let Some(senders) = senders.upgrade() else { return };
        let mut made = senders.made();
        match change {
            Change::Reset(all) => {
                made.channels.retain(|id, _| all.iter().any(|it| it.id() == id));
            }
            Change::Removed(it) => {
                made.channels.remove(it.id());
            }
            _ => {}
        }
    }
    // The client has ended. A call that is still made starts a new task, which ends at once.
    if let Some(senders) = senders.upgrade() {
        senders.made().channels.clear();
    }
}
