//! Faults that begin and end again and again, and writes that are refused repeatedly.

use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::{Instant, sleep, sleep_until};

use super::database::Serving;
use super::faults::Scenario;
use super::link::Cut;
use super::{between, one_of};

impl Scenario {
    pub(super) async fn flap_links(&self) {
        let minute = Duration::from_secs(60).max(self.lease);
        let period = one_of(&[self.lease, minute]);
        self.pause(1.5, 2.0).await;
        while !self.is_over() {
            let running = self.world.running(false);
            let flaps = running.iter().map(|number| async {
                sleep(between(Duration::ZERO, period / 10)).await;
                let cut = Cut { since: Instant::now(), noisy: true, outward: true, inward: true };
                self.world.cut(*number, cut);
                sleep(between(self.lease / 100, self.lease / 12)).await;
                self.world.mend(*number);
            });
            let next_at = Instant::now() + period;
            join_all(flaps).await;
            sleep_until(next_at).await;
        }
    }

    pub(super) async fn flap_reads(&self) {
        while !self.is_over() {
            for number in self.world.running(false) {
                self.world.lock().link_mut(number).failing_reads.get_or_insert(0);
            }
            self.pause(0.1, 0.2).await;
        }
    }

    pub(super) async fn refuse_writes(&self) {
        self.pause(1.5, 3.0).await;
        while !self.is_over() {
            self.world.begin_outage();
            self.world.serve(Serving::Refusing);
            self.stay_broken().await;
            self.world.serve(Serving::Well);
            self.world.end_outage();
            self.pause(0.8, 3.0).await;
        }
    }

    pub(super) async fn flap_database(&self) {
        self.pause(1.5, 3.0).await;
        self.world.begin_outage();
        self.world.database(|database, now| database.restore([].into(), now));
        // A watch or a heartbeat that was refused is tried again within a sixth of a lease. A request to a
        // database that stands still arrives when the database goes on.
        let (up, down) = match self.flaps_by {
            Serving::Down => (0.25 + 0.2 * fastrand::f64(), 0.3 * fastrand::f64()),
            _ => (0.4 * fastrand::f64(), 1.2 * fastrand::f64()),
        };
        while !self.is_over() {
            self.pause(up * 0.8, up * 1.2).await;
            self.world.serve(self.flaps_by);
            self.pause(down * 0.8, down * 1.2).await;
            self.world.database(super::database::Database::spare_the_lapsed);
            self.world.serve(Serving::Well);
        }
        self.world.end_outage();
    }
}
