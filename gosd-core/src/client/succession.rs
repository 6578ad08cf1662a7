//! A server that starts again at its address replaces the instance that a killed predecessor left there.
//!
//! After `kill -9` the old record lives until its lease runs out. Without this the address would be in every
//! rotation twice, and get twice its share of the requests.

use tracing::{debug, info};

use super::state::State;
use crate::{InstanceId, Registration};

impl State {
    /// Removes what earlier processes registered for this service at this address.
    ///
    /// A living instance at an address that several share notices the removal and registers again. Where a
    /// removal fails, the lease ends the record.
    pub(super) async fn succeed_at_the_address(&self) {
        if !matches!(self.status().registration, Registration::Registered) {
            return;
        }
        let Ok(driver) = self.driver("deregister") else { return };
        for id in self.predecessors() {
            match self.call(&*driver, "deregister", || driver.deregister(&id)).await {
                Ok(()) => {
                    info!(driver = driver.name(), %id, "took the place of an earlier process");
                    self.deregistered(&id);
                }
                Err(error) => debug!(%error, "an earlier process at this address stays"),
            }
        }
    }

    fn predecessors(&self) -> Vec<InstanceId> {
        let core = self.lock();
        let Some(own) = &core.own else { return Vec::new() };
        let mut ids = core.registry.registered_at(own.url());
        ids.retain(|id| {
            let service = core.registry.service_of(id);
            // The ids of one service are in the order in which they were made.
            service == Some(own.service()) && id.as_str() < own.id().as_str()
        });
        ids
    }
}
