//! The registry server as a backend of trials.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use gosd_core::async_trait;
use gosd_server::Settings;
use gosd_testservers::{Process, free_port};

use super::open;
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
        Self { process: launch(port, &of_file(&data)).await, data, port }
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
        self.process = launch(self.port, &of_file(&self.data)).await;
    }
}

/// The URL of the database in a folder, which is made if it is not there.
fn of_file(data: &Path) -> String {
    fs::create_dir_all(data).expect("a folder can be made");
    format!("sqlite:{}", data.join("gosd.db").display())
}

/// Starts a server over the database of a URL.
pub(super) async fn launch(port: u16, url: &str) -> Process {
    let program = std::env::current_exe().expect("this program has a path");
    let program = program.to_str().expect("the path is UTF-8");
    Process::start(program, "cargo", ["serve", &port.to_string(), url], READY).await
}

/// What the process of the server does.
pub async fn serve(port: u16, url: &str) {
    let settings = Settings::new().namespace("gosd", open(url).await);
    let settings = settings.expect("the namespace is good");
    let server = gosd_server::serve(("127.0.0.1", port), settings).await;
    let server = server.expect("the port is free");
    writeln!(std::io::stdout(), "{READY}").expect("somebody listens");
    server.shutdown_on_signal().await.expect("signals can be heard");
}
