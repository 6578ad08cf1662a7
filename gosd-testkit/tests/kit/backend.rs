//! A backend in memory whose fixture offers every hook.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use gosd_core::{Driver, ErrorKind, async_trait};
use gosd_testkit::{Fault, Faulty, Fixture, NotOffered};

use crate::texts::Texts;

#[derive(Default)]
pub(crate) struct Backend {
    namespaces: Mutex<HashMap<String, Namespace>>,
}

/// One namespace: its records, and the connection to them, which can be cut.
#[derive(Clone)]
pub(crate) struct Namespace {
    pub(crate) texts: Texts,
    pub(crate) connection: Faulty,
}

impl Backend {
    pub(crate) fn namespace(&self, name: &str) -> Namespace {
        let mut namespaces = self.namespaces.lock().unwrap();
        let new = || {
            let texts = Texts::default();
            Namespace { connection: Faulty::new(Arc::new(texts.clone())), texts }
        };
        namespaces.entry(name.to_owned()).or_insert_with(new).clone()
    }

    pub(crate) fn all(&self) -> Vec<(String, Namespace)> {
        let namespaces = self.namespaces.lock().unwrap();
        namespaces.iter().map(|(name, namespace)| (name.clone(), namespace.clone())).collect()
    }
}

#[async_trait]
impl Fixture for Backend {
    async fn driver(&self, namespace: &str) -> Arc<dyn Driver> {
        Arc::new(self.namespace(namespace).connection)
    }

    async fn interrupt(&self) -> Result<(), NotOffered> {
        for (_, namespace) in self.all() {
            namespace.connection.on_all(Fault::Fail(ErrorKind::Unavailable));
        }
        Ok(())
    }

    async fn restore(&self) -> Result<(), NotOffered> {
        for (_, namespace) in self.all() {
            namespace.connection.clear_all();
        }
        Ok(())
    }

    async fn unaffected(&self, namespace: &str) -> Result<Arc<dyn Driver>, NotOffered> {
        Ok(Arc::new(self.namespace(namespace).texts))
    }

    async fn wipe(&self, namespace: &str) -> Result<(), NotOffered> {
        self.namespace(namespace).texts.0.wipe();
        Ok(())
    }

    async fn refuse_writes(&self) -> Result<(), NotOffered> {
        self.all().iter().for_each(|(_, namespace)| namespace.texts.0.refuse_writes(true));
        Ok(())
    }

    async fn accept_writes(&self) -> Result<(), NotOffered> {
        self.all().iter().for_each(|(_, namespace)| namespace.texts.0.refuse_writes(false));
        Ok(())
    }

    async fn write_unreadable(&self, namespace: &str) -> Result<(), NotOffered> {
        self.namespace(namespace).texts.write_unreadable().await;
        Ok(())
    }
}
