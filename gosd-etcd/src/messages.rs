//! The messages of a watch: those that come together are taken together.

use futures_util::{FutureExt, Stream, StreamExt};
use gosd_net::Rest;

/// The messages of a watch. etcd sends one for each change, so after changes the stream is left alone for a
/// while, and what came meanwhile is then taken without a pause.
///
/// What is left alone waits in the buffers of the connection, and etcd stops sending when they are full.
pub(crate) struct Messages<S> {
    stream: S,
    rest: Rest,
    /// Whether changes were taken since the stream was last found empty.
    has_changed: bool,
}

impl<S: Stream + Unpin> Messages<S> {
    pub(crate) fn new(stream: S) -> Self {
        Self { stream, rest: Rest::over(), has_changed: false }
    }

    /// The stream itself, to ask the server something.
    pub(crate) fn stream(&mut self) -> &mut S {
        &mut self.stream
    }

    /// Notes that the last message holds changes.
    pub(crate) fn note_changes(&mut self) {
        self.has_changed = true;
    }

    /// The next message; `None` at the end. Cancel-safe.
    pub(crate) async fn next(&mut self) -> Option<S::Item> {
        if self.has_changed {
            if let Some(message) = self.stream.next().now_or_never() {
                return message;
            }
            self.has_changed = false;
            self.rest.begin();
        }
        self.rest.wait().await;
        self.stream.next().await
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::time::Duration;

    use futures_util::stream;
    use tokio::sync::mpsc;
    use tokio::time::{Instant, sleep_until, timeout};

    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// When each message is taken, of many that come at these intervals.
    async fn taken(count: u32, apart: Duration, are_changes: bool) -> Vec<Duration> {
        let begun = Instant::now();
        let coming = stream::iter(0..count).then(|number| sleep_until(begun + apart * number));
        // Those that come while nobody looks wait in a buffer.
        let (sender, mut buffer) = mpsc::unbounded_channel();
        let sending = async move {
            let mut coming = pin!(coming);
            while let Some(()) = coming.next().await {
                sender.send(()).expect("it is read");
            }
        };
        let buffer = stream::poll_fn(move |context| buffer.poll_recv(context));
        let taking = async {
            let mut messages = Messages::new(buffer);
            let mut taken = Vec::new();
            while messages.next().await.is_some() {
                taken.push(begun.elapsed());
                if are_changes {
                    messages.note_changes();
                }
            }
            taken
        };
        tokio::join!(sending, taking).1
    }

    #[tokio::test(start_paused = true)]
    async fn the_changes_of_a_rollout_are_taken_together() {
        let mut taken = taken(200, MS, true).await;
        assert_eq!(taken.len(), 200);
        taken.dedup();
        assert_eq!(taken, [0, 50, 100, 150, 200].map(|ms| ms * MS));
    }

    #[tokio::test(start_paused = true)]
    async fn one_change_alone_is_taken_at_once() {
        assert_eq!(taken(4, 60 * MS, true).await, [0, 60, 120, 180].map(|ms| ms * MS));
    }

    #[tokio::test(start_paused = true)]
    async fn answers_of_the_server_are_taken_at_once() {
        assert_eq!(taken(4, MS, false).await, [0, 1, 2, 3].map(|ms| ms * MS));
    }

    #[tokio::test(start_paused = true)]
    async fn a_rest_goes_on_when_the_call_is_dropped() {
        let begun = Instant::now();
        let (sender, mut buffer) = mpsc::unbounded_channel();
        let buffer = stream::poll_fn(move |context| buffer.poll_recv(context));
        let mut messages = Messages::new(buffer);
        for message in [1, 2] {
            sender.send(message).expect("it is read");
        }
        assert_eq!(messages.next().await, Some(1));
        messages.note_changes();
        assert_eq!(messages.next().await, Some(2), "it came together with the first");
        messages.note_changes();
        assert!(timeout(10 * MS, messages.next()).await.is_err());
        sender.send(3).expect("it is read");
        assert_eq!(messages.next().await, Some(3));
        assert_eq!(begun.elapsed(), 50 * MS);
    }
}
