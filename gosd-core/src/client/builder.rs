//! The builder of a client: its settings, and its start.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::time::Instant;
use tracing::{info, warn};

use super::{Client, runtime, signals};
use crate::{Driver, Error, Instance, Registration, Result, Settings, View, limits};

/// What a [`Client`] is made from; see [`Client::builder`].
#[must_use]
pub struct ClientBuilder {
    driver: Arc<dyn Driver>,
    instance: Option<Result<Instance>>,
    settings: Settings,
    handle_signals: bool,
    unready: bool,
    succeeds: bool,
}

impl ClientBuilder {
    pub(super) fn new(driver: Arc<dyn Driver>) -> Self {
        Self {
            driver,
            instance: None,
            settings: Settings::default(),
            handle_signals: false,
            unready: false,
            succeeds: false,
        }
    }

    /// Registers an instance of the service at this URL, with a fresh id.
    ///
    /// A client registers one instance: more than one is an error of [`start`](Self::start).
    pub fn register(self, service: &str, url: &str) -> Self {
        self.registering(Instance::new(service, url))
    }

    /// Registers an instance made beforehand, such as one with metadata.
    pub fn register_instance(self, instance: Instance) -> Self {
        self.registering(Ok(instance))
    }

    /// Sets the settings, in place of the defaults.
    pub fn settings(mut self, settings: Settings) -> Self {
        self.settings = settings;
        self
    }

    /// Whether SIGINT and SIGTERM (Ctrl-C on systems other than Unix) make the client leave before they end
    /// the process; by default not.
    ///
    /// All such clients of the process say goodbye at the same time, within 3 s, the process serves on for
    /// [`drain`](field@crate::Settings::drain), and then the signal takes its default action. A second signal takes
    /// its action at once. If the program has a handler of its own, set by tokio, by signal-hook or earlier than
    /// gosd's, it has that time, and 3 s at least, to end the process itself;
    /// [`shutdown_on_signal`](Client::shutdown_on_signal) has no such bound. Signals that were ignored when the
    /// process started stay ignored.
    pub fn handle_signals(mut self, yes: bool) -> Self {
        self.handle_signals = yes;
        self
    }

    /// Starts without registering, until the first `set_ready(true)`.
    ///
    /// For a service that has to warm up, or whose own health check has to pass first; see
    /// [`Client::set_ready`].
    pub fn start_unready(mut self) -> Self {
        self.unready = true;
        self
    }

    /// Whether the client, once registered, removes what earlier processes registered for its
    /// service at its URL; by default not.
    ///
    /// So a server that was killed and starts again at its address is in the rotation once, and not
    /// twice until the old lease runs out. It is wrong where several instances share one URL, such as
    /// that of a load balancer: they would be missing for a moment whenever one starts.
    pub fn replace_at_same_url(mut self, yes: bool) -> Self {
        self.succeeds = yes;
        self
    }

    /// Registers, reads the first view, and starts the background work.
    ///
    /// If the backend cannot be reached in as many attempts as the settings say, the client starts all the
    /// same: it logs a warning, and registers and discovers as soon as the backend is up. If the future is
    /// dropped, it leaves nothing behind except perhaps a registration until its lease runs out.
    ///
    /// # Errors
    ///
    /// - [`Config`](crate::ErrorKind::Config) for settings, names, URLs or metadata out of their
    ///   limits, for a backend that can never work as configured, and outside a tokio runtime with
    ///   timers;
    /// - [`Denied`](crate::ErrorKind::Denied), [`Data`](crate::ErrorKind::Data) and
    ///   [`Unsupported`](crate::ErrorKind::Unsupported) if the backend refuses the client, or cannot
    ///   be worked with.
    pub async fn start(self) -> Result<Client> {
        let runtime = runtime::current().map_err(|it| it.at(self.driver.name(), "start"))?;
        self.settings.check()?;
        let instance = self.instance.transpose()?;
        let registration = match &instance {
            None => Registration::DiscoverOnly,
            Some(instance) => {
                instance.check()?;
                limits::check_not_reserved(instance.service())?;
                match self.unready {
                    true => Registration::Withdrawn,
                    false => Registration::beginning(Instant::now().into_std()),
                }
            }
        };
        let driver = self.driver.name().to_owned();
        info!(%driver, "starting");
        let (client, started) =
            Client::spawn(self.driver, self.settings, instance, registration, runtime);
        if self.handle_signals {
            client.inner.handles_signals.store(true, Ordering::Relaxed);
            signals::enlist(&client.inner);
        }
        if let Err(error) = started.await {
            // The registration may have succeeded before the other half failed.
            let _ = client.shutdown().await;
            return Err(error);
        }
        let status = client.status();
        if matches!(status.registration, Registration::Standalone { .. })
            || matches!(status.view, View::Unknown)
        {
            let error = client.inner.state.last_error().map(|error| error.to_string());
            warn!(%driver, error, "the backend cannot be reached: standalone until it can");
        }
        if self.succeeds {
            client.inner.state.succeed_at_the_address().await;
        }
        client.inner.state.serve_older_view().await;
        Ok(client)
    }

    fn registering(mut self, instance: Result<Instance>) -> Self {
        self.instance = Some(match self.instance {
            None => instance,
            Some(_) => Err(Error::config(
                "a client registers one instance; build a client for each, on the same driver",
            )),
        });
        self
    }
}

impl fmt::Debug for ClientBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientBuilder")
            .field("driver", &self.driver.name())
            .field("instance", &self.instance)
            .field("settings", &self.settings)
            .field("handle_signals", &self.handle_signals)
            .finish()
    }
}
