use std::path::PathBuf;

use gosd_core::async_trait;
use gosd_testservers::{Process, RedisServer};

use super::server::Server;

/// Starts a server that keeps everything.
pub(super) async fn start() -> RedisServer {
    RedisServer::start(&["--appendonly", "yes", "--appendfsync", "always"]).await
}

#[async_trait]
impl Server for RedisServer {
    fn port(&self) -> u16 {
        self.port()
    }

    fn process(&mut self) -> &mut Process {
        self.process()
    }

    fn data(&self) -> PathBuf {
        self.data()
    }

    async fn restart(&mut self) {
        self.restart().await;
    }
}
