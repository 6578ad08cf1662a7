//! `Both`: two in-memory drivers together keep the contract, whichever of them is cut off.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use gosd_core::{Both, Driver, ErrorKind, async_trait};
use gosd_testkit::{Fault, Fixture, NotOffered};

use crate::support::{Place, places};

/// Two registries for each namespace. The hooks of the kit apply to one of them, or to both.
struct Registries {
    of: Mutex<HashMap<String, Arc<[Place; 2]>>>,
    /// Which of the two the hooks apply to.
    hit: &'static [usize],
}

impl Registries {
    fn hitting(hit: &'static [usize]) -> Self {
        Self { of: Mutex::default(), hit }
    }

    fn get(&self, namespace: &str) -> Arc<[Place; 2]> {
        let mut registries = self.of.lock().unwrap_or_else(PoisonError::into_inner);
        let new = || Arc::new(<[Place; 2]>::from(places()));
        Arc::clone(registries.entry(namespace.to_owned()).or_insert_with(new))
    }

    fn each(&self, set: impl Fn(&Place)) {
        let registries = self.of.lock().unwrap_or_else(PoisonError::into_inner);
        for places in registries.values() {
            self.hit.iter().for_each(|side| set(&places[*side]));
        }
    }
}

#[async_trait]
impl Fixture for Registries {
    async fn driver(&self, namespace: &str) -> Arc<dyn Driver> {
        let [one, other] = &*self.get(namespace);
        Arc::new(crate::support::both(one, other))
    }

    async fn interrupt(&self) -> Result<(), NotOffered> {
        self.each(|place| {
            place.link.on_all(Fault::Fail(ErrorKind::Unavailable));
        });
        Ok(())
    }

    async fn restore(&self) -> Result<(), NotOffered> {
        self.each(|place| {
            place.link.clear_all();
        });
        Ok(())
    }

    async fn unaffected(&self, namespace: &str) -> Result<Arc<dyn Driver>, NotOffered> {
        let [one, other] = &*self.get(namespace);
        Ok(Arc::new(Both::new(Arc::new(one.memory.clone()), Arc::new(other.memory.clone()))))
    }

    async fn refuse_writes(&self) -> Result<(), NotOffered> {
        self.each(|place| place.memory.refuse_writes(true));
        Ok(())
    }

    async fn accept_writes(&self) -> Result<(), NotOffered> {
        self.each(|place| place.memory.refuse_writes(false));
        Ok(())
    }

    /// Always wipes both, because an instance that one of them still has is not lost.
    async fn wipe(&self, namespace: &str) -> Result<(), NotOffered> {
        self.get(namespace).iter().for_each(|place| place.memory.wipe());
        Ok(())
    }
}

mod primary {
    gosd_testkit::conformance!(
        super::Registries::hitting(&[0]),
        without: [write_unreadable = "the in-memory driver holds instances, not texts"],
    );
}

mod also {
    gosd_testkit::conformance!(
        super::Registries::hitting(&[1]),
        without: [write_unreadable = "the in-memory driver holds instances, not texts"],
    );
}

mod each {
    gosd_testkit::conformance!(
        super::Registries::hitting(&[0, 1]),
        without: [write_unreadable = "the in-memory driver holds instances, not texts"],
    );
}
