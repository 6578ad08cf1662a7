//! One memcached server.

use crate::{Process, free_port};

/// A memcached server.
#[derive(Debug)]
pub struct MemcachedServer {
    process: Process,
    port: u16,
}

impl MemcachedServer {
    /// Starts a server on a free port.
    pub async fn start() -> Self {
        let port = free_port();
        Self { process: launch(port).await, port }
    }

    /// The URL of the server for the driver of the examples.
    pub fn url(&self) -> String {
        format!("memcache://127.0.0.1:{}", self.port)
    }

    /// The port that it listens on.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The process of the server.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// Kills the server, which loses all its data, and starts another on the same port.
    pub async fn restart(&mut self) {
        self.process.kill().await;
        self.process = launch(self.port).await;
    }
}

async fn launch(port: u16) -> Process {
    // Only its log says when it listens, and memcached logs to standard error.
    let command = format!(
        "exec memcached -vv --listen=127.0.0.1 --port={port} --udp-port=0 --user=root 2>&1"
    );
    Process::start("sh", "memcached", ["-c", &command], "server listening").await
}
