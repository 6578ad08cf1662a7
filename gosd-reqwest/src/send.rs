//! Sends a request until an instance has answered, or until the request must not be sent again.

use std::error::Error as StdError;
use std::time::Instant;

use gosd_core::{Attempts, Client, Error, ErrorKind, Failure, Instance, Resend, Result, Turn};
use reqwest::{Method, Request, Response, Url};
use tokio::time;
use tracing::{Instrument, Span, field, info_span};

use crate::credentials;
use crate::target::Target;

/// What sends a request to the instance's URL: a client, or the rest of a stack of middlewares.
pub(crate) trait Transport {
    type Error;

    fn send(
        &mut self,
        request: Request,
    ) -> impl Future<Output = Result<Response, Self::Error>> + Send;

    /// The error for an instance to whose URL no request can be sent.
    fn unusable(error: Error) -> Self::Error;

    /// The error of reqwest in this error, if there is one.
    fn error(error: &Self::Error) -> Option<&reqwest::Error>;
}

/// Takes a turn. Waits for the service to appear, but no longer than the request may take.
pub(crate) async fn turn(gosd: &Client, target: &Target, request: &mut Request) -> Result<Turn> {
    let service = &target.service;
    let Some(timeout) = request.timeout().copied() else {
        return gosd.turn(service).await;
    };
    let started = Instant::now();
    let turn = time::timeout(timeout, gosd.turn(service)).await.map_err(|_| {
        let message = format!(
            "no instance of {service:?} appeared within the {timeout:?} that the request may take"
        );
        Error::new(ErrorKind::Timeout, message)
    })?;
    *request.timeout_mut() = Some(timeout.saturating_sub(started.elapsed()));
    turn
}

pub(crate) async fn send<T: Transport>(
    mut transport: T,
    mut request: Request,
    target: &Target,
    turn: Turn,
) -> Result<Response, T::Error> {
    let started = Instant::now();
    let timeout = request.timeout().copied();
    credentials::move_to_header(&mut request);
    let attempts = Attempts::new(turn, resend(&request));
    let url_at = |it: &Instance| target.at(it);
    let (mut attempts, mut url) = attempts.prepared(url_at).map_err(T::unusable)?;
    // The last refusal is kept, because an answer is never swallowed, even if no other instance answers.
    let mut refusal = None;
    loop {
        let spare = request.try_clone();
        *request.url_mut() = url;
        // Only after the copy was made, because these are for no other instance.
        credentials::move_to_header(&mut request);
        let asked = request.url().clone();
        let span = span(request.method(), &asked, &attempts);
        let sent = transport.send(request).instrument(span.clone()).await;
        record::<T>(&span, &sent);
        let failure = match &sent {
            Ok(response) => match refusal_by(response, &asked) {
                Some(failure) => failure,
                None => {
                    attempts.succeeded();
                    return sent;
                }
            },
            Err(error) => match T::error(error).and_then(|error| failure_of(error, &asked)) {
                Some(failure) => failure,
                None => return refusal.map_or(sent, Ok),
            },
        };
        let next = attempts.failed(failure).and_then(|next| next.prepared(url_at).ok());
        let (Some(next), Some(spare)) = (next, spare) else {
            // What the last instance did to which something was sent, and not that no other one was left.
            return sent.or_else(|error| refusal.ok_or(error));
        };
        ((attempts, url), request) = (next, spare);
        refusal = sent.ok().or(refusal);
        // The timeout holds for the whole request, however often it is sent.
        if let Some(timeout) = timeout {
            *request.timeout_mut() = Some(timeout.saturating_sub(started.elapsed()));
        }
    }
}

fn resend(request: &Request) -> Resend {
    if request.body().is_some_and(|body| body.as_bytes().is_none()) {
        return Resend::Never;
    }
    let has_key = request.headers().contains_key("idempotency-key");
    Resend::of_http(request.method().as_str(), has_key)
}

/// The failure of the instance that its answer shows. An answer from elsewhere, to where the instance redirected,
/// says nothing of the instance but that it answered.
fn refusal_by(response: &Response, asked: &Url) -> Option<Failure> {
    let is_its_own = response.url().origin() == asked.origin();
    Failure::of_http_status(response.status().as_u16()).filter(|_| is_its_own)
}

/// The failure of the instance that an error shows; `None` if the error is the caller's or a timeout of the request.
fn failure_of(error: &reqwest::Error, url: &Url) -> Option<Failure> {
    // A builder's error about the URL itself: its host is none, or the client takes https alone. About another
    // URL, to which an answer redirected, it comes after the request was sent.
    let is_unusable = error.is_builder() && error.url() == Some(url);
    if error.is_connect() || is_unusable {
        return Some(Failure::Unsent);
    }
    if is_time_over(error) || !error.is_request() {
        return None;
    }
    let mut source = error.source();
    while let Some(cause) = source {
        // The caller's own body has failed.
        if cause.downcast_ref::<reqwest::Error>().is_some_and(reqwest::Error::is_body) {
            return None;
        }
        source = cause.source();
    }
    Some(Failure::Unanswered)
}

/// Whether the time is over that the caller gave the request. reqwest's own timeout stands alone. One further down
/// is the transport's, which has found the connection dead: by HTTP/2's keep-alive, or by TCP's (`ETIMEDOUT`).
fn is_time_over(error: &reqwest::Error) -> bool {
    error.is_timeout() && error.source().is_some_and(|cause| cause.source().is_none())
}

/// The span of one attempt, with the names of OpenTelemetry's conventions.
fn span(method: &Method, url: &Url, attempts: &Attempts) -> Span {
    let resends = attempts.resends();
    info_span!(
        "request",
        otel.name = method.as_str(),
        otel.kind = "client",
        otel.status_code = field::Empty,
        http.request.method = method.as_str(),
        http.request.resend_count = (resends > 0).then_some(resends),
        http.response.status_code = field::Empty,
        "error.type" = field::Empty,
        url.scheme = url.scheme(),
        server.address = url.host_str(),
        server.port = url.port_or_known_default(),
        gosd.service = attempts.instance().service(),
        gosd.instance = attempts.instance().id().as_str(),
    )
}

fn record<T: Transport>(span: &Span, sent: &Result<Response, T::Error>) {
    match sent {
        Ok(response) => {
            let status = response.status();
            span.record("http.response.status_code", status.as_u16());
            if status.is_client_error() || status.is_server_error() {
                span.record("error.type", status.as_str());
                span.record("otel.status_code", "ERROR");
            }
        }
        Err(error) => {
            let kind = match T::error(error) {
                Some(error) if error.is_connect() => "connect",
                Some(error) if error.is_timeout() => "timeout",
                Some(error) if error.is_request() => "request",
                _ => "_OTHER",
            };
            span.record("error.type", kind);
            span.record("otel.status_code", "ERROR");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use reqwest::ClientBuilder;
    use tokio::io::{AsyncWriteExt, copy, sink};
    use tokio::net::TcpListener;

    use super::*;

    /// What comes of a request by HTTP/2 to a server that greets, and then answers neither requests nor pings.
    async fn sent_to_nobody(timeouts: impl Fn(ClientBuilder) -> ClientBuilder) -> Option<Failure> {
        // Settings without any, and the acknowledgement of the client's.
        const GREETING: [u8; 18] = [0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 4, 1, 0, 0, 0, 0];
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = tokio::spawn(async move {
            let (mut socket, _) = listener.accept().await.unwrap();
            socket.write_all(&GREETING).await.unwrap();
            copy(&mut socket, &mut sink()).await
        });
        let http = ClientBuilder::new().no_proxy().http2_prior_knowledge();
        let url = Url::parse(&format!("http://127.0.0.1:{port}/")).unwrap();
        let error = timeouts(http).build().unwrap().get(url.clone()).send().await.unwrap_err();
        assert!(error.is_timeout(), "{error:?}");
        server.abort();
        failure_of(&error, &url)
    }

    #[tokio::test]
    async fn a_timeout_of_the_transport_is_a_failure_and_one_of_the_request_is_none() {
        const SOON: Duration = Duration::from_millis(100);
        let keeps_alive = |http: ClientBuilder| {
            http.http2_keep_alive_interval(SOON).http2_keep_alive_timeout(SOON)
        };
        assert_eq!(sent_to_nobody(keeps_alive).await, Some(Failure::Unanswered));
        assert_eq!(sent_to_nobody(|http| http.timeout(SOON)).await, None);
        assert_eq!(sent_to_nobody(|http| http.read_timeout(SOON)).await, None);
    }
}
