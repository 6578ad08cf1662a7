//! Three registry servers before one Redis server as a backend of trials.

use std::path::Path;

use futures_util::StreamExt;
use futures_util::future::join_all;
use gosd_core::async_trait;
use gosd_testservers::{Process, free_port};

use super::http::launch;
use super::redis::Redis;
use super::server::Wired;
use super::{Backend, open};
use crate::fault::Fault;
use crate::history::Recorder;

/// Servers that stand in for each other, and behind a wire the database that they share.
pub(super) struct Tier {
    database: Wired<Redis>,
    servers: Vec<(Process, u16)>,
}

impl Tier {
    pub(super) async fn start(folder: &Path, recorder: &Recorder) -> Self {
        let url = |port| format!("redis://127.0.0.1:{port}");
        let database = Wired::to(Redis::start().await, url, folder, recorder).await;
        let mut servers = Vec::new();
        for _ in 0..3 {
            let port = free_port();
            servers.push((launch(port, &database.url()).await, port));
        }
        let tier = Self { database, servers };
        join_all(tier.servers.iter().map(|(_, port)| connect(*port))).await;
        tier
    }

    async fn signal(&self, name: &str) {
        for (process, _) in &self.servers {
            process.signal(name).await;
        }
    }
}

/// Makes a server open all connections to the database that it needs, so that they are not counted as those of the
/// clients.
async fn connect(port: u16) {
    let driver = open(&format!("http://127.0.0.1:{port}")).await;
    driver.list().await.expect("the server serves");
    let mut watch = driver.watch().expect("the driver has one");
    watch.next().await.expect("a watch goes on").expect("the database is in contact");
}

#[async_trait]
impl Backend for Tier {
    fn url(&self) -> String {
        let hosts: Vec<_> =
            self.servers.iter().map(|(_, port)| format!("127.0.0.1:{port}")).collect();
        format!("http://{}", hosts.join(","))
    }

    fn direct(&self) -> String {
        self.database.direct()
    }

    async fn remember(&mut self) {
        self.database.remember().await;
    }

    async fn begin(&mut self, fault: Fault) {
        match fault {
            Fault::KillOne => self.servers[0].0.kill().await,
            Fault::PauseOne => self.servers[0].0.signal("STOP").await,
            Fault::PauseAll => self.signal("STOP").await,
            Fault::RestartAll => {
                let url = self.database.url();
                for (process, port) in &mut self.servers {
                    process.signal("TERM").await;
                    process.ended().await;
                    *process = launch(*port, &url).await;
                }
            }
            fault => self.database.begin(fault).await,
        }
    }

    async fn end(&mut self, fault: Fault) {
        match fault {
            Fault::KillOne => {
                let (process, port) = &mut self.servers[0];
                *process = launch(*port, &self.database.url()).await;
            }
            Fault::PauseOne => self.servers[0].0.signal("CONT").await,
            Fault::PauseAll => self.signal("CONT").await,
            Fault::RestartAll => {}
            fault => self.database.end(fault).await,
        }
    }
}
