//! `SendBy`, for requests of a plain reqwest client.

use gosd_core::{Client, ErrorKind, Turn};
use reqwest::{RequestBuilder, Response};

use crate::Error;
use crate::send::{Transport, send, turn};
use crate::target::Target;

/// Sends a request to an instance of the service that its URL names, `gosd://NAME/path?query`.
///
/// The path is appended to that of the instance's own URL, whose scheme decides whether TLS is used. The
/// certificate, cookies and the header `Host` are the instance's.
///
/// ```no_run
/// # async fn find() -> Result<(), Box<dyn std::error::Error>> {
/// use std::time::Duration;
/// use gosd_reqwest::SendBy;
///
/// # let driver = std::sync::Arc::new(gosd_core::Memory::new());
/// let gosd = gosd_core::Client::builder(driver).start().await?;
/// let http = reqwest::Client::builder().no_proxy().build()?;
/// let order = http.get("gosd://orders/7").timeout(Duration::from_secs(1)).send_by(&gosd).await?;
/// # Ok(())
/// # }
/// ```
pub trait SendBy: Sized {
    /// Sends the request to the next instance in turn, after waiting for one to appear, and on failure to
    /// other instances by the rules on the [front page](crate#when-an-instance-fails).
    ///
    /// The request's own timeout holds for all of that together. A timeout of the client holds for each
    /// attempt, and not for the wait.
    ///
    /// Cancel-safe as far as a request can be: whether the server has acted on it is unknown.
    ///
    /// # Errors
    ///
    /// [`Error::Lookup`] as for [`Client::next`], or if the URL names no service; [`Error::Http`] of the last
    /// attempt. An answer is no error, whatever its status.
    fn send_by(self, gosd: &Client) -> impl Future<Output = Result<Response, Error>> + Send;

    /// Sends by a turn that was taken beforehand, such as one of
    /// [`Client::service_where`], for a zone or a canary. The name in the URL has to be that of the
    /// turn's service.
    ///
    /// ```no_run
    /// # async fn find() -> Result<(), Box<dyn std::error::Error>> {
    /// use gosd_reqwest::SendBy;
    ///
    /// # let driver = std::sync::Arc::new(gosd_core::Memory::new());
    /// let gosd = gosd_core::Client::builder(driver).start().await?;
    /// let http = reqwest::Client::new();
    /// let mut near = gosd
    ///     .service_where("orders", |it| it.metadata().get("zone").is_some_and(|zone| zone == "b"))
    ///     .or_else_all();
    /// let turn = near.turn().ok_or("no orders")?;
    /// let order = http.get("gosd://orders/7").send_by_turn(turn).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// As for [`send_by`](Self::send_by), without the wait.
    fn send_by_turn(self, turn: Turn) -> impl Future<Output = Result<Response, Error>> + Send;
}

impl SendBy for RequestBuilder {
    async fn send_by(self, gosd: &Client) -> Result<Response, Error> {
        let (client, request) = self.build_split();
        let mut request = request?;
        let target = Target::of(request.url())?;
        let turn = turn(gosd, &target, &mut request).await?;
        send(Plain(client), request, &target, turn).await
    }

    async fn send_by_turn(self, turn: Turn) -> Result<Response, Error> {
        let (client, request) = self.build_split();
        let request = request?;
        let target = Target::of(request.url())?;
        let service = turn.instance().service();
        if service != target.service {
            let message = format!(
                "the turn is of {service:?}, and the URL is of {:?}; name the same in both",
                target.service
            );
            return Err(gosd_core::Error::new(ErrorKind::Config, message).into());
        }
        send(Plain(client), request, &target, turn).await
    }
}

struct Plain(reqwest::Client);

impl Transport for Plain {
    type Error = Error;

    async fn send(&mut self, request: reqwest::Request) -> Result<Response, Error> {
        self.0.execute(request).await.map_err(Error::Http)
    }

    fn unusable(error: gosd_core::Error) -> Error {
        Error::Lookup(error)
    }

    fn error(error: &Error) -> Option<&reqwest::Error> {
        match error {
            Error::Http(error) => Some(error),
            Error::Lookup(_) => None,
        }
    }
}
