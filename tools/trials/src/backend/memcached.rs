//! memcached as a backend of trials.

use std::path::PathBuf;

use gosd_core::async_trait;
use gosd_testservers::{MemcachedServer, Process};

use super::server::Server;

#[async_trait]
impl Server for MemcachedServer {
    fn port(&self) -> u16 {
        self.port()
    }

    fn process(&mut self) -> &mut Process {
        self.process()
    }

    fn data(&self) -> PathBuf {
        panic!("memcached keeps no data")
    }

    async fn restart(&mut self) {
        self.restart().await;
    }
}
