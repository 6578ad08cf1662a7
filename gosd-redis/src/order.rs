//! The order of a driver's calls, which the server cannot tell from the connections by which they come.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use redis::{Cmd, RedisResult};

use crate::scripts::millis;

/// For how long a call that got no answer may still arrive: longer than Linux sends what a closed socket has left.
const LATE: Duration = Duration::from_secs(120);

/// The calls of one driver.
///
/// A caller that stops waiting leaves its call on its way, and the connection is given up with it. The server, or a
/// proxy before it, may read that connection after the next one. So each call has a number; and while one without an
/// answer may still arrive, the server remembers the numbers of the others, and refuses what is older.
pub(crate) struct Order {
    /// The name of this driver among all that ever write to the server.
    driver: String,
    calls: AtomicU64,
    /// Until when a call without an answer may still arrive.
    doubt_until: Mutex<Option<Instant>>,
}

/// The place of a call in the order. A call that is repeated keeps it.
#[derive(Clone, Copy)]
pub(crate) struct Number(u64);

/// A call on its way; it got no answer unless that is recorded before it is dropped.
pub(crate) struct Sent<'a> {
    order: &'a Order,
    number: Number,
    is_answered: bool,
}

impl Order {
    pub(crate) fn new() -> Self {
        let driver = format!("{:032x}", fastrand::u128(..));
        Self { driver, calls: AtomicU64::new(0), doubt_until: Mutex::new(None) }
    }

    /// The number of the next call.
    pub(crate) fn number(&self) -> Number {
        Number(self.calls.fetch_add(1, Ordering::Relaxed))
    }

    pub(crate) fn send(&self, number: Number) -> Sent<'_> {
        Sent { order: self, number, is_answered: false }
    }

    fn is_in_doubt(&self) -> bool {
        self.doubt_until().is_some_and(|until| Instant::now() < until)
    }

    fn doubt_until(&self) -> std::sync::MutexGuard<'_, Option<Instant>> {
        self.doubt_until.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sent<'_> {
    /// Adds the arguments of `fence.lua`.
    pub(crate) fn sign(&self, call: &mut Cmd) {
        let remembered = if self.order.is_in_doubt() { millis(LATE) } else { 0 };
        call.arg(&self.order.driver).arg(self.number.0).arg(remembered);
    }

    /// Records the end of the call.
    pub(crate) fn ended<T>(mut self, result: &RedisResult<T>) {
        let is_of_server = |error: &redis::RedisError| error.clone().into_server_errors().is_some();
        self.is_answered = result.as_ref().err().is_none_or(is_of_server);
    }
}

impl Drop for Sent<'_> {
    fn drop(&mut self) {
        if !self.is_answered {
            *self.order.doubt_until() = Some(Instant::now() + LATE);
        }
    }
}
