//! The watch over two sides: merges the items of both into one stream.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::Stream;
use tokio::time::{Sleep, sleep};

use super::super::{Error, ErrorKind, Event, Result};
use super::side::{Contact, Side};
use super::table::Table;
use super::worse;

/// How long one side waits for the other's snapshot before it is yielded alone. This is long enough for a
/// busy database to answer, and a fifth of what a lookup waits by default.
const PATIENCE: Duration = Duration::from_secs(3);

/// How many items of each side are taken at once at most. Together with the `Err` that may follow, they are
/// fewer than what core applies together.
const ROUND: usize = 256;

pub(super) struct Union<'a> {
    /// The two sides, the primary first.
    sides: [Side<'a>; 2],
    table: Table,
    outbox: VecDeque<Result<Event>>,
    /// The timer that runs while a side has not yielded anything.
    patience: Option<Pin<Box<Sleep>>>,
    /// Whether a `Reset` was yielded, which has to come first.
    has_begun: bool,
    /// Whether a loss of contact still has to be yielded.
    is_news: bool,
    /// Whether the last item about the contact was a loss.
    is_told_lost: bool,
}

impl<'a> Union<'a> {
    pub(super) fn new(sides: [Side<'a>; 2]) -> Self {
        Self {
            sides,
            table: Table::default(),
            outbox: VecDeque::new(),
            patience: None,
            has_begun: false,
            is_news: false,
            is_told_lost: false,
        }
    }

    /// Takes the items that are ready on both sides, so that items of one are not delayed by failures of the
    /// other.
    ///
    /// A side that fails is polled again in the next round, after the reader's pause.
    fn take_what_is_ready(&mut self, context: &mut Context<'_>) {
        let mut has_failed = [false; 2];
        for _ in 0..ROUND {
            let mut is_idle = true;
            for (side, has_failed) in has_failed.iter_mut().enumerate() {
                if *has_failed {
                    continue;
                }
                match self.sides[side].poll(context) {
                    Poll::Pending => {}
                    Poll::Ready(Ok(event)) => {
                        is_idle = false;
                        self.hear(side, event);
                    }
                    Poll::Ready(Err(error)) => {
                        (is_idle, *has_failed, self.is_news) = (false, true, true);
                        self.sides[side].lose(error);
                    }
                }
            }
            if is_idle {
                return;
            }
        }
        // More items may be ready, even if these resulted in no event.
        context.waker().wake_by_ref();
    }

    fn hear(&mut self, side: usize, event: Event) {
        self.sides[side].contact = Contact::Up;
        let event = match event {
            Event::Reset(all) => {
                self.table.reset(side, all);
                self.has_begun.then(|| Event::Reset(self.table.union()))
            }
            Event::Put(instance) => self.table.put(side, instance),
            Event::Remove(id) => self.table.leave(side, id, self.sides[1 - side].is_up()),
            Event::Expire(id) => self.table.expire(side, id),
            Event::Resumed => None,
        };
        // Before the first `Reset`, the table collects what that will contain.
        self.outbox.extend(event.filter(|_| self.has_begun).map(Ok));
    }

    /// Stops waiting for the first item of a side.
    fn lose_patience(&mut self, context: &mut Context<'_>) {
        if !self.sides.iter().any(Side::is_unheard) {
            self.patience = None;
            return;
        }
        let patience = self.patience.get_or_insert_with(|| Box::pin(sleep(PATIENCE)));
        if patience.as_mut().poll(context).is_ready() {
            self.is_news = true;
            for side in self.sides.iter_mut().filter(|side| side.is_unheard()) {
                let message = format!("no snapshot came within {PATIENCE:?}");
                side.lose(Error::new(ErrorKind::Timeout, message));
            }
        }
    }

    /// Decides what the items of a round mean for the contact.
    fn conclude(&mut self) {
        if self.sides.iter().any(Side::is_unheard) {
            return;
        }
        if !self.has_begun && self.sides.iter().any(Side::is_up) {
            self.has_begun = true;
            self.outbox.push_back(Ok(Event::Reset(self.table.union())));
        }
        match self.failure() {
            // Changes of one side prove no contact with the other.
            Some(error) => {
                if std::mem::take(&mut self.is_news) || !self.outbox.is_empty() {
                    self.is_told_lost = true;
                    self.outbox.push_back(Err(error));
                }
            }
            None => {
                if std::mem::take(&mut self.is_told_lost) && self.outbox.is_empty() {
                    self.outbox.push_back(Ok(Event::Resumed));
                }
            }
        }
    }

    /// Why there is no contact with both sides.
    fn failure(&self) -> Option<Error> {
        let errors = self.sides.iter().filter_map(|side| match &side.contact {
            Contact::Lost(error) => Some(error.clone()),
            _ => None,
        });
        errors.reduce(worse)
    }
}

impl Stream for Union<'_> {
    type Item = Result<Event>;

    fn poll_next(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Event>>> {
        if self.outbox.is_empty() {
            self.take_what_is_ready(context);
            self.lose_patience(context);
            self.conclude();
        }
        match self.outbox.pop_front() {
            Some(item) => Poll::Ready(Some(item)),
            None => Poll::Pending,
        }
    }
}
