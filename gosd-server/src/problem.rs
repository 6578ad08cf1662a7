//! The errors of the API: problem documents (RFC 9457).

use axum::body::Body;
use axum::http::header::{CONNECTION, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use gosd_core::{Error, ErrorKind};
use serde_json::json;

/// An error on its way to a client.
#[derive(Debug)]
pub(crate) struct Problem {
    pub(crate) status: StatusCode,
    detail: String,
    closes: bool,
    refusal: Option<Refusal>,
}

/// Why a well-formed request is refused that the server could serve. The answer carries the reason as an
/// extension, so that it can be counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Refusal {
    NoToken,
    BadToken,
    ReadOnlyToken,
    NotLocal,
    Requests,
    RequestsWithoutToken,
    Watchers,
    Instances,
    Namespaces,
}

impl Refusal {
    pub(crate) const ALL: [Self; 9] = [
        Self::NoToken,
        Self::BadToken,
        Self::ReadOnlyToken,
        Self::NotLocal,
        Self::Requests,
        Self::RequestsWithoutToken,
        Self::Watchers,
        Self::Instances,
        Self::Namespaces,
    ];

    /// The name of the reason in the metrics.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::NoToken => "no_token",
            Self::BadToken => "bad_token",
            Self::ReadOnlyToken => "read_only_token",
            Self::NotLocal => "not_local",
            Self::Requests => "too_many_requests",
            Self::RequestsWithoutToken => "too_many_requests_without_token",
            Self::Watchers => "too_many_watchers",
            Self::Instances => "too_many_instances",
            Self::Namespaces => "too_many_namespaces",
        }
    }

    fn status(self) -> StatusCode {
        match self {
            Self::NoToken | Self::BadToken => StatusCode::UNAUTHORIZED,
            Self::ReadOnlyToken | Self::NotLocal => StatusCode::FORBIDDEN,
            Self::Requests | Self::RequestsWithoutToken | Self::Watchers => {
                StatusCode::TOO_MANY_REQUESTS
            }
            Self::Instances | Self::Namespaces => StatusCode::INSUFFICIENT_STORAGE,
        }
    }
}

impl Problem {
    pub(crate) fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Self { status, detail: detail.into(), closes: false, refusal: None }
    }

    pub(crate) fn refused(refusal: Refusal, detail: impl Into<String>) -> Self {
        Self { refusal: Some(refusal), ..Self::new(refusal.status(), detail) }
    }

    /// Closes the connection after the answer, so that each further such answer costs the client a
    /// connection.
    pub(crate) fn closing(self) -> Self {
        Self { closes: true, ..self }
    }

    /// The backend's error. Its details go to the log, and not to clients.
    pub(crate) fn from_backend(error: &Error) -> Self {
        let status = match error.kind() {
            ErrorKind::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            ErrorKind::Timeout => StatusCode::GATEWAY_TIMEOUT,
            _ => StatusCode::BAD_GATEWAY,
        };
        Self::new(status, format!("the database behind the server failed: {:?}", error.kind()))
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let title = self.status.canonical_reason().unwrap_or("Error");
        let body = json!({
            "type": "about:blank",
            "title": title,
            "status": self.status.as_u16(),
            "detail": self.detail,
        });
        let mut response = Response::new(Body::from(body.to_string()));
        *response.status_mut() = self.status;
        if let Some(refusal) = self.refusal {
            response.extensions_mut().insert(refusal);
        }
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if self.closes {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        match self.status {
            StatusCode::UNAUTHORIZED => {
                headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            }
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
                headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
            }
            _ => {}
        }
        response
    }
}
