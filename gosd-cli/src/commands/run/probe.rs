//! Checks whether the command serves: whether its port accepts a connection, or what its health check says.

use std::io;
use std::time::Duration;

use gosd::limits;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use crate::failure::{Failure, USAGE};
use crate::target::{Target, connect, target};

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(3);
/// Where a service listens whose registered address is not its own.
const HERE: [&str; 2] = ["127.0.0.1", "::1"];

pub(super) struct Probe {
    /// The hosts, of which one has to answer.
    hosts: Vec<String>,
    port: u16,
    /// The `Host` and the path of an HTTP request; `None` if a connection is enough.
    request: Option<(String, String)>,
}

impl Probe {
    /// Decides what to check.
    ///
    /// This is the check if that is a URL. Otherwise it is the port at the registered address, so that a
    /// service is not registered at an address on which it does not listen. If the registered address belongs
    /// to a proxy in front of the service, it is the port on this host.
    pub(super) fn new(
        check: Option<&str>,
        port: Option<u16>,
        url: &str,
        is_advertised: bool,
    ) -> Result<Self, Failure> {
        if let Some(check) = check.filter(|check| !check.starts_with('/')) {
            let Some(Target { scheme: "http", host, port, path }) = target(check) else {
                let text = format!(
                    "--check is {}; expected a path such as /health, or a URL with http://",
                    limits::shown(check)
                );
                return Err(Failure::Said(USAGE, text));
            };
            let request = Some((limits::join_host(host, port), path.to_owned()));
            return Ok(Self { hosts: vec![host.to_owned()], port, request });
        }
        let registered = target(url);
        let (hosts, port) = match (registered, port) {
            (_, Some(port)) if is_advertised => (HERE.map(str::to_owned).into(), port),
            (Some(at), Some(port)) if at.port == port => (vec![at.host.to_owned()], port),
            (_, Some(port)) => (HERE.map(str::to_owned).into(), port),
            (Some(at), None) if at.port != 0 => (vec![at.host.to_owned()], at.port),
            (_, None) => {
                let url = limits::shown(url);
                let text =
                    format!("{url} does not say when the service is ready: add --port or --check");
                return Err(Failure::Said(USAGE, text));
            }
        };
        let request = check.map(|path| (limits::join_host(&hosts[0], port), path.to_owned()));
        Ok(Self { hosts, port, request })
    }

    /// Whether the service answers now.
    pub(super) async fn answers(&self) -> bool {
        for host in &self.hosts {
            if matches!(timeout(PATIENCE, self.ask(host)).await, Ok(Ok(true))) {
                return true;
            }
        }
        false
    }

    async fn ask(&self, host: &str) -> io::Result<bool> {
        let mut stream = connect(host, self.port).await?;
        let Some((authority, path)) = &self.request else { return Ok(true) };
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: {authority}\r\nUser-Agent: gosd\r\nConnection: close\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await?;
        let mut status = [0; "HTTP/1.1 200".len()];
        stream.read_exact(&mut status).await?;
        Ok(status.starts_with(b"HTTP/1.") && status[8..10] == *b" 2")
    }

    /// What is checked, as text for a message.
    pub(super) fn describe(&self) -> String {
        match &self.request {
            Some((authority, path)) => format!("http://{authority}{path}"),
            None => limits::join_host(&self.hosts[0], self.port),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(
        check: Option<&str>,
        port: Option<u16>,
        url: &str,
        is_advertised: bool,
    ) -> Option<String> {
        Probe::new(check, port, url, is_advertised).ok().map(|probe| probe.describe())
    }

    #[test]
    fn the_check_follows_from_the_flags_and_the_url() {
        for (check, port, url, is_advertised, expected) in [
            (None, Some(80), "http://10.0.0.7:80", false, Some("10.0.0.7:80")),
            (None, Some(80), "http://[fd00::1]:80", false, Some("[fd00::1]:80")),
            (None, Some(80), "http://outside.example:80", true, Some("127.0.0.1:80")),
            (None, Some(80), "https://outside.example/api", false, Some("127.0.0.1:80")),
            (None, None, "https://u@h/api", false, Some("h:443")),
            (None, None, "mail://h", false, None),
            (
                Some("/up?x=1"),
                Some(80),
                "http://10.0.0.7:80",
                false,
                Some("http://10.0.0.7:80/up?x=1"),
            ),
            (Some("http://h/up#x"), None, "mail://h", false, Some("http://h:80/up")),
            (Some("https://h/up"), Some(80), "http://h:80", false, None),
            (Some("http://h/a b"), Some(80), "http://h:80", false, None),
            (Some("up"), Some(80), "http://h:80", false, None),
        ] {
            let asked = asked(check, port, url, is_advertised);
            assert_eq!(asked.as_deref(), expected, "{check:?} {port:?} {url}");
        }
    }
}
