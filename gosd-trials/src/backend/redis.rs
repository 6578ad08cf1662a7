use std::path::{Path, PathBuf};

use gosd_core::async_trait;
use gosd_testservers::{Process, RedisServer};

use super::{Backend, server};
use crate::fault::Fault;
use crate::history::Recorder;
use crate::wire::Wire;

/// A Redis server that keeps everything, behind a wire.
pub(super) struct Redis {
    server: RedisServer,
    wire: Wire,
    copy: PathBuf,
}

impl Redis {
    pub(super) async fn start(folder: &Path, recorder: &Recorder) -> Self {
        let server = RedisServer::start(&["--appendonly", "yes", "--appendfsync", "always"]).await;
        let wire = Wire::to(server.port(), recorder.clone()).await;
        Self { server, wire, copy: folder.join("copy") }
    }
}

#[async_trait]
impl Backend for Redis {
    fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.wire.port())
    }

    fn direct(&self) -> String {
        self.server.url()
    }

    async fn remember(&mut self) {
        server::remember(&mut self.server, &self.copy).await;
    }

    async fn begin(&mut self, fault: Fault) {
        if Fault::NETWORK.contains(&fault) {
            return self.wire.set(Some(fault));
        }
        server::begin(&mut self.server, fault).await;
    }

    async fn end(&mut self, fault: Fault) {
        if Fault::NETWORK.contains(&fault) {
            return self.wire.set(None);
        }
        server::end(&mut self.server, fault, &self.copy).await;
    }
}

#[async_trait]
impl server::Server for RedisServer {
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
