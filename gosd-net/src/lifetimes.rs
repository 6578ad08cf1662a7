//! Which closed connections a watch may replace without a word.

use std::time::Duration;

use tokio::time::Instant;

/// How long a connection lasts at least if the server, or what is in between, lets it live.
const LONG: Duration = Duration::from_secs(5);
/// How many shorter ones may be closed in a row without a word.
const SHORT: u32 = 3;

/// The lifetimes of a watch's connections, one after the other, and whether the end of one is a loss of contact.
///
/// Servers, proxies and poolers close connections now and then: idle ones, all when they are restarted, one
/// when an administrator wants it. If a new connection can be made at once, the watch has lost nothing, and
/// there is nothing to tell. But if they close every connection, a watch that says nothing would connect again
/// and again as fast as the network allows, while core, which paces a watch that fails, hears of nothing.
///
/// So this forgives the end of any connection that has lasted for five seconds, and of three shorter ones since
/// the last of these. A connection that never answered is not forgiven.
///
/// ```
/// # use gosd_net::Lifetimes;
/// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
/// let mut lifetimes = Lifetimes::new();
/// for _ in 0..3 {
///     lifetimes.begin();
///     lifetimes.answered();
///     // Closed as soon as it has answered, for whatever reason: the watch connects anew, and says nothing.
///     assert!(lifetimes.may_forgive());
/// }
/// lifetimes.begin();
/// lifetimes.answered();
/// // There is something wrong: now the watch yields an `Err`.
/// assert!(!lifetimes.may_forgive());
/// # });
/// ```
#[derive(Debug, Default)]
pub struct Lifetimes {
    /// Since when the present connection has answered.
    since: Option<Instant>,
    /// How many have been closed early since the last that lasted.
    short: u32,
}

impl Lifetimes {
    /// Begins without a connection.
    pub fn new() -> Self {
        Self::default()
    }

    /// Begins the lifetime of a new connection, before the attempt to make it. The one before has ended.
    pub fn begin(&mut self) {
        self.end();
    }

    /// Records that the connection has answered what the watch asks of the server.
    pub fn answered(&mut self) {
        self.since.get_or_insert_with(Instant::now);
    }

    /// Records that the connection was closed, and returns whether the watch may replace it without an `Err`.
    pub fn may_forgive(&mut self) -> bool {
        let Some(lasted) = self.end() else { return false };
        if lasted < LONG {
            self.short = self.short.saturating_add(1);
        }
        self.short <= SHORT
    }

    /// Ends the present lifetime, and returns for how long the connection answered, if it ever did.
    fn end(&mut self) -> Option<Duration> {
        let lasted = self.since.take()?.elapsed();
        if lasted >= LONG {
            self.short = 0;
        }
        Some(lasted)
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    /// A connection that answers, is closed after so long, and whether that is forgiven.
    async fn live(lifetimes: &mut Lifetimes, time: Duration) -> bool {
        lifetimes.begin();
        lifetimes.answered();
        advance(time).await;
        // It goes on answering.
        lifetimes.answered();
        lifetimes.may_forgive()
    }

    #[tokio::test(start_paused = true)]
    async fn three_short_lives_in_a_row_are_forgiven() {
        let mut lifetimes = Lifetimes::new();
        for time in [Duration::ZERO, Duration::from_secs(1), LONG - Duration::from_millis(1)] {
            assert!(live(&mut lifetimes, time).await, "{time:?}");
        }
        // Then none, however long the watch pauses in between.
        for _ in 0..3 {
            assert!(!live(&mut lifetimes, Duration::ZERO).await);
            advance(10 * LONG).await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_long_life_is_forgiven_and_makes_up_for_the_short_ones() {
        let mut lifetimes = Lifetimes::new();
        for _ in 0..3 {
            while live(&mut lifetimes, Duration::ZERO).await {}
            assert!(live(&mut lifetimes, LONG).await);
            for _ in 0..SHORT {
                assert!(live(&mut lifetimes, Duration::ZERO).await);
            }
        }
    }

    /// Such as one that fell silent, for which the watch has yielded an `Err`.
    #[tokio::test(start_paused = true)]
    async fn a_long_life_that_ended_otherwise_makes_up_for_the_short_ones_too() {
        let mut lifetimes = Lifetimes::new();
        while live(&mut lifetimes, Duration::ZERO).await {}
        lifetimes.begin();
        lifetimes.answered();
        advance(LONG).await;
        assert!(live(&mut lifetimes, Duration::ZERO).await);
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_never_answered_is_not_forgiven() {
        let mut lifetimes = Lifetimes::new();
        assert!(!lifetimes.may_forgive());
        assert!(live(&mut lifetimes, LONG).await);
        lifetimes.begin();
        advance(LONG).await;
        assert!(!lifetimes.may_forgive());
        // Nor is an end that was told already.
        assert!(live(&mut lifetimes, LONG).await);
        assert!(!lifetimes.may_forgive());
    }
}
