//! A wall clock that a test sets, for the servers that use it.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::PathBuf;

use tempfile::TempDir;
use tokio::process::Command;

/// The wall clock of the servers that were started with it. Their monotonic clock is the host's.
///
/// Needs a C compiler, as linking Rust does.
#[derive(Debug)]
pub struct WallClock {
    directory: TempDir,
}

impl WallClock {
    /// Makes a clock that is this many seconds ahead of the host's, or behind if negative.
    ///
    /// # Panics
    ///
    /// If there is no C compiler.
    pub async fn ahead_by(seconds: i64) -> Self {
        let clock = Self { directory: TempDir::new().expect("a directory can be made") };
        let source = clock.path("clock.c");
        std::fs::write(&source, include_str!("wall_clock.c")).expect("the source can be written");
        let mut compiler = Command::new("cc");
        compiler.args(["-shared", "-fPIC", "-o"]).arg(clock.path("clock.so")).arg(&source);
        let compiled = compiler.status().await;
        let compiled = compiled.expect("cc can be started; install the Debian package gcc");
        assert!(compiled.success(), "the clock does not compile");
        clock.set(seconds);
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            // Servers that run as another user have to read the directory.
            let mode = std::fs::Permissions::from_mode(0o755);
            std::fs::set_permissions(clock.directory.path(), mode).expect("it is ours");
        }
        clock
    }

    /// Sets the clock this many seconds ahead of the host's, or behind if negative.
    pub fn set(&self, seconds: i64) {
        // The file is changed in place, because servers have mapped it.
        let mut options = OpenOptions::new();
        let file = options.create(true).truncate(false).write(true).open(self.path("seconds"));
        let written = file.and_then(|mut file| file.write_all(&seconds.to_ne_bytes()));
        written.expect("the file can be written");
    }

    /// The environment variables of a process that uses this clock.
    pub(crate) fn environment(&self) -> Vec<(&'static str, String)> {
        let text = |name| self.path(name).display().to_string();
        vec![("LD_PRELOAD", text("clock.so")), ("WALL_CLOCK", text("seconds"))]
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }
}
