//! A race of several attempts, which begin one after another, and of which the first to succeed counts.

use std::collections::VecDeque;
use std::time::Duration;

use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::time::sleep;

/// Tries each candidate a little after the one before, or as soon as that has failed; the first to succeed
/// counts.
///
/// A slow attempt continues beside the next ones. It is dropped when another has succeeded, and all are
/// dropped with the future. The caller sets a bound in time.
///
/// # Errors
///
/// The error of the attempt that failed last, if all have failed; `None` if there is no candidate.
pub async fn race<I, T, E, F>(
    candidates: impl IntoIterator<Item = I>,
    stagger: Duration,
    attempt: impl Fn(I) -> F,
) -> Result<T, Option<E>>
where
    F: Future<Output = Result<T, E>>,
{
    let mut waiting: VecDeque<I> = candidates.into_iter().collect();
    let mut trying = FuturesUnordered::new();
    let mut failure = None;
    loop {
        trying.extend(waiting.pop_front().map(&attempt));
        let is_last = waiting.is_empty();
        let ended = tokio::select! {
            ended = trying.next() => ended,
            () = sleep(stagger), if !is_last => continue,
        };
        match ended {
            Some(Ok(success)) => return Ok(success),
            Some(Err(error)) => failure = Some(error),
            None => return Err(failure),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use tokio::time::{Instant, timeout};

    use super::*;

    const STAGGER: Duration = Duration::from_millis(250);

    #[tokio::test(start_paused = true)]
    async fn a_silent_candidate_delays_the_next_only_for_a_moment() {
        let begun = Instant::now();
        let reached = race(1..=3, STAGGER, async |n| {
            if n != 3 {
                pending::<()>().await;
            }
            Ok::<_, ()>(n)
        });
        assert_eq!(reached.await, Ok(3));
        assert_eq!(begun.elapsed(), 2 * STAGGER);
    }

    #[tokio::test(start_paused = true)]
    async fn a_failure_delays_nothing_and_a_late_success_counts() {
        let begun = Instant::now();
        let reached = race(1..=2, STAGGER, async |n| if n == 1 { Err(n) } else { Ok(n) });
        assert_eq!(reached.await, Ok(2));
        assert_eq!(begun.elapsed(), Duration::ZERO);

        // The first attempt is slow, and the second one, begun meanwhile, fails.
        let late = race(1..=2, STAGGER, async |n| {
            if n != 1 {
                return Err(n);
            }
            sleep(3 * STAGGER).await;
            Ok(n)
        });
        assert_eq!(late.await, Ok(1));
        assert_eq!(race(1..=2, STAGGER, async |n| Err::<(), _>(n)).await, Err(Some(2)));
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_success_it_waits_for_its_caller() {
        let silent = race(1..=2, STAGGER, async |_| pending::<Result<(), ()>>().await);
        assert!(timeout(Duration::from_secs(60), silent).await.is_err());
        assert_eq!(race([0; 0], STAGGER, async |_| Ok::<(), ()>(())).await, Err(None));
    }
}
