//! What clients show while the registry servers before them are killed; and why, if somebody is missing.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use gosd_core::{Client, Registration};
use tokio::time::{Instant, interval, sleep};

use crate::agent::{FLEET, LEASE, now};

/// How often a process checks that it runs.
const TICK: Duration = Duration::from_millis(50);
/// Stands between the fields of an answer.
const FIELD: char = '\u{1f}';

/// What the clients showed.
#[derive(Default)]
pub struct Looks {
    /// The fewest instances of the fleet that a client showed.
    pub fewest: usize,
    pub picks: usize,
    /// How many of the picks found nobody.
    pub failed: usize,
    /// The least in s that was left of a lease in the database.
    pub least_left: f64,
    /// What is known of those who were missing, a line each.
    pub notes: Vec<Note>,
}

/// An observation about an instance.
pub struct Note {
    /// In ns since 1970.
    pub from: u128,
    pub until: u128,
    pub id: String,
    pub what: String,
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { from, until, id, what } = self;
        write!(f, "{from}{FIELD}{until}{FIELD}{id}{FIELD}{what}")
    }
}

impl Note {
    fn parse(text: &str) -> Self {
        let mut fields = text.splitn(4, FIELD);
        let mut field = || fields.next().expect("a note has four fields");
        let number = |text: &str| text.parse().expect("a time");
        let (from, until) = (number(field()), number(field()));
        Self { from, until, id: field().into(), what: field().into() }
    }
}

impl fmt::Display for Looks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { fewest, picks, failed, least_left, .. } = self;
        write!(f, "{fewest}, {failed} of {picks}, {least_left:.1} s")
    }
}

impl Looks {
    /// Adds up what the processes say.
    pub fn of(answers: &[String]) -> Self {
        let mut sum = Self { fewest: usize::MAX, ..Self::default() };
        for answer in answers {
            let mut notes = answer.split('\t');
            let numbers = notes.next().expect("numbers").split(' ');
            let numbers: Vec<usize> = numbers.map(|it| it.parse().expect("a number")).collect();
            sum.fewest = sum.fewest.min(numbers[0]);
            sum.picks += numbers[1];
            sum.failed += numbers[2];
            sum.notes.extend(notes.map(Note::parse));
        }
        sum
    }
}

/// What one client's heartbeats were last seen to be.
struct Beats {
    id: String,
    answered: u64,
    failed: u64,
    /// When the number of answered ones was last seen to grow, and what failed since.
    at: u128,
    error: String,
}

impl Beats {
    fn of(client: &Client) -> Self {
        let counts = client.stats().heartbeats;
        let id = client.id().map(ToString::to_string).unwrap_or_default();
        Self { id, answered: counts.ok, failed: counts.failed, at: now(), error: String::new() }
    }

    /// Returns a note if the lease was renewed so late that it was in danger.
    fn look(&mut self, client: &Client) -> Option<Note> {
        let counts = client.stats().heartbeats;
        if let Registration::Retrying { error, .. } = client.status().registration {
            self.error = error.to_string().replace(['\n', '\t'], " ");
        }
        if counts.ok == self.answered {
            return None;
        }
        let (from, until) = (std::mem::replace(&mut self.at, now()), now());
        let failed = counts.failed - self.failed;
        (self.answered, self.failed) = (counts.ok, counts.failed);
        let error = std::mem::take(&mut self.error);
        (until - from > (LEASE * 2 / 3).as_nanos()).then(|| Note {
            from,
            until,
            id: self.id.clone(),
            what: format!("no heartbeat was answered; {failed} failed: {error}"),
        })
    }
}

/// Looks once a second at what each client shows of a fleet of so many, for a time. Says the fewest instances
/// that a client showed, how many picks there were and how many of them found nobody; and then notes.
pub async fn look(clients: &[Client], fleet: usize, time: Duration) -> String {
    let stood_still = Arc::new(AtomicU64::new(0));
    let ticking = tokio::spawn(tick(Arc::clone(&stood_still)));
    let mut beats: Vec<Beats> = clients.iter().map(Beats::of).collect();
    // All have seen all before the first server is killed.
    let all = clients.first().map(ids).unwrap_or_default();
    let mut missing = BTreeMap::<String, (u128, u128, usize)>::new();
    let (mut fewest, mut picks, mut failed, mut notes) = (usize::MAX, 0, 0, Vec::new());
    let end = Instant::now() + time;
    while Instant::now() < end {
        for (client, beats) in clients.iter().zip(&mut beats) {
            let shown = client.instances(FLEET).len();
            fewest = fewest.min(shown);
            if shown < fleet {
                for id in all.difference(&ids(client)) {
                    let (_, last, times) = missing.entry(id.clone()).or_insert((now(), 0, 0));
                    (*last, *times) = (now(), *times + 1);
                }
            }
            failed += usize::from(client.pick(FLEET).is_none());
            picks += 1;
            notes.extend(beats.look(client));
        }
        sleep(Duration::from_secs(1)).await;
    }
    ticking.abort();
    let process = std::process::id();
    let still = stood_still.load(Ordering::Relaxed);
    notes.extend(missing.into_iter().map(|(id, (from, until, times))| {
        let what = format!("process {process}, which stood still for {still} ms at most, missed it in {times} looks");
        Note { from, until, id, what }
    }));
    let notes: String = notes.iter().map(|note| format!("\t{note}")).collect();
    format!("{fewest} {picks} {failed}{notes}")
}

fn ids(client: &Client) -> BTreeSet<String> {
    client.instances(FLEET).iter().map(|it| it.id().to_string()).collect()
}

/// Records the longest time in ms for which the process did not run although it should have.
async fn tick(longest: Arc<AtomicU64>) {
    let (mut ticks, mut before) = (interval(TICK), Instant::now());
    loop {
        ticks.tick().await;
        let late = before.elapsed().saturating_sub(TICK).as_millis();
        longest.fetch_max(u64::try_from(late).unwrap_or(u64::MAX), Ordering::Relaxed);
        before = Instant::now();
    }
}
