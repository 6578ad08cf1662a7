//! A driver whose calls are bounded in time, for commands that make one call and end.

use std::sync::Arc;
use std::time::Duration;

use gosd::{Driver, Error, ErrorKind, Instance, InstanceId, Result, Settings};
use tokio::time::timeout;

use crate::listing::Listing;

/// The database that the commands work on.
pub(crate) struct Backend {
    driver: Arc<dyn Driver>,
    settings: Settings,
}

impl Backend {
    pub(crate) fn new(driver: Arc<dyn Driver>, settings: Settings) -> Self {
        Self { driver, settings }
    }

    pub(crate) fn driver(&self) -> Arc<dyn Driver> {
        Arc::clone(&self.driver)
    }

    pub(crate) fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Which database and namespace it is, without a secret.
    pub(crate) fn name(&self) -> &str {
        self.driver.identity().unwrap_or_else(|| self.driver.name())
    }

    /// All that is registered, in order.
    pub(crate) async fn list(&self) -> Result<Listing> {
        Ok(Listing::new(self.bounded("list", self.driver.list()).await?))
    }

    /// Writes a record that nobody renews.
    pub(crate) async fn register(&self, instance: &Instance, lease: Duration) -> Result<()> {
        self.bounded("register", self.driver.register(instance, lease)).await
    }

    pub(crate) async fn deregister(&self, id: &InstanceId) -> Result<()> {
        self.bounded("deregister", self.driver.deregister(id)).await
    }

    async fn bounded<T>(
        &self,
        operation: &str,
        call: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        let bound = self.settings.timeout;
        let answer = timeout(bound, call).await.unwrap_or_else(|_| {
            Err(Error::new(ErrorKind::Timeout, format!("no answer within {bound:?}")))
        });
        answer.map_err(|error| error.at(self.driver.name(), operation))
    }
}
