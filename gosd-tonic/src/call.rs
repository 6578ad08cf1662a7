//! A call: it goes to the next instance in turn, and to other instances as long as nothing was sent.

use std::error::Error as StdError;
use std::future::poll_fn;
use std::sync::Arc;

use gosd_core::{Attempts, Client, Failure, Resend};
use http::{Request, Response};
use tonic::body::Body;
use tonic::transport::Channel;
use tonic::{Code, ConnectError, Status, TimeoutExpired};
use tower_service::Service;
use tracing::{Instrument, Span, field, info_span};

use crate::lent::Home;
use crate::senders::Senders;

type BoxError = Box<dyn StdError + Send + Sync>;

pub(crate) async fn call(
    gosd: &Client,
    service: &str,
    senders: &Arc<Senders>,
    request: Request<Body>,
) -> Result<Response<Body>, Status> {
    let turn = gosd.turn(service).await.map_err(|error| Status::unavailable(error.to_string()))?;
    // Every gRPC call is a POST with a stream as its body, so a call that was sent is not sent again.
    let mut attempts = Attempts::new(turn, Resend::IfUnsent);
    let (parts, mut body) = request.into_parts();
    loop {
        let (status, back) = match senders.to(attempts.instance(), gosd) {
            Err(error) => (Status::unavailable(error.to_string()), Some(body)),
            Ok(channel) => {
                let home = Home::default();
                let mut request = Request::from_parts(parts.clone(), Body::new(home.lend(body)));
                let path = parts.uri.path_and_query().map_or("/", |it| it.as_str());
                if let Ok(uri) = attempts.instance().url_with(path).parse() {
                    *request.uri_mut() = uri;
                }
                let span = span(&parts.uri, request.uri(), &attempts);
                match send(channel, request).instrument(span.clone()).await {
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
                    Err(error) => {
                        let says = failure_of(&*error);
                        let status = Status::from_error(error);
                        record(&span, Some(&status));
                        let back = home.take().filter(|_| says == Some(Failure::Unsent));
                        if back.is_none() {
                            if says.is_some() {
                                drop(attempts.failed(Failure::Unanswered));
                            }
                            return Err(status);
                        }
                        (status, back)
                    }
                }
            }
        };
        match (attempts.failed(Failure::Unsent), back) {
            (Some(next), Some(back)) => (attempts, body) = (next, back),
            _ => return Err(status),
        }
    }
}

async fn send(mut channel: Channel, request: Request<Body>) -> Result<Response<Body>, BoxError> {
    poll_fn(|context| channel.poll_ready(context)).await?;
    Ok(channel.call(request).await?)
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
fn span(method: &http::Uri, to: &http::Uri, attempts: &Attempts) -> Span {
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
        server.port = to.port_u16(),
        gosd.service = attempts.instance().service(),
        gosd.instance = attempts.instance().id().as_str(),
        gosd.resend_count = (resends > 0).then_some(resends),
    )
}

fn record(span: &Span, status: Option<&Status>) {
    // Otherwise the status comes with the end of the stream, as for every successful call.
    let Some(code) = status.map(Status::code) else { return };
    span.record("rpc.grpc.status_code", code as i32);
    if code != Code::Ok {
        span.record("otel.status_code", "ERROR");
    }
}
