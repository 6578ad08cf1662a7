//! A watch that a test reads item by item, and that gives up if nothing comes.

use std::fmt;
use std::time::Duration;

use futures_util::{FutureExt, StreamExt};
use gosd_core::{BoxStream, Driver, Event, Instance, Result};
use tokio::time::{Instant, sleep, timeout};

/// How long a test waits before it gives up, on a busy machine too.
const PATIENCE: Duration = Duration::from_secs(60);

/// How long the reader waits after an error before it polls again.
const PAUSE: Duration = Duration::from_millis(100);

/// Registers many instances one after the other, and requires that a watch yields them together, twenty times
/// a second at most.
pub async fn changes_come_together(driver: &dyn Driver) {
    const CHANGES: usize = 200;
    const TIMES_A_SECOND: f64 = 20.0;
    let (mut watch, _) = Watch::start(driver).await;
    let begun = Instant::now();
    let changing = async {
        for _ in 0..CHANGES {
            let instance = Instance::new("mail", "http://10.0.0.7:25").expect("it is good");
            driver.register(&instance, 10 * PATIENCE).await.expect("it is registered");
        }
    };
    let watching = async {
        let (mut seen, mut times) = (0, 0);
        while seen < CHANGES {
            seen += watch.events().await.len();
            times += 1;
        }
        times
    };
    let ((), times) = tokio::join!(changing, watching);
    let most = TIMES_A_SECOND * (begun.elapsed().as_secs_f64() + 0.1);
    assert!(f64::from(times) <= most, "{times} times in {:?}", begun.elapsed());
}

/// A watch that has yielded its first snapshot.
pub struct Watch<'a>(BoxStream<'a, Result<Event>>);

impl fmt::Debug for Watch<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watch").finish_non_exhaustive()
    }
}

impl<'a> Watch<'a> {
    /// Begins a watch, and returns it with the snapshot.
    pub async fn start(driver: &'a dyn Driver) -> (Self, Vec<Instance>) {
        let mut watch = Self(driver.watch().expect("the driver has a watch"));
        match watch.next().await {
            Ok(Event::Reset(all)) => (watch, all),
            other => panic!("a snapshot comes first, not {other:?}"),
        }
    }

    /// The next item.
    pub async fn next(&mut self) -> Result<Event> {
        let next = timeout(PATIENCE, self.0.next()).await;
        next.expect("something comes in time").expect("the watch does not end")
    }

    /// The next event; there must be no error.
    pub async fn event(&mut self) -> Event {
        self.next().await.expect("contact is not lost")
    }

    /// The next events: those that are ready together, as core takes them. There must be no error.
    pub async fn events(&mut self) -> Vec<Event> {
        let mut events = vec![self.event().await];
        while let Some(item) = self.0.next().now_or_never() {
            events.push(item.expect("the watch does not end").expect("contact is not lost"));
        }
        events
    }

    /// The first event, after errors if there are any. The watch is polled again after an error, as core
    /// does.
    pub async fn event_after_errors(&mut self) -> Event {
        let again = async {
            loop {
                match self.next().await {
                    Ok(event) => return event,
                    Err(_) => sleep(PAUSE).await,
                }
            }
        };
        timeout(PATIENCE, again).await.expect("contact comes back")
    }
}
