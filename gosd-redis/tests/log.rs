//! The warnings in the log. This test is a process of its own, because logging that begins while another
//! thread logs may miss lines.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use gosd_core::Instance;
use gosd_testservers::{RedisServer, Warnings};

#[tokio::test]
async fn a_server_that_may_evict_the_registry_causes_one_warning() {
    for (policy, expected) in [("allkeys-lru", 1), ("volatile-lru", 0), ("noeviction", 0)] {
        let server = RedisServer::start(&["--maxmemory-policy", policy]).await;
        let log = Arc::new(Mutex::new(Vec::new()));
        let kept = log.clone();
        let warnings = Warnings(move |line| kept.lock().unwrap().push(line));
        let _guard = tracing::subscriber::set_default(warnings);
        let mail = Instance::new("mail", "http://10.0.0.7:25").unwrap();
        let driver = gosd_redis::open(&server.url()).await.unwrap();
        driver.list().await.unwrap();
        driver.register(&mail, Duration::from_secs(600)).await.unwrap();
        gosd_redis::open(&server.url()).await.unwrap();
        let warned = log.lock().unwrap().iter().filter(|line| line.contains(policy)).count();
        assert_eq!(warned, expected, "{policy}");
    }
}
