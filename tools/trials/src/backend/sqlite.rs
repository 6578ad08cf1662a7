//! SQLite as a backend of trials, on a disk that can be filled up.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

use gosd_core::async_trait;
use rusqlite::Connection;

use super::Backend;
use crate::fault::Fault;

/// A file on a disk of its own.
pub(super) struct Sqlite {
    folder: PathBuf,
    lock: Mutex<Option<Connection>>,
}

impl Sqlite {
    pub(super) fn new(folder: &Path) -> Self {
        fs::create_dir_all(folder.join("db")).expect("a folder can be made");
        Self { folder: folder.to_owned(), lock: Mutex::default() }
    }

    fn database(&self) -> PathBuf {
        self.folder.join("db/gosd.db")
    }

    fn filler(&self) -> PathBuf {
        self.folder.join("filler")
    }

    fn connect(&self) -> Connection {
        let connection = Connection::open(self.database()).expect("the database is there");
        connection.busy_timeout(Duration::from_secs(60)).expect("a number");
        connection
    }

    /// Puts a folder in the place of the database's, so that no file of one meets those of the other.
    fn replace(&self, by: &str) {
        let rename = |from: &str, to: &str| {
            fs::rename(self.folder.join(from), self.folder.join(to)).expect("it can be renamed");
        };
        rename("db", "old");
        rename(by, "db");
        fs::remove_dir_all(self.folder.join("old")).expect("it is ours");
    }
}

#[async_trait]
impl Backend for Sqlite {
    fn url(&self) -> String {
        format!("sqlite:{}", self.database().display())
    }

    async fn remember(&mut self) {
        let copy = self.folder.join("copy");
        if copy.exists() {
            fs::remove_dir_all(&copy).expect("the copy is ours");
        }
        fs::create_dir(&copy).expect("a folder can be made");
        let file = copy.join("gosd.db");
        let file = file.to_str().expect("the path is UTF-8");
        self.connect().execute("VACUUM INTO ?1", [file]).expect("it can be copied");
    }

    async fn begin(&mut self, fault: Fault) {
        match fault {
            Fault::Lock => {
                let connection = self.connect();
                connection.execute_batch("BEGIN IMMEDIATE").expect("it can be locked");
                *self.lock.get_mut().expect("nobody panics with it") = Some(connection);
            }
            Fault::Fill => fill(&self.filler()),
            // These are done as soon as they have begun: nobody waits for them.
            _ => {}
        }
    }

    async fn end(&mut self, fault: Fault) {
        match fault {
            Fault::Lock => *self.lock.get_mut().expect("nobody panics with it") = None,
            Fault::Fill => fs::remove_file(self.filler()).expect("the filler is ours"),
            Fault::Wipe => {
                fs::create_dir(self.folder.join("empty")).expect("a folder can be made");
                self.replace("empty");
            }
            _ => self.replace("copy"),
        }
    }
}

/// Writes a file until there is no more room.
fn fill(path: &Path) {
    use std::io::Write;

    let mut file = fs::File::create(path).expect("there is room for a name");
    let mut size = 1 << 16;
    while size > 0 {
        if file.write_all(&vec![1; size]).is_err() {
            size /= 2;
        }
    }
}
