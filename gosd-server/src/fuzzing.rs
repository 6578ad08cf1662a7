//! The entry points of the fuzz targets; compiled only with `--cfg fuzzing`.

use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use axum::http::header::CONTENT_TYPE;
use gosd_core::Instance;

use crate::Limits;
use crate::registration;

/// The instance and the lease that a body registers, if the server accepts it. Needs a tokio runtime with
/// time.
pub async fn register(body: &[u8]) -> Option<(Instance, Duration)> {
    let request = Request::put("/").header(CONTENT_TYPE, "application/json");
    let request = request.body(Body::from(body.to_vec())).expect("a good request");
    registration::read(request, &Limits::default()).await.ok()
}
