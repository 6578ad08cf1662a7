//! The macro `conformance!`, used as the author of a driver uses it.

use std::sync::Arc;

use gosd_core::{Driver, async_trait};
use gosd_testkit::{Fixture, NotOffered};

use crate::backend::Backend;

mod every_hook {
    gosd_testkit::conformance!(super::Backend::default(), with: [services]);
}

/// The same backend behind a driver without a watch, with a fixture that offers few hooks.
#[derive(Default)]
struct Polled(Backend);

#[async_trait]
impl Fixture for Polled {
    async fn driver(&self, namespace: &str) -> Arc<dyn Driver> {
        Arc::new(self.0.namespace(namespace).connection.without_watch())
    }

    async fn wipe(&self, namespace: &str) -> Result<(), NotOffered> {
        self.0.wipe(namespace).await
    }
}

mod polled {
    gosd_testkit::conformance!(
        super::Polled::default(),
        without: [
            watch = "core polls this driver",
            interrupt = "this fixture cuts no connection",
            refuse_writes = "this fixture forbids no writes",
            write_unreadable = "this fixture damages no record",
        ],
    );
}
