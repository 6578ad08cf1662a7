//! A call: it goes to the next instance in turn, and to other instances as long as nothing was sent.

use std::error::Error as StdError;
use std::future::poll_fn;
use std::sync::Arc;

use gosd_core::{Attempts, Client, Failure, Instance, Resend, Service};
use http::request::Parts;
use http::{Request, Response, Uri};
use tonic::body::Body;
use tonic::transport::Channel;
use tonic::{Code, ConnectError, Status, TimeoutExpired};
use tower_service::Service as _;
use tracing::{Instrument, Span, field, info_span};

use crate::connection::NoConnection;
use crate::credentials;
use crate::lent::Home;
use crate::senders::Senders;

type BoxError = Box<dyn StdError + Send + Sync>;

pub(crate) async fn call(
    gosd: &Client,
    mut service: Service,
    senders: &Arc<Senders>,
    request: Request<Body>,
) -> Result<Response<Body>, Status> {
    let turn = service.next_turn().await;
    let turn = turn.map_err(|error| Status::unavailable(error.to_string()))?;
    // Every gRPC call is a POST with a stream as its body, so a call that was sent is not sent again.
    let mut attempts = Attempts::new(turn, Resend::IfUnsent);
    let (parts, mut body) = request.into_parts();
    loop {
        let mut head = parts.clone();
        let path = parts.uri.path_and_query().map_or("/", |it| it.as_str());
        let url = attempts.instance().url_with(path);
        if let Ok(uri) = credentials::move_to_header(&url, &mut head.headers).parse() {
            head.uri = uri;
        }
        let span = span(&parts.uri, &head.uri, &attempts);
        let sent = deliver(gosd, senders, attempts.instance(), &head, body);
        match sent.instrument(span.clone()).await {
            Ok(response) => {
                record(&span, Status::from_header_map(response.headers()).as_ref());
                match refusal(&response) {
                    // The answer goes to the caller, even if it is a refusal, because the call cannot
                    // be repeated.
                    Some(failure) => drop(attempts.failed(failure)),
                    None => attempts.succeeded(),
                }
                return Ok(response);
            }
            Err(Undelivered { status, says, back }) => {
                record(&span, Some(&status));
                let next = match says {
                    Some(failure) => attempts.failed(failure),
                    None => None,
                };
                match (next, back) {
                    (Some(next), Some(back)) => (attempts, body) = (next, back),
                    _ => return Err(status),
                }
            }
        }
    }
}

/// A call that had no answer.
struct Undelivered {
    status: Status,
    /// What that says about the instance.
    says: Option<Failure>,
    /// The body, if nothing of the call was sent.
    back: Option<Body>,
}

/// Sends a call to an instance.
///
/// A connection that turns out to have broken before is replaced once, for an instance that was restarted or
/// closes idle connections is not a failed one. If the new one breaks before the call is sent, the instance
/// has failed.
async fn deliver(
    gosd: &Client,
    senders: &Arc<Senders>,
    instance: &Arc<Instance>,
    head: &Parts,
    mut body: Body,
) -> Result<Response<Body>, Undelivered> {
    let mut is_repeated = false;
    loop {
        let connection = match senders.to(instance, gosd) {
            Ok(connection) => connection,
            Err(error) => {
                let status = Status::unavailable(error.to_string());
                return Err(Undelivered { status, says: Some(Failure::Unsent), back: Some(body) });
            }
        };
        let was_open = connection.is_open();
        let (error, is_old, back) = match connection.channel().await {
            Err(none) => {
                let is_lost = matches!(none, NoConnection::Broken);
                (none.into_error(), is_lost, Some(body))
            }
            Ok(channel) => {
                let home = Home::default();
                let request = Request::from_parts(head.clone(), Body::new(home.lend(body)));
                match send(channel, request).await {
                    Ok(response) => return Ok(response),
                    Err(error) => (error, was_open, home.take()),
                }
            }
        };
        let (says, back) = match (failure_of(&*error), back) {
            (Some(Failure::Unsent), Some(back)) => (Some(Failure::Unsent), Some(back)),
            (says, _) => (says.map(|_| Failure::Unanswered), None),
        };
        let is_broken = is_broken(&*error);
        if is_broken {
            connection.give_up();
        }
        match back {
            Some(back) if is_broken && is_old && !is_repeated => {
                (is_repeated, body) = (true, back);
            }
            back => return Err(Undelivered { status: Status::from_error(error), says, back }),
        }
    }
}

async fn send(mut channel: Channel, request: Request<Body>) -> Result<Response<Body>, BoxError> {
    // This fails only if the channel's own task has ended, with the runtime that it was on.
    let ready = poll_fn(|context| channel.poll_ready(context)).await;
    ready.map_err(|_| NoConnection::Broken.into_error())?;
    match channel.call(request).await {
        Ok(response) => Ok(response),
        Err(error) if was_queued_only(&error) => Err(NoConnection::Broken.into_error()),
        Err(error) => Err(error.into()),
    }
}

/// Whether hyper let go of a call that waited for its connection, which takes no calls any more: a server that is
/// about to stop has said so by a GOAWAY, and ends the streams that are open first. hyper cancels no call of which
/// anything was sent.
fn was_queued_only(error: &(dyn StdError + 'static)) -> bool {
    let mut causes = std::iter::successors(Some(error), |&error| error.source());
    causes.any(|error| error.downcast_ref().is_some_and(hyper::Error::is_canceled))
}

/// Whether an error says that the connection had broken before the call came to it.
fn is_broken(error: &(dyn StdError + 'static)) -> bool {
    let mut causes = std::iter::successors(Some(error), |&error| error.source());
    causes.any(|error| matches!(error.downcast_ref(), Some(NoConnection::Broken)))
}

/// The failure of the instance that an error shows; `None` if the error is the caller's or a timeout.
fn failure_of(error: &(dyn StdError + 'static)) -> Option<Failure> {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if error.is::<ConnectError>() {
            return Some(Failure::Unsent);
        }
        // The call's own deadline has passed, or its own stream of messages has failed.
        if error.is::<TimeoutExpired>() || error.is::<Status>() {
            return None;
        }
        cause = error.source();
    }
    Some(Failure::Unanswered)
}

/// Whether an answer says that the instance cannot serve now.
fn refusal(response: &Response<Body>) -> Option<Failure> {
    let status = Status::from_header_map(response.headers());
    match status.map(|status| status.code()) {
        Some(Code::Unavailable) => Some(Failure::Refused),
        Some(_) => None,
        None => Failure::of_http_status(response.status().as_u16()),
    }
}

/// The span of one attempt, with the names of OpenTelemetry's conventions.
fn span(method: &Uri, to: &Uri, attempts: &Attempts) -> Span {
    let resends = attempts.resends();
    let method = method.path().trim_start_matches('/');
    info_span!(
        "call",
        otel.name = method,
        otel.kind = "client",
        otel.status_code = field::Empty,
        rpc.system = "grpc",
        rpc.method = method,
        rpc.grpc.status_code = field::Empty,
        server.address = to.host(),
        server.port = port(to),
        gosd.service = attempts.instance().service(),
        gosd.instance = attempts.instance().id().as_str(),
        gosd.resend_count = (resends > 0).then_some(resends),
    )
}

/// The port that a URI says, or that its scheme has.
fn port(uri: &Uri) -> Option<u16> {
    uri.port_u16().or(match uri.scheme_str() {
        Some("http") => Some(80),
        Some("https") => Some(443),
        _ => None,
    })
}

fn record(span: &Span, status: Option<&Status>) {
    // Otherwise the status comes with the end of the stream, as for every successful call.
    let Some(code) = status.map(Status::code) else { return };
    span.record("rpc.grpc.status_code", code as i32);
    if code != Code::Ok {
        span.record("otel.status_code", "ERROR");
    }
}
