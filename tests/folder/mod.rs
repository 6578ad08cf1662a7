use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use gosd_core::{
    BoxFuture, Driver, DriverUrl, Error, ErrorKind, Instance, InstanceId, Result, async_trait,
};

/// Opens `folder:path[?namespace=name]`. Judges the URL, and touches nothing yet.
pub fn open(url: &str) -> BoxFuture<'_, Result<Arc<dyn Driver>>> {
    Box::pin(async move {
        let url = DriverUrl::parse(url)?;
        url.allow_keys(&["namespace"])?;
        let path = Path::new(url.path()).join(url.namespace()?);
        Ok(Arc::new(Folder { path }) as Arc<dyn Driver>)
    })
}

struct Folder {
    path: PathBuf,
}

/// Numbers the drafts of this process, of which two may be for one id.
static DRAFTS: AtomicU64 = AtomicU64::new(0);

#[async_trait]
impl Driver for Folder {
    async fn register(&self, instance: &Instance, ttl: Duration) -> Result<()> {
        let (name, json) = (file_name(instance.id()), instance.to_json());
        self.run(move |folder| {
            fs::create_dir_all(folder)?;
            let number = DRAFTS.fetch_add(1, Ordering::Relaxed);
            let draft = folder.join(format!("{name}.{}-{number}", std::process::id()));
            fs::write(&draft, json)?;
            File::options().write(true).open(&draft)?.set_modified(SystemTime::now() + ttl)?;
            // Readers see the record as it was, or as it is: never a part of it.
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
            let files = match fs::read_dir(folder) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
                files => files?,
            };
            let now = SystemTime::now();
            let mut instances = Vec::new();
            for file in files {
                let path = file?.path();
                if path.extension().is_some() {
                    continue; // a draft
                }
                let (expires_at, json) = match read(&path) {
                    // Removed since the folder was read.
                    Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                    record => record?,
                };
                match Instance::from_json(&json) {
                    Ok(instance) if expires_at > now => instances.push(instance),
                    Ok(_) => {}
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
    /// Does work that blocks where it may.
    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Path) -> io::Result<T> + Send + 'static,
    ) -> Result<T> {
        let path = self.path.clone();
        let result = tokio::task::spawn_blocking(move || work(&path)).await;
        let error = match result {
            Ok(Ok(value)) => return Ok(value),
            Ok(Err(error)) => error,
            Err(ended) => io::Error::other(ended),
        };
        let path = self.path.display();
        Err(match error.kind() {
            io::ErrorKind::PermissionDenied => {
                Error::new(ErrorKind::Denied, format!("permission denied on the folder {path}"))
            }
            _ => Error::new(ErrorKind::Unavailable, format!("cannot use the folder {path}")),
        }
        .caused_by(error))
    }
}

/// When the lease ends, and the JSON of the instance.
fn read(path: &Path) -> io::Result<(SystemTime, String)> {
    Ok((fs::metadata(path)?.modified()?, fs::read_to_string(path)?))
}

/// Any id as a file name without a dot.
fn file_name(id: &InstanceId) -> String {
    let encoded = |byte: u8| match byte {
        b'-' | b'_' | b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' => char::from(byte).to_string(),
        _ => format!("%{byte:02x}"),
    };
    id.as_str().bytes().map(encoded).collect()
}
