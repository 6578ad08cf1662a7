//! The conformance kit, run over the in-memory driver.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use gosd_core::{Driver, ErrorKind, Memory, async_trait};
use gosd_testkit::{Fault, Faulty, Fixture, NotOffered};

/// A registry for each namespace, with a connection to it that can be cut.
#[derive(Default)]
struct Registries(Mutex<HashMap<String, (Memory, Faulty)>>);

impl Registries {
    fn get(&self, namespace: &str) -> (Memory, Faulty) {
        let mut registries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let new = || {
            let memory = Memory::new();
            (memory.clone(), Faulty::new(Arc::new(memory)))
        };
        registries.entry(namespace.to_owned()).or_insert_with(new).clone()
    }

    fn each(&self, set: impl Fn(&Memory, &Faulty)) {
        let registries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        registries.values().for_each(|(memory, connection)| set(memory, connection));
    }
}

#[async_trait]
impl Fixture for Registries {
    async fn driver(&self, namespace: &str) -> Arc<dyn Driver> {
        Arc::new(self.get(namespace).1)
    }

    async fn interrupt(&self) -> Result<(), NotOffered> {
        self.each(|_, connection| {
            connection.on_all(Fault::Fail(ErrorKind::Unavailable));
        });
        Ok(())
    }

    async fn restore(&self) -> Result<(), NotOffered> {
        self.each(|_, connection| {
            connection.clear_all();
        });
        Ok(())
    }

    async fn unaffected(&self, namespace: &str) -> Result<Arc<dyn Driver>, NotOffered> {
        Ok(Arc::new(self.get(namespace).0))
    }

    async fn refuse_writes(&self) -> Result<(), NotOffered> {
        self.each(|memory, _| memory.refuse_writes(true));
        Ok(())
    }

    async fn accept_writes(&self) -> Result<(), NotOffered> {
        self.each(|memory, _| memory.refuse_writes(false));
        Ok(())
    }

    async fn wipe(&self, namespace: &str) -> Result<(), NotOffered> {
        self.get(namespace).0.wipe();
        Ok(())
    }
}

gosd_testkit::conformance!(
    Registries::default(),
    with: [services],
    without: [write_unreadable = "the in-memory driver holds instances, not texts"],
);
