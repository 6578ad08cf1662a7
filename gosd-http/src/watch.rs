//! The watch: an event stream that is opened again at the position at which it broke off.

use std::time::Duration;

use futures_util::stream;
use gosd_core::{BoxFuture, BoxStream, Error, ErrorKind, Event, Result};
use http::header::{HeaderName, HeaderValue};
use http::{Method, Response, StatusCode};
use hyper::body::Incoming;
use tokio::time::{Instant, sleep, timeout};

use crate::connection::{EVENTS, LARGEST, chunk};
use crate::driver::Http;
use crate::servers::PATIENCE;
use crate::sse::{Message, Parser};
use crate::wire;

/// How long a stream may be silent: the server sends a comment every 3 s when there is no event.
const SILENCE: Duration = Duration::from_secs(8);
/// How often a client checks that its own requests arrive, and how long it waits for the answer.
const ASK: Duration = Duration::from_secs(4);
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// Everything, and then the changes, on a separate connection; with a path, of the services that it names.
pub(crate) fn watch(driver: &Http, path: Option<String>) -> BoxStream<'_, Result<Event>> {
    let watch = Watch { driver, path, stream: None, last_id: None };
    Box::pin(stream::unfold(watch, async |mut watch| Some((watch.next().await, watch))))
}

struct Watch<'a> {
    driver: &'a Http,
    /// The path of the events of some services; `None` for all.
    path: Option<String>,
    stream: Option<EventStream<'a>>,
    /// The id of the last event that was yielded. It outlives the connection.
    last_id: Option<LastId>,
}

/// What the server that gave it knows the event by. To another server it means nothing.
struct LastId {
    server: usize,
    id: HeaderValue,
}

struct EventStream<'a> {
    server: usize,
    opened_at: Instant,
    response: Response<Incoming>,
    /// Resolves when requests are no longer answered, even if events still come.
    unheard: BoxFuture<'a, Error>,
    parser: Parser,
    /// The first event says where the stream begins.
    begun: bool,
}

impl<'a> Watch<'a> {
    async fn next(&mut self) -> Result<Event> {
        let result = self.advance().await;
        if let Err(error) = &result
            && let Some(stream) = self.stream.take()
            && (error.kind() == ErrorKind::Timeout || stream.opened_at.elapsed() < SILENCE)
        {
            // The server of a stream that broke off may be there again already. But one that is silent costs time,
            // and one whose streams do not last, such as that of a proxy, would never be left.
            self.driver.servers.leave(stream.server);
        }
        result
    }

    async fn advance(&mut self) -> Result<Event> {
        loop {
            let stream = match &mut self.stream {
                Some(stream) => stream,
                None => {
                    let opened = self.open().await?;
                    self.stream.insert(opened)
                }
            };
            let server = stream.server;
            let message = tokio::select! {
                message = stream.next() => message?,
                home = self.driver.servers.came_home_from(server) => {
                    self.go_home(home).await;
                    continue;
                }
            };
            let event = wire::event(&message.name, &message.data, |error| {
                self.driver.skip_unreadable(error);
            })?;
            if !stream.begun {
                let resumes = self.last_id.as_ref().is_some_and(|last| last.server == server);
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
            // Without an id, or with one that no header can contain, a reconnect begins with a snapshot.
            let id = (!message.id.is_empty()).then(|| HeaderValue::try_from(message.id).ok());
            self.last_id = id.flatten().map(|id| LastId { server, id });
            if let Some(event) = event {
                return Ok(event);
            }
        }
    }

    /// Opens a stream of events, at the position of the last one if the server knows it.
    async fn open(&mut self) -> Result<EventStream<'a>> {
        let opened = open(self.driver, self.path.as_deref(), self.last_id.as_ref()).await;
        match opened {
            // A server of another version or make may know no events of single services, but those of all.
            Err(error) if error.kind() == ErrorKind::Config && self.path.is_some() => {
                let all = open(self.driver, None, None).await.map_err(|_| error)?;
                (self.path, self.last_id) = (None, None);
                Ok(all)
            }
            opened => opened,
        }
    }

    /// Goes on with the events of another server, which begin with all there is, unless it gives none.
    async fn go_home(&mut self, home: usize) {
        let path = self.path.as_deref();
        match timeout(ASK, open_at(self.driver, home, path, None)).await {
            Ok(Ok(response)) => self.stream = Some(EventStream::new(self.driver, home, response)),
            _ => self.driver.servers.leave(home),
        }
    }
}

impl<'a> EventStream<'a> {
    fn new(driver: &'a Http, server: usize, response: Response<Incoming>) -> Self {
        let unheard = Box::pin(unheard(driver, server));
        let (opened_at, parser) = (Instant::now(), Parser::new(LARGEST));
        Self { server, opened_at, response, unheard, parser, begun: false }
    }

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

async fn open<'a>(
    driver: &'a Http,
    path: Option<&str>,
    last_id: Option<&LastId>,
) -> Result<EventStream<'a>> {
    let servers = &driver.servers;
    let opened = servers.ask(PATIENCE, async |server| open_at(driver, server, path, last_id).await);
    let (server, response) = timeout(SILENCE, opened).await.map_err(|_| silence())??;
    Ok(EventStream::new(driver, server, response))
}

async fn open_at(
    driver: &Http,
    server: usize,
    path: Option<&str>,
    last_id: Option<&LastId>,
) -> Result<Response<Incoming>> {
    let known = last_id.filter(|last| last.server == server);
    let header = known.map(|last| (LAST_EVENT_ID, last.id.clone()));
    let connection = driver.servers.at(server);
    let response =
        connection.send(Method::GET, path.unwrap_or("events"), header, EVENTS, None).await?;
    if response.status() != StatusCode::OK {
        let message =
            format!("the server answered {} to the request for events", response.status());
        return Err(Error::new(ErrorKind::Data, message));
    }
    Ok(response)
}

/// Events flow one way. Where no request arrives, no heartbeat does either, and then the server's reports of
/// expired instances say nothing about these instances.
async fn unheard(driver: &Http, server: usize) -> Error {
    loop {
        sleep(ASK.mul_f64(0.8 + 0.2 * fastrand::f64())).await;
        match timeout(ASK, driver.servers.at(server).is_heard()).await {
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
