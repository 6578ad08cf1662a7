//! The rest of a watcher after changes, so that those of a rollout are taken together.

use std::time::Duration;

use tokio::time::{Instant, sleep_until};

/// How long a rest lasts: a watcher takes changes twenty times a second at most.
const REST: Duration = Duration::from_millis(50);

/// The rest of a watcher after changes: those that come meanwhile are taken together when it is over.
///
/// Without it, a rollout of 1,000 instances wakes each watcher, and often the server for each watcher, a thousand
/// times. One change alone is still taken at once, because a rest begins only after a change.
///
/// ```
/// # use gosd_net::Rest;
/// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
/// let mut rest = Rest::over();
/// rest.wait().await; // This does not wait: there was no change yet.
/// // Read the changes there are, and then:
/// rest.begin();
/// # });
/// ```
#[derive(Debug)]
pub struct Rest {
    until: Instant,
}

impl Rest {
    /// A rest that is over: the first change is taken at once.
    pub fn over() -> Self {
        Self { until: Instant::now() }
    }

    /// Begins a rest, after changes.
    pub fn begin(&mut self) {
        self.until = Instant::now() + REST;
    }

    /// Waits until the rest is over. Cancel-safe.
    pub async fn wait(&self) {
        if Instant::now() < self.until {
            sleep_until(self.until).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::sleep;

    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// How often a watcher takes changes that come at these intervals, and when it took each.
    async fn take(changes: u32, apart: Duration) -> Vec<Duration> {
        let (mut rest, begun) = (Rest::over(), Instant::now());
        let mut taken = Vec::new();
        let mut next = 0;
        while next < changes {
            sleep_until(begun + apart * next).await;
            rest.wait().await;
            let now = begun.elapsed();
            taken.push(now);
            while next < changes && apart * next <= now {
                next += 1;
            }
            rest.begin();
        }
        taken
    }

    #[tokio::test(start_paused = true)]
    async fn changes_of_a_rollout_are_taken_together() {
        let taken = take(200, MS).await;
        assert_eq!(taken, [0, 50, 100, 150, 200].map(|ms| ms * MS));
    }

    #[tokio::test(start_paused = true)]
    async fn one_change_alone_is_taken_at_once() {
        let apart = 60 * MS;
        assert_eq!(take(5, apart).await, [0, 1, 2, 3, 4].map(|change| change * apart));
    }

    #[tokio::test(start_paused = true)]
    async fn a_wait_that_was_dropped_goes_on() {
        let mut rest = Rest::over();
        rest.begin();
        let begun = Instant::now();
        for _ in 0..3 {
            tokio::select! {
                () = rest.wait() => panic!("it lasts longer"),
                () = sleep(10 * MS) => {}
            }
        }
        rest.wait().await;
        assert_eq!(begun.elapsed(), REST);
    }
}
