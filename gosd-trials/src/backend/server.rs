use std::fs;
use std::path::{Path, PathBuf};

use gosd_core::async_trait;
use gosd_testservers::Process;

use crate::fault::Fault;

/// A server process that keeps its data in a folder.
#[async_trait]
pub(super) trait Server: Send + Sync {
    fn process(&mut self) -> &mut Process;

    fn data(&self) -> PathBuf;

    /// Starts it after it was killed, with the data there is.
    async fn restart(&mut self);
}

/// Copies the data of a server that runs, as they are at one moment.
pub(super) async fn remember(server: &mut dyn Server, copy: &Path) {
    server.process().signal("STOP").await;
    replace(copy, &server.data());
    server.process().signal("CONT").await;
}

pub(super) async fn begin(server: &mut dyn Server, fault: Fault) {
    match fault {
        Fault::Pause => server.process().signal("STOP").await,
        _ => server.process().kill().await,
    }
}

pub(super) async fn end(server: &mut dyn Server, fault: Fault, copy: &Path) {
    match fault {
        Fault::Pause => return server.process().signal("CONT").await,
        Fault::Wipe => fs::remove_dir_all(server.data()).expect("the data are ours"),
        Fault::Rewind => replace(&server.data(), copy),
        _ => {}
    }
    server.restart().await;
}

/// Replaces what is in a folder by what is in another.
pub(super) fn replace(folder: &Path, by: &Path) {
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
