//! A driver whose calls are bounded in time, for commands that make one call and then end.

use std::sync::Arc;
use std::time::Duration;

use gosd::{Driver, Error, ErrorKind, Instance, InstanceId, Result, Settings};
use tokio::time::timeout;

use crate::listing::Listing;

/// The database that a command works on.
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

    /// The database and the namespace, without secrets.
    pub(crate) fn name(&self) -> &str {
        self.driver.identity().unwrap_or_else(|| self.driver.name())
    }

    /// All registered instances, in order.
    pub(crate) async fn list(&self) -> Result<Listing> {
        Ok(Listing::new(self.bounded("list", self.driver.list()).await?))
    }

    /// Registers an instance that this process does not renew.
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
