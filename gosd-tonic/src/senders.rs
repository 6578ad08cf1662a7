//! The connections to the instances, made when they are first needed and dropped when an instance leaves.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use futures_util::StreamExt;
use gosd_core::{
    Change, Client, Error, ErrorKind, Instance, InstanceId, Result, split_credentials,
};
use tokio::task::AbortHandle;
use tonic::transport::Endpoint;

use crate::connection::Connection;

pub(crate) type Configure = dyn Fn(Endpoint) -> Endpoint + Send + Sync;

/// The connections, one for each instance.
pub(crate) struct Senders {
    configure: Arc<Configure>,
    made: Mutex<Made>,
}

#[derive(Default)]
struct Made {
    senders: HashMap<InstanceId, Sender>,
    /// The task that drops the connections of instances that leave. It ends with this value.
    follower: Option<AbortHandle>,
    /// Whether the client has ended, so that no instance leaves any more.
    is_final: bool,
}

/// What sends to one instance.
struct Sender {
    instance: Arc<Instance>,
    endpoint: Endpoint,
    connection: Connection,
}

impl Senders {
    pub(crate) fn new(configure: Arc<Configure>) -> Self {
        Self { configure, made: Mutex::default() }
    }

    pub(crate) fn configure(&self) -> &Arc<Configure> {
        &self.configure
    }

    /// The connection to an instance: the one that there is, or else a new one.
    pub(crate) fn to(
        self: &Arc<Self>,
        instance: &Arc<Instance>,
        gosd: &Client,
    ) -> Result<Connection> {
        let mut made = self.made();
        if let Some(sender) = made.senders.get_mut(instance.id())
            && sender.instance.url() == instance.url()
        {
            if sender.connection.is_usable() {
                return Ok(sender.connection.clone());
            }
            sender.connection = Connection::open(&sender.endpoint);
            let connection = sender.connection.clone();
            self.follow(&mut made, gosd);
            return Ok(connection);
        }
        // Each call has the user and the password in its header.
        let (url, _) = split_credentials(instance.url());
        let endpoint = Endpoint::from_shared(url.into_owned()).map_err(|error| {
            let message =
                format!("{} is registered with a URL that is none: {error}", instance.id());
            Error::new(ErrorKind::Data, message)
        })?;
        let endpoint = (self.configure)(endpoint);
        let connection = Connection::open(&endpoint);
        // An instance that left while its call was on the way here would be removed by no later change.
        let all = gosd.instances(instance.service());
        made.senders.retain(|id, _| all.iter().any(|it| it.id() == id));
        let sender =
            Sender { instance: Arc::clone(instance), endpoint, connection: connection.clone() };
        made.senders.insert(instance.id().clone(), sender);
        self.follow(&mut made, gosd);
        Ok(connection)
    }

    /// Starts the task that follows the instances, unless there is one. It may have ended with its runtime.
    fn follow(self: &Arc<Self>, made: &mut Made, gosd: &Client) {
        if !made.is_final && made.follower.as_ref().is_none_or(AbortHandle::is_finished) {
            let follower = tokio::spawn(follow(Arc::downgrade(self), gosd.changes()));
            made.follower = Some(follower.abort_handle());
        }
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

/// Drops the connections of instances that leave. Streams on them continue to their end.
async fn follow(
    senders: Weak<Senders>,
    mut changes: impl futures_util::Stream<Item = Change> + Unpin,
) {
    while let Some(change) = changes.next().await {
        let Some(senders) = senders.upgrade() else { return };
        let mut made = senders.made();
        match change {
            Change::Reset(all) => {
                made.senders.retain(|id, _| all.iter().any(|it| it.id() == id));
            }
            Change::Removed(it) => {
                made.senders.remove(it.id());
            }
            _ => {}
        }
    }
    if let Some(senders) = senders.upgrade() {
        let mut made = senders.made();
        made.senders.clear();
        made.is_final = true;
    }
}
