//! Connections to a cluster: the choice of a member, whether it can serve, and the diagnosis of failures.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use etcd_client::{Client, KvClient, WatchClient};
use gosd_core::{Error, ErrorKind, Result};
use gosd_net::tls::is_spoken_by;
use gosd_net::{Fault, Tls, race};
use tokio::time::timeout;
use tracing::debug;

use crate::options::Options;
use crate::session::Session;
use crate::{channel, error};

/// How long the connection to one member and its first answer may take.
const CONNECT: Duration = Duration::from_secs(2);
/// How long a member may be silent before the next one is asked, too.
const PATIENCE: Duration = Duration::from_millis(500);
/// The oldest version whose watches answer progress requests.
const OLDEST: (u32, u32) = (3, 4);
/// The largest message of gRPC, because the whole registry is one reply.
const LARGEST_REPLY: usize = i32::MAX as usize;

/// Makes connections for one URL, with one token.
#[derive(Clone)]
pub(crate) struct Cluster {
    pub(crate) options: Arc<Options>,
    pub(crate) session: Arc<Session>,
    /// `None` for plain connections.
    tls: Option<Arc<Tls>>,
}

impl Cluster {
    pub(crate) fn new(options: Options) -> Result<Self> {
        let options = Arc::new(options);
        let tls = options.tls.clone().map(|files| Tls::new(files, &[b"h2"])).transpose()?;
        let session = Arc::new(Session::new(options.clone()));
        Ok(Self { options, session, tls: tls.map(Arc::new) })
    }

    /// Connects to one of the members, asking each of them once at most, and gets a token if necessary.
    ///
    /// A member without a leader refuses to answer, so a member that is cut off from the others is passed
    /// over.
    pub(crate) async fn open(&self) -> Result<Client> {
        let client = self.reach().await?;
        Box::pin(self.session.authenticate(&client)).await?;
        Ok(client)
    }

    /// Makes a call, and repeats it with a new token if the server refuses the one that was sent.
    pub(crate) async fn authorized<T, F>(
        &self,
        client: &Client,
        call: impl Fn(Client) -> F,
    ) -> Result<T, Fault>
    where
        F: Future<Output = Result<T, etcd_client::Error>>,
    {
        let token = self.session.token();
        let mut result = Box::pin(call(client.clone())).await;
        if let Err(error) = &result
            && token.is_some()
            && error::is_of_token(error)
        {
            debug!(%error, "getting another token");
            self.session.refused(token.as_ref());
            Box::pin(self.session.authenticate(client)).await?;
            result = Box::pin(call(client.clone())).await;
        }
        result.map_err(|error| error::fault(&error, &self.options))
    }

    async fn reach(&self) -> Result<Client> {
        let mut members: Vec<&String> = self.options.hosts.iter().collect();
        // In random order, so that clients spread, and a member that does not answer delays only some
        // attempts, and these only for a moment.
        fastrand::shuffle(&mut members);
        let failures = Mutex::new(Vec::new());
        let reached = race(members, PATIENCE, |member| {
            let (met, failures) = (Box::pin(self.meet(member)), &failures);
            async move {
                let failed = |failure| {
                    let mut failures = failures.lock().unwrap_or_else(PoisonError::into_inner);
                    failures.push((member, failure));
                };
                met.await.map_err(failed)
            }
        });
        if let Ok(client) = reached.await {
            return Ok(client);
        }
        let failures = failures.into_inner().unwrap_or_else(PoisonError::into_inner);
        let all: Vec<String> =
            failures.iter().map(|(member, failure)| format!("{member}: {failure}")).collect();
        let all = all.join("; ");
        // A refusal says more than a timeout, so it is the error to report.
        Err(match failures.iter().find(|(_, failure)| !failure.is_retryable()) {
            Some((_, refusal)) => Error::new(refusal.kind(), all),
            None => Error::new(ErrorKind::Unavailable, format!("{all}; does etcd run there?")),
        })
    }

    /// Connects to a member, or says why that fails.
    async fn meet(&self, member: &str) -> Result<Client> {
        let dial = self.dial(member, self.tls.clone(), self.session.clone());
        let failure = match timeout(CONNECT, Box::pin(dial)).await {
            Ok(Ok(client)) => return Ok(client),
            Ok(Err(failure)) => failure,
            Err(_) => Error::new(ErrorKind::Timeout, format!("no answer within {CONNECT:?}")),
        };
        let explained = match failure.is_retryable() {
            true => timeout(CONNECT, self.explain(member)).await.ok().flatten(),
            false => None,
        };
        Err(explained.unwrap_or(failure))
    }

    /// Connects to a member, and asks for its version.
    async fn dial(
        &self,
        member: &str,
        tls: Option<Arc<Tls>>,
        session: Arc<Session>,
    ) -> Result<Client> {
        let client = channel::open(member, tls, session).await?;
        let status = match client.maintenance_client().status().await {
            Ok(status) => status,
            // The member is alive, and wants a token first.
            Err(error) if error::is_of_access(&error) => return Ok(client),
            Err(error) => return Err(error::from_etcd(&error, &self.options)),
        };
        match version(status.version()) {
            Some(version) if version < OLDEST => Err(Error::new(
                ErrorKind::Unsupported,
                format!("it is etcd {}; gosd needs 3.4 or later", status.version()),
            )),
            _ => Ok(client),
        }
    }

    /// Finds out whether the URL is the cause of a failed connection.
    async fn explain(&self, member: &str) -> Option<Error> {
        let (host, port) = channel::split(member)?;
        let wrong_scheme = |message: &str| Some(Error::new(ErrorKind::Config, message));
        let Some(tls) = &self.tls else {
            return match is_spoken_by(&host, port).await {
                true => wrong_scheme("the server speaks TLS; the scheme of its URL is etcds"),
                false => None,
            };
        };
        if let Some(refusal) = tls.refusal(&host, port).await {
            return Some(refusal);
        }
        // The token of the real session must not be sent where others can listen.
        let nobody = Arc::new(Session::new(self.options.clone()));
        match self.dial(member, None, nobody).await {
            Ok(_) => wrong_scheme("the server does not speak TLS; the scheme of its URL is etcd"),
            Err(_) => None,
        }
    }
}

/// Reads of the registry are larger than the client library accepts by default.
pub(crate) fn kv(client: &Client) -> KvClient {
    client.kv_client().max_decoding_message_size(LARGEST_REPLY)
}

/// The same for watches.
pub(crate) fn watch(client: &Client) -> WatchClient {
    client.watch_client().max_decoding_message_size(LARGEST_REPLY)
}

fn version(text: &str) -> Option<(u32, u32)> {
    let mut numbers = text.split('.').map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions() {
        for (text, old) in
            [("2.3.8", true), ("3.3.27", true), ("3.4.0", false), ("3.10.1-rc", false), ("", false)]
        {
            assert_eq!(version(text).is_some_and(|version| version < OLDEST), old, "{text}");
        }
    }
}
