//! The file that keeps the last good view, for starts while the backend is down.
//!
//! A line of JSON that says what it is, and then the JSON of an instance a line. The time of its last
//! modification is when the view was last known to be good.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};
use tokio::task::spawn_blocking;
use tokio::time::sleep;
use tracing::warn;

use super::state::State;
use crate::pace::jittered;
use crate::{Error, ErrorKind, Instance, Result};

/// How soon the first view is saved, and how often a later one is, or that it still holds is noted.
const FIRST: Duration = Duration::from_secs(1);
const PERIOD: Duration = Duration::from_secs(30);
const FORMAT: u32 = 1;

#[derive(Serialize, Deserialize)]
struct Header {
    gosd_snapshot: u32,
    driver: String,
}

/// What a file holds, and how old it is.
pub(super) struct Snapshot {
    pub(super) instances: Vec<Instance>,
    pub(super) age: Duration,
}

/// Saves the view whenever it has changed, but rarely.
pub(super) async fn keep(state: Arc<State>, path: PathBuf) {
    // More often where an older one would not be served.
    let period = state.settings.max_stale.map_or(PERIOD, |limit| PERIOD.min(limit / 2));
    let mut saved = None;
    let mut warned = false;
    let mut pause = FIRST;
    loop {
        sleep(jittered(pause)).await;
        let Some((version, news)) = state.good_view(saved) else { continue };
        pause = period;
        let (path, driver) = (path.clone(), state.driver_name().to_owned());
        let written = spawn_blocking(move || match news {
            Some(instances) => save(&path, &driver, &instances),
            None => still_good(&path),
        });
        match written.await {
            Ok(Ok(())) => (saved, warned) = (Some(version), false),
            Ok(Err(error)) => {
                saved = None;
                let driver = state.driver_name();
                if !warned {
                    warn!(driver, %error, "the snapshot file cannot be written");
                }
                warned = true;
            }
            // The runtime is going down.
            Err(_) => {}
        }
    }
}

/// Reads the file, if there is one that this driver's client wrote.
pub(super) async fn load(state: &State, path: &Path) -> Option<Snapshot> {
    let (file, driver) = (path.to_owned(), state.driver_name().to_owned());
    let read = spawn_blocking(move || match read(&file) {
        Ok((text, age)) => parse(&text, &driver).map(|instances| Some(Snapshot { instances, age })),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::new(ErrorKind::Data, error.to_string())),
    });
    match read.await {
        Ok(Ok(snapshot)) => snapshot,
        Ok(Err(error)) => {
            warn!(path = %path.display(), %error, "the snapshot file is ignored");
            None
        }
        // The runtime is going down.
        Err(_) => None,
    }
}

fn read(path: &Path) -> io::Result<(String, Duration)> {
    // A pipe could keep the start waiting for ever.
    if !fs::metadata(path)?.is_file() {
        return Err(io::Error::other("not a file"));
    }
    let mut file = File::open(path)?;
    let mut text = String::new();
    file.read_to_string(&mut text)?;
    // If the clock was set back, nobody knows.
    Ok((text, file.metadata()?.modified()?.elapsed().unwrap_or_default()))
}

fn still_good(path: &Path) -> io::Result<()> {
    OpenOptions::new().append(true).open(path)?.set_modified(SystemTime::now())
}

fn save(path: &Path, driver: &str, instances: &[Arc<Instance>]) -> io::Result<()> {
    // Beside the file, so that the rename is atomic; one of each process.
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.tmp", std::process::id()));
    let draft = path.with_file_name(name);
    let written = write(&draft, driver, instances).and_then(|()| fs::rename(&draft, path));
    if written.is_err() {
        // The draft may never have been made.
        let _ = fs::remove_file(&draft);
    }
    written
}

fn write(draft: &Path, driver: &str, instances: &[Arc<Instance>]) -> io::Result<()> {
    // One that a process of the same number left behind, or a link that somebody put there.
    let _ = fs::remove_file(draft);
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = BufWriter::new(options.open(draft)?);
    print(&mut file, driver, instances)?;
    file.into_inner()?.sync_all()
}

fn print(file: &mut impl Write, driver: &str, instances: &[Arc<Instance>]) -> io::Result<()> {
    let header = Header { gosd_snapshot: FORMAT, driver: driver.into() };
    writeln!(file, "{}", serde_json::to_string(&header)?)?;
    for instance in instances {
        writeln!(file, "{}", instance.to_json())?;
    }
    Ok(())
}

fn parse(text: &str, driver: &str) -> Result<Vec<Instance>> {
    let (header, instances) = text.split_once('\n').unwrap_or((text, ""));
    let header: Header = serde_json::from_str(header)
        .map_err(|error| Error::new(ErrorKind::Data, format!("not a snapshot of gosd: {error}")))?;
    if header.gosd_snapshot != FORMAT {
        let found = header.gosd_snapshot;
        let message = format!("its format is {found}, and this version reads {FORMAT}");
        return Err(Error::new(ErrorKind::Data, message));
    }
    if header.driver != driver {
        let message = format!("it is of the driver {:?}, and this is {driver:?}", header.driver);
        return Err(Error::new(ErrorKind::Data, message));
    }
    instances.lines().map(Instance::from_json).collect()
}

#[cfg(fuzzing)]
pub(crate) mod fuzzing {
    use super::*;

    /// The instances of a snapshot's text.
    pub fn read_snapshot(text: &str, driver: &str) -> Result<Vec<Instance>> {
        parse(text, driver)
    }

    /// The text of a snapshot.
    pub fn write_snapshot(driver: &str, instances: Vec<Instance>) -> Vec<u8> {
        let instances: Vec<_> = instances.into_iter().map(Arc::new).collect();
        let mut text = Vec::new();
        print(&mut text, driver, &instances).expect("memory can be written to");
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn instances() -> Vec<Arc<Instance>> {
        let make = |url| Instance::new("mail", url).unwrap().with_metadata("zone", "b\n");
        ["http://10.0.0.7", "http://10.0.0.8"].map(make).map(Arc::new).to_vec()
    }

    #[test]
    fn survives_the_round_trip_and_is_the_owners_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("view.json");
        save(&path, "memory", &instances()).unwrap();
        save(&path, "memory", &instances()[..1]).unwrap();
        let (text, age) = read(&path).unwrap();
        assert!(age < Duration::from_secs(60), "{age:?}");
        let instances = parse(&text, "memory").unwrap();
        assert_eq!(instances.len(), 1);
        assert_eq!(instances[0].metadata()["zone"], "b\n");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "no draft is left behind");
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        }
    }

    #[cfg(unix)]
    #[test]
    fn what_lies_in_the_place_of_the_draft_is_not_written_to() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("view");
        let (draft, other) = (format!("view.{}.tmp", std::process::id()), dir.path().join("other"));
        fs::write(&other, "precious").unwrap();
        std::os::unix::fs::symlink(&other, dir.path().join(draft)).unwrap();
        save(&path, "memory", &instances()).unwrap();
        assert_eq!(fs::read_to_string(&other).unwrap(), "precious");
        assert!(!fs::symlink_metadata(&path).unwrap().is_symlink());
    }

    #[cfg(unix)]
    #[test]
    fn a_pipe_is_refused_and_not_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("view");
        let status = std::process::Command::new("mkfifo").arg(&path).status().unwrap();
        assert!(status.success());
        assert!(read(&path).unwrap_err().to_string().contains("not a file"));
    }

    #[test]
    fn what_is_damaged_or_foreign_is_refused_whole() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("view.json");
        save(&path, "memory", &instances()).unwrap();
        let good = fs::read_to_string(&path).unwrap();
        let cut = &good[..good.len() - 9];
        let newer = good.replacen(":1", ":2", 1);
        for text in ["", "\n", "{}", "[1]\n", "hello", cut, &newer] {
            assert!(parse(text, "memory").is_err(), "{text}");
        }
        assert!(parse(&good, "redis").is_err());
        assert!(save(dir.path(), "memory", &instances()).is_err(), "a folder is no file");
        let left: Vec<_> = fs::read_dir(dir.path()).unwrap().collect();
        assert_eq!(left.len(), 1);
    }
}
