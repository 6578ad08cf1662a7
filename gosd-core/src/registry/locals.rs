//! Local entries: instances of this process alone, which are in no backend.

use super::{Effects, Registry};
use crate::{Instance, InstanceId, Result};

impl Registry {
    /// Adds an entry, or finds the one with the same address.
    pub(crate) fn add_local(&mut self, service: &str, url: &str) -> Result<(InstanceId, Effects)> {
        let instance = Instance::new(service, url)?;
        let address = (service.to_owned(), url.to_owned());
        if let Some(id) = self.locals_at.get(&address) {
            return Ok((id.clone(), Effects::default()));
        }
        let id = instance.id().clone();
        self.known.put(instance);
        self.locals.insert(id.clone());
        self.locals_at.insert(address, id.clone());
        Ok((id, self.publish(false)))
    }

    /// Removes an entry; `None` if there is none with this id.
    pub(crate) fn remove_local(&mut self, id: &InstanceId) -> Option<Effects> {
        self.locals.remove(id).then(|| {
            if let Some(instance) = self.known.get(id) {
                let address = (instance.service().to_owned(), instance.url().to_owned());
                self.locals_at.remove(&address);
            }
            self.known.take(id);
            self.publish(false)
        })
    }
}
