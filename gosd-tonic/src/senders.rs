//! The connections to the instances, made when they are first needed and dropped when an instance leaves.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use futures_util::StreamExt;
use gosd_core::{Change, Client, Error, ErrorKind, Instance, InstanceId, Result};
use tokio::task::AbortHandle;
use tonic::transport::{Channel, Endpoint};

/// For how long a silent host is waited for before the call goes on to another one.
const CONNECT: Duration = Duration::from_secs(3);

pub(crate) type Configure = dyn Fn(Endpoint) -> Endpoint + Send + Sync;

/// tonic's channels, one an instance.
pub(crate) struct Senders {
    configure: Arc<Configure>,
    made: Mutex<Made>,
}

#[derive(Default)]
struct Made {
    channels: HashMap<InstanceId, (Arc<Instance>, Channel)>,
    /// What drops the channels of those that leave; it ends with this.
    follower: Option<AbortHandle>,
}

impl Senders {
    pub(crate) fn new(configure: Arc<Configure>) -> Self {
        Self { configure, made: Mutex::default() }
    }

    pub(crate) fn configure(&self) -> &Arc<Configure> {
        &self.configure
    }

    /// The channel to an instance, which connects when it is first used, and again when it has broken.
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
        // One that left while its call was on its way here has no goodbye to come.
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

/// Drops the channels of those that leave. What streams on them goes on to its end.
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
    // The client has ended. If there are calls still, another one follows nobody.
    if let Some(senders) = senders.upgrade() {
        senders.made().channels.clear();
    }
}
