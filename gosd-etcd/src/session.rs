//! Authentication: one token for all connections of a driver.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use etcd_client::Client;
use gosd_core::{Error, ErrorKind, Result};
use gosd_net::Lazy;
use http::HeaderValue;
use tokio::time::{sleep, timeout};

use crate::error;
use crate::options::Options;

/// How long the check of a password may take. etcd makes it expensive on purpose, and does one after another:
/// when a fleet comes back, some clients wait for the checks of all.
const CHECK: Duration = Duration::from_secs(120);
/// How often a member that checks a password is asked whether it is alive, and how long its answer may take.
const ALIVE: Duration = Duration::from_secs(5);

/// The token that etcd issued for the user and the password, once there is one.
///
/// It outlives the connections, because another token costs another check. A check that takes longer than a
/// call may is not given up with the call: the next call goes on waiting for it.
pub(crate) struct Session {
    options: Arc<Options>,
    token: RwLock<Option<HeaderValue>>,
    check: Lazy<HeaderValue>,
}

impl Session {
    pub(crate) fn new(options: Arc<Options>) -> Self {
        Self { options, token: RwLock::new(None), check: Lazy::new() }
    }

    pub(crate) fn options(&self) -> &Options {
        &self.options
    }

    /// The token to send along, if there is one.
    pub(crate) fn token(&self) -> Option<HeaderValue> {
        self.token.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Gets a token, unless there is one or none is needed.
    pub(crate) async fn authenticate(&self, client: &Client) -> Result<()> {
        let Some((user, password)) = self.options.credentials.clone() else { return Ok(()) };
        if self.token().is_some() {
            return Ok(());
        }
        let (client, options) = (client.clone(), self.options.clone());
        let check = || async move {
            let mut auth = client.auth_client();
            let answer = tokio::select! {
                answer = timeout(CHECK, auth.authenticate(user, password)) => answer,
                silent = until_silent(client) => return Err(silent),
            };
            let answer = answer.map_err(|_| {
                let message = format!("the password was not checked within {CHECK:?}");
                Error::new(ErrorKind::Timeout, message)
            })?;
            let answer = answer.map_err(|error| error::from_etcd(&error, &options))?;
            let mut token = HeaderValue::try_from(answer.token()).map_err(|_| {
                Error::new(ErrorKind::Data, "the server gave a token that cannot be sent")
            })?;
            token.set_sensitive(true);
            Ok(token)
        };
        let token = self.check.get(check).await?;
        *self.token.write().unwrap_or_else(PoisonError::into_inner) = Some(token);
        Ok(())
    }

    /// Forgets the token that was refused, unless another has replaced it already.
    pub(crate) fn refused(&self, refused: Option<&HeaderValue>) {
        let mut token = self.token.write().unwrap_or_else(PoisonError::into_inner);
        if token.is_some() && token.as_ref() == refused {
            *token = None;
            self.check.forget();
        }
    }
}

/// Ends when a member no longer answers, even while it is checking a password.
async fn until_silent(client: Client) -> Error {
    loop {
        sleep(ALIVE).await;
        // Any answer shows that the member is alive.
        if timeout(ALIVE, client.maintenance_client().status()).await.is_err() {
            let message = format!("the server did not answer within {ALIVE:?}");
            return Error::new(ErrorKind::Timeout, message);
        }
    }
}
