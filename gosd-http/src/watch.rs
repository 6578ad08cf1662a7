use std::time::Duration;

use futures_util::stream;
use gosd_core::{BoxStream, Error, ErrorKind, Event, Result};
use reqwest::header::{HeaderName, HeaderValue};
use reqwest::{Method, Response};
use tokio::time::timeout;

use crate::connection::{EVENTS, LARGEST};
use crate::driver::Http;
use crate::sse::{Message, Parser};
use crate::{error, wire};

/// How long a stream may be silent, which sends a comment every 3 s when there is nothing else.
const SILENCE: Duration = Duration::from_secs(8);
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// Everything, and then the changes, on a connection of its own.
pub(crate) fn watch(driver: &Http) -> BoxStream<'_, Result<Event>> {
    let watch = Watch { driver, stream: None, last_id: None };
    Box::pin(stream::unfold(watch, async |mut watch| Some((watch.next().await, watch))))
}

struct Watch<'a> {
    driver: &'a Http,
    stream: Option<EventStream>,
    /// The id of the last event that was handed on. It survives the connection.
    last_id: Option<HeaderValue>,
}

struct EventStream {
    response: Response,
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

impl EventStream {
    async fn next(&mut self) -> Result<Message> {
        loop {
            if let Some(message) = self.parser.next()? {
                return Ok(message);
            }
            let chunk = timeout(SILENCE, self.response.chunk()).await.map_err(|_| silence())?;
            match chunk.map_err(error::from_reqwest)? {
                Some(chunk) => self.parser.push(&chunk),
                None => {
                    return Err(Error::new(ErrorKind::Unavailable, "the server ended the events"));
                }
            }
        }
    }
}

async fn open(driver: &Http, last_id: Option<HeaderValue>) -> Result<EventStream> {
    let header = last_id.map(|id| (LAST_EVENT_ID, id));
    let request = driver.connection.send(Method::GET, "events", header, EVENTS, None);
    let response = timeout(SILENCE, request).await.map_err(|_| silence())??;
    if response.status() != reqwest::StatusCode::OK {
        let message =
            format!("the server answered {} to the question for events", response.status());
        return Err(Error::new(ErrorKind::Data, message));
    }
    Ok(EventStream { response, parser: Parser::new(LARGEST), begun: false })
}

fn silence() -> Error {
    Error::new(ErrorKind::Timeout, format!("the server was silent for {SILENCE:?}"))
}
