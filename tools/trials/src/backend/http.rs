//! The registry server as a backend of trials.

use std::fs;
use std::future::pending;
use std::io::Write;
use std::path::{Path, PathBuf};

use gosd_core::async_trait;
use gosd_server::Settings;
use gosd_testservers::{Process, free_port};

use super::server::Server;

/// What a server says when it takes requests.
const READY: &str = "serving";

/// The reference server over an SQLite file, in a process of its own.
pub(super) struct HttpServer {
    process: Process,
    data: PathBuf,
    port: u16,
}

impl HttpServer {
    pub(super) async fn start(folder: &Path) -> Self {
        let (data, port) = (folder.join("data"), free_port());
        Self { process: launch(port, &data).await, data, port }
    }
}

#[async_trait]
impl Server for HttpServer {
    fn port(&self) -> u16 {
        self.port
    }

    fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    fn data(&self) -> PathBuf {
        self.data.clone()
    }

    async fn restart(&mut self) {
        self.process = launch(self.port, &self.data).await;
    }
}

async fn launch(port: u16, data: &Path) -> Process {
    let program = std::env::current_exe().expect("this program has a path");
    let program = program.to_str().expect("the path is UTF-8");
    let data = data.to_str().expect("the path is UTF-8");
    Process::start(program, "cargo", ["serve", &port.to_string(), data], READY).await
}

/// What the process of the server does.
pub async fn serve(port: u16, data: &str) {
    fs::create_dir_all(data).expect("a folder can be made");
    let driver = gosd_sqlite::open(&format!("sqlite:{data}/gosd.db")).await;
    let settings = Settings::new().namespace("gosd", driver.expect("the path is good"));
    let settings = settings.expect("the namespace is good");
    let server = gosd_server::serve(("127.0.0.1", port), settings).await;
    let _server = server.expect("the port is free");
    writeln!(std::io::stdout(), "{READY}").expect("somebody listens");
    pending::<()>().await;
}
