//! The migration of a fleet from one database to another and back, under lookups and faults.

mod hasty;
mod member;

use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{join, join_all};
use tempfile::TempDir;
use tokio::time::{sleep, timeout};

use crate::backend::{Backend, Kind, open};
use crate::fault::Fault;
use crate::history::Recorder;
use member::{Board, Databases, Member};

/// How many services walk. Each has one instance, so that no other instance hides a missing one.
const MEMBERS: usize = 20;
/// How long a fault lasts: longer than a lease.
const LASTING: Duration = Duration::from_secs(17);
/// How long there is no fault before each fault.
const CALM: Duration = Duration::from_secs(8);
/// A bound for steps that take a few seconds on an idle machine.
const LATE: Duration = Duration::from_secs(120);

/// The databases with which a service runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    Old,
    Both,
    New,
}

/// A wrong way to migrate, which has to fail; otherwise the trial would prove nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutant {
    /// Services of the first and of the last step run at the same time.
    Mix,
    /// An instance is dropped when the first of the two databases hears its goodbye.
    FirstRemove,
}

impl FromStr for Mutant {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "mix" => Ok(Self::Mix),
            "first-remove" => Ok(Self::FirstRemove),
            _ => Err(format!("no mutant is called {text:?}; there are mix and first-remove")),
        }
    }
}

/// The plan of a walk.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    pub old: Kind,
    pub new: Kind,
    pub seed: u64,
    pub mutant: Option<Mutant>,
}

/// The results of a walk.
#[derive(Debug)]
pub struct Walked {
    pub lookups: u64,
    /// The first ten failures of lookups.
    pub failed: Vec<String>,
    /// The longest lookup. Lookups wait for services that are being deployed, and in a service that has just
    /// started for a database that is down.
    pub slowest: Duration,
}

impl std::fmt::Display for Walked {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { lookups, failed, slowest } = self;
        write!(f, "{} of {lookups} lookups failed; the slowest took {slowest:.1?}", failed.len())?;
        failed.iter().try_for_each(|failure| write!(f, "\n  {failure}"))
    }
}

/// One of the two databases.
#[derive(Clone, Copy)]
enum Side {
    Old,
    New,
}

type Faults = [(Side, Fault); 2];

/// The steps, which all services take before any takes the next, and the faults meanwhile. A database is
/// paused while services leave it, so that it receives their goodbyes long after they have registered
/// elsewhere.
const WAY: [(Step, Faults); 4] = [
    (Step::Both, [(Side::Old, Fault::Kill), (Side::New, Fault::Kill)]),
    (Step::New, [(Side::Old, Fault::Pause), (Side::New, Fault::Wipe)]),
    (Step::Both, [(Side::Old, Fault::Wipe), (Side::New, Fault::Kill)]),
    (Step::Old, [(Side::New, Fault::Pause), (Side::Old, Fault::Kill)]),
];

/// Walks 20 services from one database to the next and back, each at random times. Each looks the others up
/// all the time, and each database is killed, wiped, paused and emptied by hand in turn.
///
/// A lookup fails if it does not find a service at its URL within 45 s. It also fails if a service, once
/// found since its last deployment, is absent for more than 5.5 s, or at all while nothing else happens.
///
/// The walk of a mutant ends when a lookup has failed.
///
/// # Panics
///
/// If something cannot be started, or does not end.
pub async fn walk(plan: Plan) -> Walked {
    let folder = TempDir::new().expect("a directory can be made");
    let mut old = start(plan.old, &folder.path().join("old")).await;
    let mut new = start(plan.new, &folder.path().join("new")).await;
    let is_hasty = plan.mutant == Some(Mutant::FirstRemove);
    let databases = Databases { old: old.url(), new: new.url(), is_hasty };
    let board = Arc::new(Board::new(MEMBERS));
    let databases = Arc::new(databases);
    let members = join_all(
        (0..MEMBERS)
            .map(|n| Member::start(n, Arc::clone(&databases), Arc::clone(&board), plan.seed)),
    );
    let members = timeout(LATE, members).await.expect("the databases are there");
    // Lookups count once every service can be found.
    timeout(LATE, join_all(members.iter().map(Member::sees_all))).await.expect("all are seen");
    board.begin();

    let mut random = fastrand::Rng::with_seed(plan.seed);
    for (step, faults) in WAY {
        if plan.mutant == Some(Mutant::Mix) && step == Step::Both {
            continue;
        }
        let walks = members.iter().map(|member| {
            let at = (CALM + LASTING).mul_f64(2.0 * random.f64());
            async move {
                sleep(at).await;
                timeout(LATE, member.walk(step)).await.expect("a service restarts");
            }
        });
        let walks = join_all(walks);
        let phase = async {
            join(walks, make(faults, &mut *old, &mut *new)).await;
            // While all services are in both databases, one of the two may be emptied by hand without any
            // loss.
            for database in [old.direct(), new.direct()] {
                if step == Step::Both {
                    // By the end of the pause all have registered in both, because the fault is over and
                    // heartbeats arrive.
                    sleep(CALM).await;
                    board.note_calm(true);
                    empty(&database).await;
                    sleep(CALM / 4).await;
                    board.note_calm(false);
                }
            }
        };
        match plan.mutant {
            None => phase.await,
            // The databases end with the trial, whatever state they are in.
            Some(_) => {
                tokio::select! {
                    () = phase => {}
                    () = board.has_failed() => break,
                }
            }
        }
    }
    if plan.mutant.is_none() {
        let seen = timeout(LATE, join_all(members.iter().map(Member::sees_all))).await;
        seen.expect("in the end everybody sees everybody");
    }
    let walked = board.end();
    timeout(LATE, join_all(members.into_iter().map(Member::end))).await.expect("a service ends");
    walked
}

async fn start(kind: Kind, folder: &Path) -> Box<dyn Backend> {
    std::fs::create_dir_all(folder).expect("a directory can be made");
    kind.start(folder, &Recorder::new()).await
}

/// Removes all instances of a database, as somebody does who takes it for unused.
async fn empty(database: &str) {
    let driver = open(database).await;
    for instance in driver.list().await.expect("the database is there") {
        driver.deregister(instance.id()).await.expect("the database is there");
    }
}

async fn make(faults: Faults, old: &mut dyn Backend, new: &mut dyn Backend) {
    for (side, fault) in faults {
        sleep(CALM).await;
        match side {
            Side::Old => old.begin(fault).await,
            Side::New => new.begin(fault).await,
        }
        sleep(LASTING).await;
        match side {
            Side::Old => old.end(fault).await,
            Side::New => new.end(fault).await,
        }
    }
}
