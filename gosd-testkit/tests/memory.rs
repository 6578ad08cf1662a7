use gosd_core::{Driver, Memory, async_trait};
use std::sync::Arc;
struct F(std::sync::Mutex<std::collections::HashMap<String, Memory>>);
#[async_trait]
impl gosd_testkit::Fixture for F {
    async fn driver(&self, ns: &str) -> Arc<dyn Driver> {
        Arc::new(self.0.lock().unwrap().entry(ns.to_owned()).or_default().clone())
    }
}
gosd_testkit::conformance!(F(Default::default()), without: [interrupt = "soon", wipe = "soon", write_unreadable = "no text", clause_11 = "x"]);
