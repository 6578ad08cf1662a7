//! The random course of one simulation: faults of one theme, and processes that start and stop meanwhile.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{BoxFuture, join_all};
use futures_util::{FutureExt, StreamExt};
use tokio::time::{Instant, sleep};

use super::database::Serving;
use super::link::Cut;
use super::world::World;
use super::{Number, Watching, between, chance, one_of};
use crate::Settings;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Theme {
    /// No faults; processes only start and stop.
    Calm,
    Database,
    Links,
    Freezes,
    Everything,
    /// Each link breaks once a minute, or once a lease.
    FlappingLinks,
    /// One read in three fails.
    FlappingReads,
    /// The database is wiped, and is then up and down again and again.
    FlappingDatabase,
    /// No driver notices that writes are refused, but every process is registered and so notices itself.
    UnnoticedRefusals,
}

pub(super) const THEMES: [Theme; 9] = [
    Theme::Calm,
    Theme::Database,
    Theme::Links,
    Theme::Freezes,
    Theme::Everything,
    Theme::FlappingLinks,
    Theme::FlappingReads,
    Theme::FlappingDatabase,
    Theme::UnnoticedRefusals,
];

/// For how many leases faults occur.
const LEASES: u32 = 14;
/// After so many leases the dead are in no view, however contact flaps.
const FLAP_BOUND: u32 = 8;

/// One world, and the faults that it will have.
pub(super) struct Scenario {
    pub(super) theme: Theme,
    pub(super) world: Arc<World>,
    /// How the database fails in each of its short outages.
    pub(super) flaps_by: Serving,
    pub(super) lease: Duration,
    ends_at: Instant,
}

impl Scenario {
    pub(super) fn new(theme: Theme, watching: Watching) -> Self {
        let lease = Duration::from_secs(one_of(&[2, 3, 5, 15, 15, 15, 30]));
        let timeout = one_of(&[Duration::from_secs(5), Duration::from_secs(5), lease / 3]);
        let settings = Settings::default().lease_ttl(lease).timeout(timeout);
        let settings = settings.watch_on_demand(watching == Watching::OnDemand);
        let flaps = matches!(theme, Theme::FlappingLinks | Theme::FlappingReads);
        let world = World::new(settings, flaps.then(|| lease * FLAP_BOUND));
        let ends_at = Instant::now() + lease * LEASES;
        let flaps_by = one_of(&[Serving::Down, Serving::Silent]);
        Self { theme, world, flaps_by, lease, ends_at }
    }

    /// Runs the whole simulation. The error says which property did not hold.
    pub(super) async fn run(&self) -> Result<(), String> {
        let mut scripts = vec![self.begin().boxed()];
        match self.theme {
            Theme::Calm => {}
            Theme::Database => scripts.push(self.break_database().boxed()),
            Theme::Links => scripts.push(self.cut_links().boxed()),
            Theme::Freezes => scripts.push(self.freeze().boxed()),
            Theme::Everything => scripts.extend([
                self.break_database().boxed(),
                self.cut_links().boxed(),
                self.freeze().boxed(),
            ]),
            Theme::FlappingLinks => scripts.push(self.flap_links().boxed()),
            Theme::FlappingReads => scripts.push(self.flap_reads().boxed()),
            Theme::UnnoticedRefusals => scripts.push(self.refuse_writes().boxed()),
            Theme::FlappingDatabase => scripts.push(self.flap_database().boxed()),
        }
        scripts.push(self.come_and_go().boxed());
        if self.world.settings.watch_on_demand {
            scripts.push(self.ask_for_more().boxed());
        }
        let purge = self.purge();
        tokio::select! {
            biased;
            () = self.until_failure() => {}
            () = purge => {}
            () = self.play(scripts) => {}
        }
        let failure = self.world.lock().oracle.failure.take();
        self.world.end();
        failure.map_or(Ok(()), |failure| {
            let settings = &self.world.settings;
            Err(format!("{:?}, lease {:?}: {failure}", self.theme, settings.lease_ttl))
        })
    }

    async fn play(&self, scripts: Vec<BoxFuture<'_, ()>>) {
        join_all(scripts).await;
        // This is longer than every bound of the oracle.
        sleep(Duration::from_secs(40) + self.lease * 7).await;
        let (running, found) = (self.world.running(false), self.world.running(true));
        self.world.lock().oracle.check_at_the_end(&running, &found);
    }

    async fn until_failure(&self) {
        let mut looks = futures_util::stream::repeat(()).then(|()| sleep(self.lease / 4)).boxed();
        while self.world.lock().oracle.failure.is_none() {
            looks.next().await;
        }
    }

    /// Removes expired records within a second, as drivers do.
    async fn purge(&self) {
        loop {
            sleep(between(Duration::from_millis(100), Duration::from_secs(1))).await;
            self.world.database(super::database::Database::purge);
        }
    }

    async fn begin(&self) {
        // One process of each kind at least: those that poll, and those that only discover, are the most
        // vulnerable.
        for (registers, is_pushed) in [(true, true), (true, false), (false, true), (false, false)] {
            self.start(registers, is_pushed);
            sleep(between(Duration::ZERO, self.lease / 5)).await;
        }
        for _ in 0..fastrand::u8(0..3) {
            self.start_another();
        }
    }

    fn start_another(&self) {
        self.start(chance(0.7), chance(0.5));
    }

    fn start(&self, registers: bool, is_pushed: bool) {
        // A process that only discovers has no heartbeat to learn from that writes are refused.
        let registers = registers || self.theme == Theme::UnnoticedRefusals;
        let is_pushed = is_pushed || self.needs_watches();
        self.world.start_process(registers, is_pushed, self.refresh());
    }

    /// The refresh interval of a process. Each process may have another.
    fn refresh(&self) -> Duration {
        let lease = self.lease;
        match self.theme {
            Theme::FlappingReads => between(lease / 4, lease * 9 / 20),
            Theme::FlappingLinks => between(lease / 8, lease / 3),
            Theme::Calm => lease / 10,
            _ => one_of(&[lease / 10, lease / 3, lease / 3, lease / 2, lease * 5 / 4]),
        }
    }

    /// A process that polls does not notice a break between two reads. It cannot know that a database which
    /// lost its data was down again just when the living would have registered again.
    fn needs_watches(&self) -> bool {
        self.theme == Theme::FlappingDatabase && self.flaps_by == Serving::Down
    }

    pub(super) fn is_over(&self) -> bool {
        Instant::now() >= self.ends_at
    }

    pub(super) async fn pause(&self, least: f64, most: f64) {
        sleep(between(self.lease.mul_f64(least), self.lease.mul_f64(most))).await;
    }

    async fn come_and_go(&self) {
        self.pause(1.5, 2.5).await;
        while !self.is_over() {
            let found = self.world.running(true);
            let number = match found.len() {
                0 | 1 => None,
                _ => Some(one_of(&found)),
            };
            match (fastrand::u8(0..10), number) {
                (0..4, Some(number)) => self.world.kill(number),
                // A process that has left sends no heartbeats, and so could not learn that writes are
                // refused.
                (4..6, Some(number)) if self.theme == Theme::UnnoticedRefusals => {
                    self.world.kill(number);
                }
                (4..6, Some(number)) => self.world.leave(number),
                (6, Some(number)) => self.world.delete(number),
                (7, Some(number)) => {
                    let numbers = if chance(0.5) { found } else { vec![number] };
                    self.world.take_leases(&numbers);
                }
                _ => self.start_another(),
            }
            self.pause(0.1, 3.0).await;
        }
    }

    /// Asks clients for further services, so that they go over to other watches.
    async fn ask_for_more(&self) {
        let mut asked = 0;
        while !self.is_over() {
            self.pause(0.2, 1.0).await;
            let running = self.world.running(false);
            if !running.is_empty() {
                asked += 1;
                self.world.ask(one_of(&running), &format!("x{asked}"));
            }
        }
    }

    /// Faults of the database, one after another.
    async fn break_database(&self) {
        self.pause(1.5, 3.0).await;
        let mut copy = self.world.copy();
        while !self.is_over() {
            self.world.begin_outage();
            match fastrand::u8(0..9) {
                0 => {
                    self.world.database(|database, now| database.restore([].into(), now));
                    if self.theme == Theme::Database && chance(0.5) {
                        self.answer_slowly().await;
                    }
                }
                1 => {
                    let copy = self.world.copy();
                    self.pause(0.4, 1.1).await;
                    self.world.database(|database, now| database.restore(copy, now));
                }
                2 => {
                    let (forward, step) = (chance(0.5), self.lease.mul_f64(fastrand::f64() * 3.0));
                    self.world.database(|database, now| database.step_clock(forward, step, now));
                }
                3 => {
                    self.world.serve(Serving::Down);
                    self.stay_broken().await;
                    if chance(0.5) {
                        let data = if chance(0.5) { copy.clone() } else { [].into() };
                        self.world.database(|database, now| database.restore(data, now));
                    }
                }
                4 => {
                    self.world.serve(Serving::Silent);
                    self.stay_broken().await;
                }
                5 => {
                    self.world.serve(Serving::Gone);
                    self.stay_broken().await;
                }
                6 => {
                    // A second outage, at the time when the first instance would register again in the empty
                    // database.
                    self.world.database(|database, now| database.restore([].into(), now));
                    self.pause(0.25, 0.36).await;
                    self.world.begin_relapse();
                    self.world.serve(Serving::Gone);
                    self.pause(0.02, 0.3).await;
                }
                _ => {
                    self.world.serve(Serving::ReadOnly);
                    self.stay_broken().await;
                }
            }
            // A driver that starts to remove expired records after an outage may not know of the outage, but
            // then every client has lost contact. And no driver can know that the data is an older copy.
            let serving = self.world.lock().database.serving;
            let broken_for = Instant::now() - self.world.lock().database.serving_since;
            let may_purge = match serving {
                Serving::Well | Serving::Down | Serving::Gone => true,
                _ => broken_for > Duration::from_secs(11),
            };
            if !(may_purge && chance(0.5)) {
                self.world.database(super::database::Database::spare_the_lapsed);
            }
            self.world.serve(Serving::Well);
            self.world.end_outage();
            copy = self.world.copy();
            self.pause(0.8, 3.0).await;
        }
    }

    pub(super) async fn stay_broken(&self) {
        match chance(0.5) {
            true => self.pause(0.02, 0.5).await,
            false => self.pause(0.5, 2.5).await,
        }
    }

    async fn cut_links(&self) {
        self.pause(1.5, 3.0).await;
        while !self.is_over() {
            let running = self.world.running(false);
            if !running.is_empty() {
                let number = one_of(&running);
                match self.theme == Theme::Links && chance(0.5) {
                    true => self.overtake_a_read(number).await,
                    false => self.cut(number, chance(0.5)).await,
                }
            }
            self.pause(0.0, 1.0).await;
        }
    }

    /// All processes read at once. Before all have registered again, they read once more, with late answers.
    async fn answer_slowly(&self) {
        let running = self.world.running(false);
        running.iter().for_each(|number| self.world.read_slowly(*number, Duration::ZERO));
        self.pause(0.1, 0.34).await;
        for number in self.world.running(false) {
            self.world.read_slowly(number, between(self.latest() / 2, self.latest()));
        }
    }

    /// The longest delay of an answer.
    fn latest(&self) -> Duration {
        self.lease.mul_f64(0.45).min(self.world.settings.timeout.mul_f64(0.9))
    }

    /// The watch of a process begins again while the answer to a read is on its way, and another process
    /// leaves in between.
    async fn overtake_a_read(&self, number: Number) {
        self.world.read_slowly(number, between(self.latest() / 3, self.latest()));
        sleep(Duration::from_millis(210)).await;
        let cut = Cut { since: Instant::now(), noisy: true, outward: true, inward: true };
        self.world.cut(number, cut);
        self.world.mend(number);
        let others: Vec<_> =
            self.world.running(true).into_iter().filter(|other| *other != number).collect();
        if others.len() > 1 {
            self.world.leave(one_of(&others));
        }
    }

    async fn cut(&self, number: Number, noisy: bool) {
        let (outward, inward) = one_of(&[(true, true), (true, true), (true, false), (false, true)]);
        self.world.cut(number, Cut { since: Instant::now(), noisy, outward, inward });
        self.stay_broken().await;
        self.world.mend(number);
    }

    async fn freeze(&self) {
        self.pause(1.5, 3.0).await;
        while !self.is_over() {
            let mut running = self.world.running(false);
            match fastrand::u8(0..4) {
                0 if !running.is_empty() => {
                    let (number, ahead) =
                        (one_of(&running), between(Duration::ZERO, self.lease * 9));
                    self.world.set_clock(number, ahead);
                }
                1 => self.freeze_all(&running).await,
                _ => {
                    fastrand::shuffle(&mut running);
                    running.truncate(fastrand::usize(0..=running.len()));
                    self.freeze_all(&running).await;
                }
            }
            self.pause(0.1, 2.0).await;
        }
    }

    async fn freeze_all(&self, numbers: &[Number]) {
        for number in numbers {
            self.world.freeze(*number);
        }
        self.stay_broken().await;
        for number in numbers {
            self.world.thaw(*number);
        }
    }
}
