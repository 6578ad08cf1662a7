//! A request on its way: whether it may be sent again after a failure, and to which instance.
//!
//! These rules are only here, for everything that sends requests, by HTTP, by gRPC or otherwise.

use std::sync::Arc;

use tokio::time::Instant;

use super::turn::Turn;
use crate::{Instance, Outcome};

/// Whether a request may be sent again, for [`Attempts`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Resend {
    /// Never, because the request cannot be copied: its body is a stream.
    Never,
    /// Only if nothing was sent, because doing the request twice may differ from doing it once.
    IfUnsent,
    /// Once more even if the request may have been served, because doing it twice has the same effect.
    Once,
}

impl Resend {
    /// The rule for an HTTP request that can be copied, by its method, such as `GET`, and whether it has an
    /// `Idempotency-Key`.
    ///
    /// ```
    /// use gosd_core::Resend;
    ///
    /// assert_eq!(Resend::of_http("PUT", false), Resend::Once);
    /// assert_eq!(Resend::of_http("POST", false), Resend::IfUnsent);
    /// assert_eq!(Resend::of_http("POST", true), Resend::Once);
    /// ```
    pub fn of_http(method: &str, has_idempotency_key: bool) -> Self {
        // The idempotent methods of RFC 9110, 9.2.2. Methods are case-sensitive.
        match method {
            "GET" | "HEAD" | "OPTIONS" | "TRACE" | "PUT" | "DELETE" => Self::Once,
            _ if has_idempotency_key => Self::Once,
            _ => Self::IfUnsent,
        }
    }
}

/// How an attempt at a request failed, for [`Attempts::failed`].
///
/// A request that took longer than its caller waits has no such failure, because a slow instance is not a
/// dead one: the request is neither reported nor sent again, and its [`Attempts`] are dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Failure {
    /// There was no connection, so nothing of the request was sent.
    Unsent,
    /// At least a part of the request was sent, and the connection broke before there was an answer.
    Unanswered,
    /// The answer was that the instance cannot serve now: 502, 503 or 504, or UNAVAILABLE in gRPC.
    Refused,
}

impl Failure {
    /// The failure that an HTTP status stands for, if the instance could not serve at all.
    ///
    /// ```
    /// use gosd_core::Failure;
    ///
    /// assert_eq!(Failure::of_http_status(503), Some(Failure::Refused));
    /// assert_eq!(Failure::of_http_status(500), None, "500 is an answer");
    /// ```
    pub fn of_http_status(status: u16) -> Option<Self> {
        matches!(status, 502..=504).then_some(Self::Refused)
    }
}

/// A request on its way to a service: a [`Turn`] that goes on by the rules for requests.
///
/// - If nothing was sent, it goes to any instance that was not tried yet.
/// - If it was not answered, or was refused, it goes to one other instance, once, if [`Resend::Once`] allows, and
///   within a budget: a fifth of the requests to the service of the last ten to twenty seconds, and ten
///   more.
/// - If it cannot be copied, it is sent once.
///
/// Each attempt is [reported](crate::Client::report). Dropped, it says nothing.
///
/// ```
/// use std::sync::Arc;
/// use gosd_core::{Attempts, Client, Failure, Memory, Resend};
///
/// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
/// # async fn post(url: &str) -> Result<u16, std::io::Error> {
/// #     match url.starts_with("http://10.0.0.7") { true => Ok(201), false => Err(std::io::ErrorKind::ConnectionRefused.into()) }
/// # }
/// let client = Client::builder(Arc::new(Memory::new())).start().await?;
/// client.add_local("orders", "http://10.0.0.7:8885")?;
/// client.add_local("orders", "http://10.0.0.8:8885")?;
///
/// let mut attempts = Attempts::new(client.turn("orders").await?, Resend::of_http("POST", false));
/// let status = loop {
///     match post(&attempts.instance().url_with("/")).await {
///         Ok(status) => {
///             attempts.succeeded();
///             break Ok(status);
///         }
///         Err(error) => match attempts.failed(Failure::Unsent) {
///             Some(next) => attempts = next,
///             None => break Err(error),
///         },
///     }
/// };
/// assert_eq!(status.unwrap(), 201);
/// # Ok::<(), gosd_core::Error>(())
/// # }).unwrap();
/// ```
#[derive(Debug)]
#[must_use = "the turn of a request that nobody sends is one that somebody else could have had"]
pub struct Attempts {
    turn: Turn,
    resend: Resend,
    resends: u32,
    was_repeated: bool,
}

impl Attempts {
    /// Begins a request with a turn, and counts it in the service's budget.
    pub fn new(turn: Turn, resend: Resend) -> Self {
        turn.budget().count(Instant::now());
        Self { turn, resend, resends: 0, was_repeated: false }
    }

    /// Goes on, if need be, to the first instance for which `prepare` can make a request.
    ///
    /// Nothing is sent to those passed over, so this holds for [`Resend::Never`] too, and counts as no resend.
    /// Each of them is reported as unreachable.
    ///
    /// ```
    /// # use std::sync::Arc;
    /// use gosd_core::{Attempts, Client, Instance, Memory, Resend};
    ///
    /// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
    /// # let client = Client::builder(Arc::new(Memory::new())).start().await?;
    /// client.add_local("orders", "tcp://10.0.0.7:8885")?;
    /// client.add_local("orders", "http://10.0.0.8:8885")?;
    ///
    /// let attempts = Attempts::new(client.turn("orders").await?, Resend::Never);
    /// let url = |it: &Instance| match it.url().starts_with("http:") {
    ///     true => Ok(it.url_with("/7")),
    ///     false => Err("this is no URL of HTTP"),
    /// };
    /// let (attempts, url) = attempts.prepared(url).unwrap();
    /// assert_eq!(url, "http://10.0.0.8:8885/7");
    /// attempts.succeeded();
    /// # Ok::<(), gosd_core::Error>(())
    /// # }).unwrap();
    /// ```
    ///
    /// # Errors
    ///
    /// That of the last instance, if none is left.
    pub fn prepared<T, E>(
        mut self,
        prepare: impl Fn(&Instance) -> Result<T, E>,
    ) -> Result<(Self, T), E> {
        loop {
            match prepare(self.turn.instance()) {
                Ok(prepared) => return Ok((self, prepared)),
                Err(error) => self.turn = self.turn.failed(Outcome::Unreachable).ok_or(error)?,
            }
        }
    }

    /// The instance to send the request to.
    pub fn instance(&self) -> &Arc<Instance> {
        self.turn.instance()
    }

    /// How often the request was sent again, or was about to be.
    pub fn resends(&self) -> u32 {
        self.resends
    }

    /// Reports how this attempt failed, and goes on to another instance if the request may be sent again.
    /// With `None` the caller has to handle the failure.
    pub fn failed(self, failure: Failure) -> Option<Self> {
        let outcome = match failure {
            Failure::Unsent | Failure::Unanswered => Outcome::Unreachable,
            Failure::Refused => Outcome::Refused,
        };
        let Self { turn, resend, resends, was_repeated } = self;
        let budget = Arc::clone(turn.budget());
        let turn = turn.failed(outcome)?;
        let is_repetition = failure != Failure::Unsent;
        let may_be_sent = match resend {
            Resend::Never => false,
            Resend::IfUnsent => !is_repetition,
            Resend::Once => !is_repetition || (!was_repeated && budget.take(Instant::now())),
        };
        let was_repeated = was_repeated || is_repetition;
        may_be_sent.then_some(Self { turn, resend, resends: resends + 1, was_repeated })
    }

    /// Reports that the request was answered, whatever the answer was.
    pub fn succeeded(self) {
        self.turn.succeeded();
    }
}
