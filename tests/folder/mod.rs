use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use gosd_core::{
    BoxFuture, Driver, DriverUrl, Error, ErrorKind, Instance, InstanceId, Result, async_trait,
};
use tokio::sync::Mutex;

/// Opens `folder:path[?namespace=name]`. Checks the URL, and touches nothing yet.
pub fn open(url: &str) -> BoxFuture<'_, Result<Arc<dyn Driver>>> {
    Box::pin(async move {
        let url = DriverUrl::parse(url)?;
        url.allow_keys(&["namespace"])?;
        if url.has_authority() || url.path().is_empty() {
            return Err(Error::new(ErrorKind::Config, "expected folder:path[?namespace=name]"));
        }
        // Not the name alone, because `..` is a namespace too.
        let path = Path::new(url.path()).join(format!("{}.d", url.namespace()?));
        Ok(Arc::new(Folder { path, turn: Arc::default() }) as Arc<dyn Driver>)
    })
}

struct Folder {
    path: PathBuf,
    /// Locked by the work under way, even if the call that began it was dropped.
    turn: Arc<Mutex<()>>,
}

/// The file into which a record is first written; only one process writes at a time.
const DRAFT: &str = "new.draft";

#[async_trait]
impl Driver for Folder {
    async fn register(&self, instance: &Instance, ttl: Duration) -> Result<()> {
        let (name, json) = (file_name(instance.id()), instance.to_json());
        self.run(move |folder| {
            let draft = folder.join(DRAFT);
            fs::write(&draft, json)?;
            File::options().write(true).open(&draft)?.set_modified(SystemTime::now() + ttl)?;
            // A process that is killed leaves the old record or the new one, and never a part.
            fs::rename(&draft, folder.join(name))
        })
        .await
    }

    async fn deregister(&self, id: &InstanceId) -> Result<()> {
        let name = file_name(id);
        self.run(move |folder| match fs::remove_file(folder.join(name)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other,
        })
        .await
    }

    async fn list(&self) -> Result<Vec<Instance>> {
        self.run(|folder| {
            // Fails where no process can renew, so that no living instance is taken for dead.
            fs::write(folder.join(DRAFT), "as much as a record")?;
            let now = SystemTime::now();
            let mut instances = Vec::new();
            for file in fs::read_dir(folder)? {
                let path = file?.path();
                if path.extension().is_some() || !path.is_file() {
                    continue; // the draft, the lock, or a foreign file
                }
                if fs::metadata(&path)?.modified()? <= now {
                    // No process can have renewed it since, because the folder is locked.
                    fs::remove_file(&path)?;
                    continue;
                }
                match Instance::from_json(str::from_utf8(&fs::read(&path)?).unwrap_or_default()) {
                    Ok(instance) => instances.push(instance),
                    // One bad record does not hide the others.
                    Err(error) => tracing::warn!(path = %path.display(), %error, "skipped"),
                }
            }
            Ok(instances)
        })
        .await
    }

    fn name(&self) -> &str {
        "folder"
    }
}

impl Folder {
    /// Runs blocking work on a thread for that, with the folder locked. Work that has begun goes on
    /// when the call is dropped, so the next call waits for it, and it undoes nothing later.
    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Path) -> io::Result<T> + Send + 'static,
    ) -> Result<T> {
        let (path, turn) = (self.path.clone(), Arc::clone(&self.turn).lock_owned().await);
        let locked = move || {
            let _turn = turn;
            // The user has to create the folder of all namespaces: its absence is an error.
            match fs::create_dir(&path) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
                _ => {}
            }
            let lock = File::create(path.join("all.lock"))?;
            lock.lock()?;
            work(&path)
        };
        let error = match tokio::task::spawn_blocking(locked).await {
            Ok(Ok(value)) => return Ok(value),
            Ok(Err(error)) => error,
            Err(ended) => io::Error::other(ended),
        };
        // Missing permissions, too: while no process can write, the registry is out of contact.
        let message = format!("cannot write into the folder {}", self.path.display());
        Err(Error::new(ErrorKind::Unavailable, message).caused_by(error))
    }
}

/// A short file name for any id: its 128-bit FNV-1a hash. The id itself is in the file.
fn file_name(id: &InstanceId) -> String {
    let hash = id.as_str().bytes().fold(0x6c62272e07bb014262b821756295c58d_u128, |hash, byte| {
        (hash ^ u128::from(byte)).wrapping_mul((1 << 88) + 0x13b)
    });
    format!("{hash:032x}")
}
