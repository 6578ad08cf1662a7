//! The middleware for clients of reqwest-middleware 0.5.

use async_trait::async_trait;
use gosd_core::Client;
use http::Extensions;
use reqwest::{Request, Response};
use reqwest_middleware::{Error, Middleware, Next, Result};

use crate::send::{Transport, send, turn};
use crate::target::{Target, is_of_service};

/// A middleware that sends requests for `gosd://NAME/path?query` to the instances of that service, as
/// [`SendBy`](crate::SendBy) does. It passes all other requests on unchanged.
///
/// The middlewares after it see each attempt, with the instance's URL. A middleware that retries belongs
/// before it, because after it a retry would go to the same instance; each retry then takes a new turn.
///
/// An error of the lookup is [`Error::Middleware`] with a [`gosd_core::Error`] in it.
///
/// ```no_run
/// # async fn find() -> Result<(), Box<dyn std::error::Error>> {
/// # let driver = std::sync::Arc::new(gosd_core::Memory::new());
/// let gosd = gosd_core::Client::builder(driver).start().await?;
/// let http = reqwest_middleware::ClientBuilder::new(reqwest::Client::new())
///     .with(gosd_reqwest::Balance::new(gosd))
///     .build();
/// let order = http.get("gosd://orders/7").send().await?;
/// # Ok(())
/// # }
/// ```
#[cfg_attr(docsrs, doc(cfg(feature = "middleware")))]
#[derive(Clone)]
pub struct Balance {
    gosd: Client,
}

impl Balance {
    /// Makes the middleware over a client of gosd.
    pub fn new(gosd: Client) -> Self {
        Self { gosd }
    }
}

impl std::fmt::Debug for Balance {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Balance").finish_non_exhaustive()
    }
}

#[async_trait]
impl Middleware for Balance {
    async fn handle(
        &self,
        mut request: Request,
        extensions: &mut Extensions,
        next: Next<'_>,
    ) -> Result<Response> {
        if !is_of_service(request.url()) {
            return next.run(request, extensions).await;
        }
        let target = Target::of(request.url()).map_err(Error::middleware)?;
        let turn = turn(&self.gosd, &target, &mut request).await.map_err(Error::middleware)?;
        send(Stack { next, extensions }, request, &target, turn).await
    }
}

/// The rest of the stack of middlewares.
struct Stack<'a> {
    next: Next<'a>,
    extensions: &'a mut Extensions,
}

impl Transport for Stack<'_> {
    type Error = Error;

    async fn send(&mut self, request: Request) -> Result<Response> {
        self.next.clone().run(request, self.extensions).await
    }

    fn unusable(error: gosd_core::Error) -> Error {
        Error::middleware(error)
    }

    fn error(error: &Error) -> Option<&reqwest::Error> {
        match error {
            Error::Reqwest(error) => Some(error),
            Error::Middleware(_) => None,
        }
    }
}
