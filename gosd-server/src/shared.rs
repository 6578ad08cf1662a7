//! The state that all requests of a server share.

use std::sync::OnceLock;
use std::time::Duration;

use tokio::sync::watch;

use crate::connections::Connections;
use crate::events::Closing;
use crate::limits::Clients;
use crate::metrics::Metrics;
use crate::namespaces::Namespaces;
use crate::settings::Settings;

/// How long a server that ends takes to send its watchers away: the time for each, and the most for all.
const FAREWELL: (Duration, Duration) = (Duration::from_millis(2), Duration::from_secs(2));

pub(crate) struct Shared {
    pub(crate) settings: Settings,
    pub(crate) namespaces: Namespaces,
    pub(crate) clients: Clients,
    pub(crate) metrics: Metrics,
    /// The connections of a server. Mounted routes have none.
    pub(crate) connections: OnceLock<Connections>,
    closing: watch::Sender<Closing>,
}

impl Shared {
    pub(crate) fn new(settings: Settings) -> Self {
        Self {
            namespaces: Namespaces::new(&settings),
            clients: Clients::new(settings.limits.clone()),
            metrics: Metrics::new(),
            connections: OnceLock::new(),
            closing: watch::Sender::new(Closing::No),
            settings,
        }
    }

    /// Tells the watchers that the server is ending.
    pub(crate) fn close(&self) {
        let watchers = u32::try_from(self.clients.watchers()).unwrap_or(u32::MAX);
        let time = FAREWELL.0.saturating_mul(watchers).min(FAREWELL.1);
        self.closing.send_replace(Closing::Within(time));
    }

    pub(crate) fn closing(&self) -> watch::Receiver<Closing> {
        self.closing.subscribe()
    }
}
