//! The watch: an event stream that is opened again at the position at which it broke off.

use std::time::Duration;

use futures_util::stream;
use gosd_core::{BoxFuture, BoxStream, Error, ErrorKind, Event, Result};
use http::header::{HeaderName, HeaderValue};
use http::{Method, Response, StatusCode};
use hyper::body::Incoming;
use tokio::time::{sleep, timeout};

use crate::connection::{EVENTS, LARGEST, chunk};
use crate::driver::Http;
use crate::sse::{Message, Parser};
use crate::wire;

/// How long a stream may be silent: the server sends a comment every 3 s when there is no event.
const SILENCE: Duration = Duration::from_secs(8);
/// How often a client checks that its own requests arrive, and how long it waits for the answer.
const ASK: Duration = Duration::from_secs(4);
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// Everything, and then the changes, on a connection of its own.
pub(crate) fn watch(driver: &Http) -> BoxStream<'_, Result<Event>> {
    let watch = Watch { driver, stream: None, last_id: None };
    Box::pin(stream::unfold(watch, async |mut watch| Some((watch.next().await, watch))))
}

struct Watch<'a> {
    driver: &'a Http,
    stream: Option<EventStream<'a>>,
    /// The id of the last event that was yielded. It outlives the connection.
    last_id: Option<HeaderValue>,
}

struct EventStream<'a> {
    response: Response<Incoming>,
    /// Resolves when requests are no longer answered, even if events still come.
    unheard: BoxFuture<'a, Error>,
    parser: Parser,
    /// The first event says where the stream begins.
    begun: bool,
}

impl Watch<'_> {
    async fn next(&mut self) -> Result<Event> {
        let result = self.advance().await;
        if result.is_err() {
            self.stream = None;
        }
        result
    }

    async fn advance(&mut self) -> Result<Event> {
        loop {
            let stream = match &mut self.stream {
                Some(stream) => stream,
                None => self.stream.insert(open(self.driver, self.last_id.clone()).await?),
            };
            let message = stream.next().await?;
            let event = wire::event(&message.name, &message.data, |error| {
                self.driver.skip_unreadable(error);
            })?;
            if !stream.begun {
                let resumes = self.last_id.is_some();
                match &event {
                    Some(Event::Reset(_)) => {}
                    Some(Event::Resumed) if resumes => {}
                    _ => {
                        return Err(Error::new(
                            ErrorKind::Data,
                            format!(
                                "the events begin with {:?}, and neither with reset nor resumed",
                                message.name
                            ),
                        ));
                    }
                }
                stream.begun = true;
            }
            // Without an id, or with one that no header can hold, a reconnect starts anew.
            let id = (!message.id.is_empty()).then(|| HeaderValue::try_from(message.id).ok());
            self.last_id = id.flatten();
            if let Some(event) = event {
                return Ok(event);
            }
        }
    }
}

impl EventStream<'_> {
    async fn next(&mut self) -> Result<Message> {
        loop {
            if let Some(message) = self.parser.next()? {
                return Ok(message);
            }
            let chunk = tokio::select! {
                chunk = timeout(SILENCE, chunk(&mut self.response)) => chunk.map_err(|_| silence())?,
                error = &mut self.unheard => return Err(error),
            };
            match chunk? {
                Some(chunk) => self.parser.push(&chunk),
                None => {
                    return Err(Error::new(ErrorKind::Unavailable, "the server ended the events"));
                }
            }
        }
    }
}

async fn open(driver: &Http, last_id: Option<HeaderValue>) -> Result<EventStream<'_>> {
    let header = last_id.map(|id| (LAST_EVENT_ID, id));
    let request = driver.connection.send(Method::GET, "events", header, EVENTS, None);
    let response = timeout(SILENCE, request).await.map_err(|_| silence())??;
    if response.status() != StatusCode::OK {
        let message =
            format!("the server answered {} to the request for events", response.status());
        return Err(Error::new(ErrorKind::Data, message));
    }
    let unheard = Box::pin(unheard(driver));
    Ok(EventStream { response, unheard, parser: Parser::new(LARGEST), begun: false })
}

/// Events flow one way. Where no request arrives, heartbeats do not either, and what the server then
/// says of expired instances is no news of them.
async fn unheard(driver: &Http) -> Error {
    loop {
        sleep(ASK.mul_f64(0.8 + 0.2 * fastrand::f64())).await;
        match timeout(ASK, driver.connection.is_heard()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return error,
            Err(_) => {
                let message = "events come, but requests are not answered";
                return Error::new(ErrorKind::Timeout, message);
            }
        }
    }
}

fn silence() -> Error {
    Error::new(ErrorKind::Timeout, format!("the server was silent for {SILENCE:?}"))
}
