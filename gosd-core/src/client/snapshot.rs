//! The file that keeps the last good view, for starts while the backend is down.
//!
//! Its first line is JSON with the format, the registry and the number of instances. Each further line is the
//! JSON of an instance. The modification time says when the view was last known to be good.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
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
/// The age of a file whose age is unknown: older than any that the settings can allow.
const UNKNOWN_AGE: Duration = Duration::from_secs(10 * 366 * 86_400);
const FORMAT: u32 = 2;

#[derive(Serialize, Deserialize)]
struct Header {
    gosd_snapshot: u32,
    #[serde(flatten)]
    owner: Owner,
    /// How many instances follow, because a file that was cut off has fewer.
    count: usize,
}

/// The registry that a view belongs to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Owner {
    driver: String,
    registry: Option<String>,
}

/// The content of a file, and its age.
pub(super) struct Snapshot {
    pub(super) instances: Vec<Instance>,
    pub(super) age: Duration,
}

/// How a writer recognizes the file that it has written.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Mark {
    modified: SystemTime,
    len: u64,
}

/// Saves the view after changes, but rarely.
pub(super) async fn keep(state: Arc<State>, path: PathBuf) {
    let driver = state.driver_name();
    let Some(owner) = Owner::of(&state) else { return };
    // More often where an older file would not be served, and never without a pause.
    let limit = state.settings.max_stale;
    let period = limit.map_or(PERIOD, |limit| PERIOD.min(limit / 2)).max(FIRST);
    let mut saved: Option<(u64, Mark)> = None;
    let mut warned = false;
    let mut pause = FIRST;
    loop {
        sleep(jittered(pause)).await;
        let known = saved.map(|(version, _)| version);
        let Some((version, news)) = state.good_view(known) else { continue };
        let (file, owner) = (path.clone(), owner.clone());
        let written = spawn_blocking(move || match (news, saved) {
            (Some(instances), _) => save(&file, &owner, &instances).map(Some),
            (None, Some((_, mark))) => still_good(&file, mark),
            // Nothing has been saved yet, so the whole view has to be.
            (None, None) => Ok(None),
        });
        match written.await {
            Ok(Ok(mark)) => {
                // Without a mark another client has replaced the file. It is written again after the usual
                // pause, because otherwise the two clients would replace each other's file all the time.
                (saved, warned, pause) = (mark.map(|mark| (version, mark)), false, period);
            }
            Ok(Err(error)) => {
                (saved, pause) = (None, period);
                if !warned {
                    warn!(driver, path = %path.display(), %error, "the snapshot file cannot be written");
                }
                warned = true;
            }
            // The runtime is shutting down.
            Err(_) => {}
        }
    }
}

/// Reads the file, if there is one that a client of this registry wrote.
pub(super) async fn load(state: &State, path: &Path) -> Option<Snapshot> {
    let (file, owner) = (path.to_owned(), Owner::of(state)?);
    let read = spawn_blocking(move || match read(&file) {
        Ok((text, age)) => parse(&text, &owner).map(|instances| Some(Snapshot { instances, age })),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::new(ErrorKind::Data, error.to_string())),
    });
    match read.await {
        Ok(Ok(snapshot)) => snapshot,
        Ok(Err(error)) => {
            warn!(path = %path.display(), %error, "the snapshot file is ignored");
            None
        }
        // The runtime is shutting down.
        Err(_) => None,
    }
}

fn read(path: &Path) -> io::Result<(String, Duration)> {
    // Opening a pipe would block the start for ever.
    if !fs::metadata(path)?.is_file() {
        return Err(io::Error::other("not a file"));
    }
    let mut file = File::open(path)?;
    let mut text = String::new();
    file.read_to_string(&mut text)?;
    // A date in the future shows that the clock was set back, so the age of the file is unknown.
    Ok((text, file.metadata()?.modified()?.elapsed().unwrap_or(UNKNOWN_AGE)))
}

/// Updates the date of the file if this client wrote it; `None` if another one did.
fn still_good(path: &Path, mark: Mark) -> io::Result<Option<Mark>> {
    let file = match OpenOptions::new().append(true).open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened?,
    };
    if Mark::of(&file.metadata()?)? != mark {
        return Ok(None);
    }
    file.set_modified(SystemTime::now())?;
    Mark::of(&file.metadata()?).map(Some)
}

fn save(path: &Path, owner: &Owner, instances: &[Arc<Instance>]) -> io::Result<Mark> {
    // Beside the file, so that the rename is atomic. The name is unique for each write, because a process may
    // have several clients with one path.
    static WRITES: AtomicU64 = AtomicU64::new(0);
    let number = WRITES.fetch_add(1, Ordering::Relaxed);
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.{number}.tmp", std::process::id()));
    let draft = path.with_file_name(name);
    let written = write(&draft, owner, instances).and_then(|mark| {
        fs::rename(&draft, path)?;
        Ok(mark)
    });
    if written.is_err() {
        // This fails if the draft was never created, which is fine.
        let _ = fs::remove_file(&draft);
    }
    written
}

fn write(draft: &Path, owner: &Owner, instances: &[Arc<Instance>]) -> io::Result<Mark> {
    // The draft of an earlier process with the same number, or a link that somebody put there.
    let _ = fs::remove_file(draft);
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = BufWriter::new(options.open(draft)?);
    print(&mut file, owner, instances)?;
    let file = file.into_inner()?;
    file.sync_all()?;
    Mark::of(&file.metadata()?)
}

fn print(file: &mut impl Write, owner: &Owner, instances: &[Arc<Instance>]) -> io::Result<()> {
    let count = instances.len();
    let header = Header { gosd_snapshot: FORMAT, owner: owner.clone(), count };
    writeln!(file, "{}", serde_json::to_string(&header)?)?;
    for instance in instances {
        writeln!(file, "{}", instance.to_json())?;
    }
    Ok(())
}

fn parse(text: &str, owner: &Owner) -> Result<Vec<Instance>> {
    let bad = |message: String| Err(Error::new(ErrorKind::Data, message));
    let (header, instances) = text.split_once('\n').unwrap_or((text, ""));
    let header: Header = match serde_json::from_str(header) {
        Ok(header) => header,
        Err(error) => return bad(format!("not a snapshot of gosd: {error}")),
    };
    if header.gosd_snapshot != FORMAT {
        let found = header.gosd_snapshot;
        return bad(format!("its format is {found}, and this version reads {FORMAT}"));
    }
    if header.owner != *owner {
        return bad(format!(
            "it is of {}, and this is {}; give each registry a file of its own",
            header.owner.shown(),
            owner.shown()
        ));
    }
    let instances: Vec<Instance> =
        instances.lines().map(Instance::from_json).collect::<Result<_>>()?;
    if instances.len() != header.count {
        let (found, count) = (instances.len(), header.count);
        return bad(format!("it has {found} instances of {count}: a part of it is missing"));
    }
    Ok(instances)
}

impl Owner {
    /// The registry of a client; `None` once the client was shut down.
    fn of(state: &State) -> Option<Self> {
        let driver = state.driver("snapshot").ok()?;
        let registry = driver.identity().map(Into::into);
        Some(Self { driver: state.driver_name().into(), registry })
    }

    fn shown(&self) -> String {
        let registry = self.registry.as_deref().unwrap_or("an unnamed registry");
        format!("the driver {:?} with {registry}", self.driver)
    }
}

impl Mark {
    fn of(metadata: &Metadata) -> io::Result<Self> {
        Ok(Self { modified: metadata.modified()?, len: metadata.len() })
    }
}

#[cfg(fuzzing)]
pub(crate) mod fuzzing {
    use super::*;

    /// The instances of a snapshot's text.
    pub fn read_snapshot(text: &str, driver: &str) -> Result<Vec<Instance>> {
        parse(text, &owner(driver))
    }

    /// The text of a snapshot.
    pub fn write_snapshot(driver: &str, instances: Vec<Instance>) -> Vec<u8> {
        let instances: Vec<_> = instances.into_iter().map(Arc::new).collect();
        let mut text = Vec::new();
        print(&mut text, &owner(driver), &instances).expect("memory can be written to");
        text
    }

    fn owner(driver: &str) -> Owner {
        Owner { driver: driver.into(), registry: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owner(driver: &str) -> Owner {
        Owner { driver: driver.into(), registry: Some("a place".into()) }
    }

    fn instances() -> Vec<Arc<Instance>> {
        let make = |url| Instance::new("mail", url).unwrap().with_metadata("zone", "b\n");
        ["http://10.0.0.7", "http://10.0.0.8"].map(make).map(Arc::new).to_vec()
    }

    #[test]
    fn a_snapshot_survives_the_round_trip_for_its_owner_only() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("view.json");
        save(&path, &owner("memory"), &instances()).unwrap();
        save(&path, &owner("memory"), &instances()[..1]).unwrap();
        let (text, age) = read(&path).unwrap();
        assert!(age < Duration::from_secs(60), "{age:?}");
        let instances = parse(&text, &owner("memory")).unwrap();
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
    fn a_file_in_the_place_of_the_draft_is_not_written_to() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("view");
        let (draft, other) = (dir.path().join("view.tmp"), dir.path().join("other"));
        fs::write(&other, "precious").unwrap();
        std::os::unix::fs::symlink(&other, &draft).unwrap();
        write(&draft, &owner("memory"), &instances()).unwrap();
        fs::rename(&draft, &path).unwrap();
        assert_eq!(fs::read_to_string(&other).unwrap(), "precious");
        assert!(!fs::symlink_metadata(&path).unwrap().is_symlink());
    }

    #[cfg(unix)]
    #[test]
    fn a_pipe_is_refused_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("view");
        let status = std::process::Command::new("mkfifo").arg(&path).status().unwrap();
        assert!(status.success());
        assert!(read(&path).unwrap_err().to_string().contains("not a file"));
    }

    #[test]
    fn a_file_that_another_has_written_meanwhile_is_not_called_good() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("view");
        let mark = save(&path, &owner("memory"), &instances()).unwrap();
        let mark = still_good(&path, mark).unwrap().expect("it is the one that was written");
        let other = save(&path, &owner("memory"), &instances()[1..]).unwrap();
        let written = fs::metadata(&path).unwrap().modified().unwrap();
        assert!(still_good(&path, mark).unwrap().is_none());
        assert_eq!(fs::metadata(&path).unwrap().modified().unwrap(), written);
        fs::remove_file(&path).unwrap();
        assert!(still_good(&path, other).unwrap().is_none(), "it has to be written anew");
    }

    #[test]
    fn writers_of_one_path_do_not_tear_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("view");
        let many: Vec<_> = instances().into_iter().cycle().take(500).collect();
        let write = || _ = save(&path, &owner("memory"), &many).unwrap();
        write();
        std::thread::scope(|scope| {
            let writers: Vec<_> =
                (0..4).map(|_| scope.spawn(|| (0..10).for_each(|_| write()))).collect();
            while !writers.iter().all(std::thread::ScopedJoinHandle::is_finished) {
                let (text, _) = read(&path).unwrap();
                assert_eq!(parse(&text, &owner("memory")).unwrap().len(), many.len());
            }
        });
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "no draft is left behind");
    }

    #[test]
    fn a_damaged_or_foreign_file_is_refused_whole() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("view.json");
        save(&path, &owner("memory"), &instances()).unwrap();
        let good = fs::read_to_string(&path).unwrap();
        let cut = &good[..good.len() - 9];
        let newer = good.replacen(":2", ":3", 1);
        // Cut at the end of a line, so that the rest can be read.
        let part = good.split_inclusive('\n').take(2).collect::<String>();
        let more = format!("{good}{}", good.lines().last().unwrap());
        for text in ["", "\n", "{}", "[1]\n", "hello", cut, &newer, &part, &more] {
            assert!(parse(text, &owner("memory")).is_err(), "{text}");
        }
        assert!(parse(&good, &owner("redis")).is_err());
        assert!(save(dir.path(), &owner("memory"), &instances()).is_err(), "a folder is no file");
        let elsewhere = Owner { registry: Some("another place".into()), ..owner("memory") };
        let unnamed = Owner { registry: None, ..owner("memory") };
        assert!(parse(&good, &elsewhere).is_err() && parse(&good, &unnamed).is_err());
        let left: Vec<_> = fs::read_dir(dir.path()).unwrap().collect();
        assert_eq!(left.len(), 1);
    }
}
