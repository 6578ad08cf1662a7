//! A request's body that can be taken back if nothing has read it.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use http_body::{Body as HttpBody, Frame, SizeHint};
use tonic::Status;
use tonic::body::Body;

/// A request's body, lent to an attempt.
///
/// tonic's channel takes a request before it knows whether there is a connection, and drops the request if
/// there is none. If the body is dropped before anything has read from it, it returns to its [`Home`].
pub(crate) struct Lent {
    body: Option<Body>,
    is_touched: bool,
    home: Home,
}

/// The place to which a lent body returns.
#[derive(Clone, Default)]
pub(crate) struct Home(Arc<Mutex<Option<Body>>>);

impl Home {
    pub(crate) fn lend(&self, body: Body) -> Lent {
        Lent { body: Some(body), is_touched: false, home: self.clone() }
    }

    /// The body, if it has returned.
    pub(crate) fn take(&self) -> Option<Body> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        if !self.is_touched {
            *self.home.0.lock().unwrap_or_else(PoisonError::into_inner) = self.body.take();
        }
    }
}

impl HttpBody for Lent {
    type Data = <Body as HttpBody>::Data;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Status>>> {
        self.is_touched = true;
        match &mut self.body {
            Some(body) => Pin::new(body).poll_frame(context),
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(HttpBody::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map(HttpBody::size_hint).unwrap_or_default()
    }
}
