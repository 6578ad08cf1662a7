//! The channel for generated clients, which chooses an instance for each call.

use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll};

use gosd_core::{BoxFuture, Client};
use http::{Request, Response};
use tonic::Status;
use tonic::body::Body;
use tonic::transport::Endpoint;
use tower_service::Service;

use crate::call::call;
use crate::senders::Senders;

/// A gRPC channel over instances of a service, for any generated client; see [`channel`] and [`channel_of`].
///
/// Cheap to clone; clones share their connections.
#[derive(Clone)]
pub struct Channel {
    gosd: Client,
    service: gosd_core::Service,
    senders: Arc<Senders>,
}

/// A gRPC channel over all instances of a service: each call takes the next turn.
///
/// A call waits for the service as [`Client::next`] does, and then fails as `UNAVAILABLE`. An instance
/// that cannot be reached within three seconds is passed over before anything is sent; for the other rules see
/// the [front page](crate#when-an-instance-fails). The channel keeps the client's background work running.
///
/// ```
/// # async fn find() -> Result<(), Box<dyn std::error::Error>> {
/// # let driver = std::sync::Arc::new(gosd_core::Memory::new());
/// use tonic_health::pb::health_client::HealthClient;
///
/// let gosd = gosd_core::Client::builder(driver).start().await?;
/// let mail = HealthClient::new(gosd_tonic::channel(&gosd, "mail"));
/// # Ok(())
/// # }
/// ```
pub fn channel(gosd: &Client, service: &str) -> Channel {
    channel_of(gosd, gosd.service(service))
}

/// A gRPC channel over the instances that a handle of this client has turns of, such as those of one zone: each
/// call takes the handle's next turn. All else is as for [`channel`].
///
/// ```
/// # fn make(gosd: gosd_core::Client) {
/// use tonic_health::pb::health_client::HealthClient;
///
/// let near = gosd
///     .service_where("mail", |it| it.metadata().get("zone").is_some_and(|zone| zone == "b"))
///     .or_else_all();
/// let mail = HealthClient::new(gosd_tonic::channel_of(&gosd, near));
/// # }
/// ```
pub fn channel_of(gosd: &Client, service: gosd_core::Service) -> Channel {
    let senders = Arc::new(Senders::new(Arc::new(|endpoint| endpoint)));
    Channel { gosd: gosd.clone(), service, senders }
}

impl Channel {
    /// Configures each instance's endpoint: TLS, timeouts, keep-alive. From here on the channel has
    /// connections of its own.
    ///
    /// For a certificate that names the service, set `ClientTlsConfig::domain_name`. The scheme of the
    /// instance's URL decides whether TLS is used. A `connect_timeout` takes the place of the three seconds, and
    /// bounds TCP and TLS together. `Endpoint::local_address`, and endpoints of Unix sockets, have no effect,
    /// because tonic does not let gosd, which connects by itself, read them.
    ///
    /// ```
    /// # fn make(gosd: gosd_core::Client) {
    /// use std::time::Duration;
    ///
    /// let mail = gosd_tonic::channel(&gosd, "mail")
    ///     .endpoint(|endpoint| endpoint.http2_keep_alive_interval(Duration::from_secs(10)));
    /// # }
    /// ```
    #[must_use]
    pub fn endpoint(
        mut self,
        configure: impl Fn(Endpoint) -> Endpoint + Send + Sync + 'static,
    ) -> Self {
        let before = Arc::clone(self.senders.configure());
        let configure = move |endpoint| configure(before(endpoint));
        self.senders = Arc::new(Senders::new(Arc::new(configure)));
        self
    }
}

impl Service<Request<Body>> for Channel {
    type Response = Response<Body>;
    type Error = Status;
    type Future = BoxFuture<'static, Result<Response<Body>, Status>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Status>> {
        // Readiness depends on the instance, which is only chosen with the call.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let Self { gosd, service, senders } = self.clone();
        Box::pin(async move { call(&gosd, service, &senders, request).await })
    }
}

impl fmt::Debug for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Channel").field("service", &self.service.name()).finish_non_exhaustive()
    }
}
