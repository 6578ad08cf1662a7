//! The bodies of registrations, and the rules for them.

use std::collections::BTreeMap;
use std::error::Error as StdError;
use std::time::Duration;

use axum::body::{HttpBody, to_bytes};
use axum::extract::Request;
use axum::http::StatusCode;
use axum::http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use bytes::Bytes;
use gosd_core::Instance;
use http_body_util::LengthLimitError;
use serde::Deserialize;
use serde_json::Value;
use tokio::time::timeout;

use crate::limits::Limits;
use crate::problem::Problem;

/// The shortest lease.
const LEAST_LEASE: Duration = Duration::from_secs(1);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Registration {
    instance: Registered,
    /// JSON does not distinguish integers from other numbers.
    lease_ms: f64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Registered {
    id: String,
    service: String,
    url: String,
    #[serde(default)]
    metadata: BTreeMap<String, String>,
}

/// Reads the instance and the lease, and checks them.
pub(crate) async fn read(
    request: Request,
    limits: &Limits,
) -> Result<(Instance, Duration), Problem> {
    let body = body(request, limits).await?;
    let bad = |status, error| Problem::new(status, format!("the body cannot be read: {error}"));
    let json: Value = serde_json::from_slice(&body)
        .map_err(|error| bad(StatusCode::BAD_REQUEST, error.to_string()))?;
    // Serde would accept an array as an object.
    let read = if json["instance"].is_object() {
        Registration::deserialize(json).map_err(|error| error.to_string())
    } else {
        Err("expected an object with an object `instance`".to_owned())
    };
    let read = read.map_err(|error| bad(StatusCode::UNPROCESSABLE_ENTITY, error))?;
    let Registered { id, service, url, metadata } = read.instance;
    let instance = Instance::from_parts(id.into(), &service, &url, metadata);
    // A negative number becomes zero.
    let lease = Duration::from_millis(read.lease_ms as u64);
    let unprocessable = |detail| Problem::new(StatusCode::UNPROCESSABLE_ENTITY, detail);
    instance.check().map_err(|error| unprocessable(error.to_string()))?;
    if matches!(instance.id().as_str(), "." | "..") {
        return Err(unprocessable("the id . or .. cannot be a part of a path".into()));
    }
    if !(LEAST_LEASE..=limits.lease).contains(&lease) || read.lease_ms.fract() != 0.0 {
        let (least, most) = (LEAST_LEASE.as_millis(), limits.lease.as_millis());
        return Err(unprocessable(format!("lease_ms is a whole number of {least} to {most}")));
    }
    Ok((instance, lease))
}

/// Reads a body that is declared as JSON, and is not too long.
async fn body(request: Request, limits: &Limits) -> Result<Bytes, Problem> {
    let headers = request.headers();
    let media_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let media_type = media_type.and_then(|value| value.split(';').next()).unwrap_or_default();
    if !media_type.trim().eq_ignore_ascii_case("application/json")
        || headers.contains_key(CONTENT_ENCODING)
    {
        return Err(Problem::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "the body must be application/json, uncompressed",
        ));
    }
    let limit = limits.body;
    let too_long = || {
        let detail = format!("a body has at most {limit} bytes");
        Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, detail))
    };
    // Refused by its `Content-Length`, so that a client that sends `Expect: 100-continue` never sends the
    // body.
    if request.body().size_hint().lower() > limit as u64 {
        return too_long();
    }
    match timeout(limits.patience, to_bytes(request.into_body(), limit)).await {
        Ok(Ok(body)) => Ok(body),
        Ok(Err(error)) if is_too_long(&error) => too_long(),
        Ok(Err(_)) => Err(Problem::new(StatusCode::BAD_REQUEST, "the body broke off")),
        Err(_) => Err(Problem::new(StatusCode::REQUEST_TIMEOUT, "the body did not come")),
    }
}

fn is_too_long(error: &axum::Error) -> bool {
    let mut source = StdError::source(error);
    while let Some(error) = source {
        if error.is::<LengthLimitError>() {
            return true;
        }
        source = error.source();
    }
    false
}
