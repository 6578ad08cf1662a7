//! Runs a trial in a separate process, and reads its results.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use gosd_testservers::PostgresServer;
use tempfile::TempDir;
use tokio::process::Command;
use tokio::time::timeout;

use crate::backend::Kind;
use crate::check::Promise;
use crate::trial::Plan;

/// How long a trial may take, on a busy machine too.
const LATE: Duration = Duration::from_secs(300);
/// Runs the command with a separate disk, mounted at the folder.
const DISK: &str = r#"mount -t tmpfs -o size=16m gosd "$0" && exec "$@""#;

/// The size of a disk for a PostgreSQL server, in MiB: an empty cluster takes some 30.
const POSTGRES_DISK: u32 = 128;

/// The result of a trial.
#[derive(Clone, Debug)]
pub struct Outcome {
    pub plan: Plan,
    /// One finding for each promise.
    pub findings: Vec<Finding>,
    /// What ended the trial early, or where its history is if a promise was broken.
    pub remark: Option<String>,
}

/// The result for one promise.
#[derive(Clone, Debug)]
pub struct Finding {
    pub letter: String,
    pub held: bool,
    pub figure: String,
    pub violations: String,
}

impl Outcome {
    /// Whether all promises were kept.
    pub fn held(&self) -> bool {
        self.findings.len() == Promise::ALL.len() && self.findings.iter().all(|one| one.held)
    }

    /// Runs a trial in a separate process, so that its resources can be counted.
    ///
    /// `program` is the path of `gosd-trials`.
    pub async fn of(plan: Plan, program: &Path) -> Self {
        let place = TempDir::new().expect("a directory can be made");
        let folder = place.path().join("files");
        std::fs::create_dir(&folder).expect("a directory can be made");
        let mut command = match plan.kind {
            Kind::Sqlite => {
                let mut command = Command::new("unshare");
                command.args(["--map-root-user", "--mount", "sh", "-c", DISK]);
                command.arg(&folder).arg(program);
                command
            }
            Kind::Postgres => {
                let words = PostgresServer::on_small_disk(POSTGRES_DISK);
                let mut command = Command::new(&words[0]);
                command.args(&words[1..]).arg(program);
                command
            }
            _ => Command::new(program),
        };
        command.arg("trial").args(plan.to_args()).arg(&folder);
        let output = command.env("RUST_BACKTRACE", "0").stdin(Stdio::null()).kill_on_drop(true);
        let output = output.output();
        let output = timeout(LATE, output).await.expect("a trial ends");
        let output = output.expect("unshare, of util-linux, is needed");
        let text = String::from_utf8_lossy(&output.stdout);
        let findings = text.lines().filter_map(Finding::parse).collect();
        let mut outcome = Self { plan, findings, remark: None };
        if !output.status.success() {
            outcome.remark = Some(String::from_utf8_lossy(&output.stderr).into_owned());
        } else if !outcome.held() {
            outcome.remark = Some(format!("the history is in {}", place.keep().display()));
        }
        outcome
    }

    /// The broken promises, one a line.
    pub fn complaints(&self) -> String {
        let broken = self.findings.iter().filter(|one| !one.held);
        let broken = broken.map(|one| format!("  ({}) {}\n", one.letter, one.violations));
        let remark = self.remark.as_ref().map(|remark| format!("  {remark}\n"));
        broken.chain(remark).collect()
    }
}

impl Finding {
    /// Parses a line of the results.
    fn parse(line: &str) -> Option<Self> {
        let mut fields = line.split('\t').map(str::to_owned);
        let (letter, word, figure) = (fields.next()?, fields.next()?, fields.next()?);
        Some(Self { letter, held: word == "held", figure, violations: fields.next()? })
    }
}
