//! One side of a watch over two: its stream, which is opened again when it ends, and its contact.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_util::stream::BoxStream;

use super::super::{Driver, Error, Event, Result};
use super::polled;

pub(super) struct Side<'a> {
    driver: &'a dyn Driver,
    refresh_interval: Duration,
    /// `None` before the first poll, and after the stream ended until it is opened again.
    stream: Option<BoxStream<'a, Result<Event>>>,
    pub(super) contact: Contact,
}

/// The contact with a side.
pub(super) enum Contact {
    Unheard,
    Up,
    Lost(Error),
}

impl<'a> Side<'a> {
    pub(super) fn new(driver: &'a dyn Driver, refresh_interval: Duration) -> Self {
        Self { driver, refresh_interval, stream: None, contact: Contact::Unheard }
    }

    pub(super) fn is_unheard(&self) -> bool {
        matches!(self.contact, Contact::Unheard)
    }

    pub(super) fn is_up(&self) -> bool {
        matches!(self.contact, Contact::Up)
    }

    /// Records a loss of contact.
    pub(super) fn lose(&mut self, error: Error) {
        self.contact = Contact::Lost(error.at(self.driver.name(), "watch"));
    }

    /// The next item. A stream that ends or panics yields an error, and is opened again at the next poll.
    pub(super) fn poll(&mut self, context: &mut Context<'_>) -> Poll<Result<Event>> {
        // A panic of this side does not affect the other side, which goes on.
        let polled = catch_unwind(AssertUnwindSafe(|| {
            let (driver, interval) = (self.driver, self.refresh_interval);
            let open = || driver.watch().unwrap_or_else(|| polled::watch(driver, interval));
            self.stream.get_or_insert_with(open).as_mut().poll_next(context)
        }));
        let ended = match polled {
            Ok(polled) => match ready!(polled) {
                Some(item) => return Poll::Ready(item),
                None => Error::watch_ended(),
            },
            Err(_) => Error::panicked(),
        };
        // Its destructor is the driver's code, too.
        let _ = catch_unwind(AssertUnwindSafe(|| self.stream = None));
        Poll::Ready(Err(ended))
    }
}
