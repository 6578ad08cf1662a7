//! What the log says. In a process of its own, since logging that begins while another thread logs
//! may miss lines.

use std::fmt::{Debug, Write};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use gosd_core::Instance;
use gosd_testservers::RedisServer;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Level, Metadata, Subscriber};

#[tokio::test]
async fn a_server_that_may_evict_the_registry() {
    for (policy, warnings) in [("allkeys-lru", 1), ("volatile-lru", 0), ("noeviction", 0)] {
        let server = RedisServer::start(&["--maxmemory-policy", policy]).await;
        let log = Log::default();
        let _guard = tracing::subscriber::set_default(log.clone());
        let mail = Instance::new("mail", "http://10.0.0.7:25").unwrap();
        let driver = gosd_redis::open(&server.url()).await.unwrap();
        driver.list().await.unwrap();
        driver.register(&mail, Duration::from_secs(600)).await.unwrap();
        gosd_redis::open(&server.url()).await.unwrap();
        let warned = log.warnings().into_iter().filter(|line| line.contains(policy)).count();
        assert_eq!(warned, warnings, "{policy}");
    }
}

/// Keeps the warnings that are logged on the thread where it is the default.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<String>>>);

impl Log {
    fn warnings(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }
}

impl Subscriber for Log {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= Level::WARN && metadata.target().starts_with("gosd_redis")
    }

    fn event(&self, event: &tracing::Event<'_>) {
        let mut line = Line(String::new());
        event.record(&mut line);
        self.0.lock().unwrap().push(line.0);
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        write!(self.0, "{field}={value:?} ").unwrap();
    }
}
