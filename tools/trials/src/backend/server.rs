//! What all backends that are a server process have in common, and the faults made in them.

use std::fs;
use std::path::{Path, PathBuf};

use gosd_core::async_trait;
use gosd_testservers::Process;

use super::Backend;
use crate::fault::Fault;
use crate::history::Recorder;
use crate::wire::Wire;

/// A server process that keeps its data in a folder.
#[async_trait]
pub(super) trait Server: Send + Sync {
    fn port(&self) -> u16;

    fn process(&mut self) -> &mut Process;

    fn data(&self) -> PathBuf;

    /// Sends a signal by name to all processes of the server.
    async fn signal(&mut self, signal: &str) {
        self.process().signal(signal).await;
    }

    /// Starts it after it was killed, with the data there is.
    async fn restart(&mut self);

    /// Begins a fault that only this kind of server has.
    async fn begin(&mut self, fault: Fault) {
        panic!("this server has no {fault}");
    }

    /// Ends it.
    async fn end(&mut self, fault: Fault) {
        panic!("this server has no {fault}");
    }
}

/// A server behind a wire.
pub(super) struct Wired<S> {
    server: S,
    wire: Wire,
    /// Of the data.
    copy: PathBuf,
    url: fn(u16) -> String,
}

impl<S: Server> Wired<S> {
    /// Lays a wire to a server, whose clients have the URL that is made of a port.
    pub(super) async fn to(
        server: S,
        url: fn(u16) -> String,
        folder: &Path,
        recorder: &Recorder,
    ) -> Self {
        let wire = Wire::to(server.port(), recorder.clone()).await;
        Self { server, wire, copy: folder.join("copy"), url }
    }
}

#[async_trait]
impl<S: Server> Backend for Wired<S> {
    fn url(&self) -> String {
        (self.url)(self.wire.port())
    }

    fn direct(&self) -> String {
        (self.url)(self.server.port())
    }

    async fn remember(&mut self) {
        // Stopped, so that the copy is of one moment.
        self.server.signal("STOP").await;
        replace(&self.copy, &self.server.data());
        self.server.signal("CONT").await;
    }

    async fn begin(&mut self, fault: Fault) {
        if Fault::NETWORK.contains(&fault) {
            return self.wire.set(Some(fault));
        }
        match fault {
            Fault::Pause => self.server.signal("STOP").await,
            Fault::Kill | Fault::Wipe | Fault::Rewind => self.server.process().kill().await,
            fault => self.server.begin(fault).await,
        }
    }

    async fn end(&mut self, fault: Fault) {
        if Fault::NETWORK.contains(&fault) {
            return self.wire.set(None);
        }
        match fault {
            Fault::Pause => return self.server.signal("CONT").await,
            Fault::Wipe => fs::remove_dir_all(self.server.data()).expect("the data are ours"),
            Fault::Rewind => replace(&self.server.data(), &self.copy),
            Fault::Kill => {}
            fault => return self.server.end(fault).await,
        }
        self.server.restart().await;
    }
}

/// Replaces what is in a folder by what is in another.
fn replace(folder: &Path, by: &Path) {
    if folder.exists() {
        fs::remove_dir_all(folder).expect("the folder is ours");
    }
    copy(by, folder);
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a folder can be made");
    for entry in fs::read_dir(from).expect("the folder is there") {
        let entry = entry.expect("the folder can be read");
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).expect("a file can be copied");
        }
    }
}
