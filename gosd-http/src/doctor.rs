//! The diagnosis of the server and of what is registered there, for `gosd doctor`.

use std::time::{Duration, SystemTime};

use futures_util::future::join_all;
use gosd_core::{BoxFuture, Error, ErrorKind, Fact, Result};
use http::Method;
use http::header::{DATE, HeaderMap};
use tokio::time::{sleep, timeout};

use crate::connection::{Connection, JSON, LARGEST, read};
use crate::options::Options;
use crate::servers::Servers;
use crate::wire;

/// How long one of several servers may take to answer.
const CALL: Duration = Duration::from_secs(4);

/// How long to look whether a server goes on refusing: longer than a client pauses after a refusal.
const LOOK: Duration = Duration::from_secs(3);

/// The metrics of a server that count what it refuses for its limits.
const REFUSALS: [&str; 3] = [
    r#"gosd_server_refusals_total{reason="too_many_requests"}"#,
    r#"gosd_server_refusals_total{reason="too_many_watchers"}"#,
    "gosd_server_connections_refused_total",
];

/// Finds problems of the servers of a URL and of what they hold, as far as the API shows them. Only the
/// servers know the leases, so `lease` is ignored.
///
/// # Errors
///
/// As for the methods of the driver. Of several servers, one that fails is a fact, unless all fail.
pub fn diagnose(url: &str, _lease: Duration) -> BoxFuture<'_, Result<Vec<Fact>>> {
    Box::pin(async move {
        let servers = Servers::new(Options::parse(url)?)?;
        let all = servers.all().iter().map(async |server| (server.name(), of(server).await));
        let (mut facts, mut failures) = (Vec::new(), Vec::new());
        for (name, found) in join_all(all).await {
            match found {
                // The records are the same behind each of the servers.
                Ok(found) => {
                    let new: Vec<_> =
                        found.into_iter().filter(|fact| !facts.contains(fact)).collect();
                    facts.extend(new);
                }
                Err(error) => failures.push((name, error)),
            }
        }
        if failures.len() == servers.all().len() {
            return Err(servers.failure(&failures));
        }
        facts.extend(failures.into_iter().map(|(name, error)| Fact::Trouble {
            name: "server",
            what: format!("{name} fails, and the other servers stand in for it: {error}"),
            advice: "see whether it runs, and its log; or take it out of the URL".to_owned(),
        }));
        Ok(facts)
    })
}

/// The facts of one server.
async fn of(connection: &Connection) -> Result<Vec<Fact>> {
    let before = SystemTime::now();
    let list = async {
        let response = connection.send(Method::GET, "instances", None, JSON, None).await?;
        let clock = clock(response.headers(), before, SystemTime::now());
        Ok::<_, Error>((clock, read(response, LARGEST).await?))
    };
    let (clock, body) = timeout(CALL, list)
        .await
        .map_err(|_| Error::new(ErrorKind::Timeout, format!("no answer within {CALL:?}")))??;
    let mut facts = Vec::from_iter(clock);
    let text = str::from_utf8(&body)
        .map_err(|error| Error::new(ErrorKind::Data, "the answer is not UTF-8").caused_by(error))?;
    wire::list(text, |error| facts.push(Fact::Unreadable { what: error.to_string() }))?;
    facts.extend(refusals(connection).await);
    Ok(facts)
}

/// What the server refuses at present because too much comes from one address.
async fn refusals(connection: &Connection) -> Option<Fact> {
    let before = refused(&timeout(CALL, connection.metrics()).await.ok()??);
    if before == 0 {
        return None;
    }
    // It may be long ago.
    sleep(LOOK).await;
    let now = refused(&timeout(CALL, connection.metrics()).await.ok()??);
    let since = now.checked_sub(before).filter(|since| *since > 0)?;
    Some(Fact::Trouble {
        name: "limits",
        what: format!(
            "{} refused {since} requests, watchers or connections in {LOOK:?}, because too many came \
             from one address",
            connection.name()
        ),
        advice:
            "if many clients share that address, as behind a NAT or a proxy, start the server with \
                 --clients-per-address"
                .to_owned(),
    })
}

/// How often the server has refused something for its limits, by its metrics.
fn refused(metrics: &str) -> u64 {
    let values = metrics.lines().filter_map(|line| {
        let (name, value) = line.rsplit_once(' ')?;
        REFUSALS.contains(&name).then_some(value)?.parse::<f64>().ok()
    });
    // These are counters.
    values.sum::<f64>() as u64
}

/// The server's clock by the date of its answer, or that of a proxy that has set the date.
fn clock(headers: &HeaderMap, before: SystemTime, after: SystemTime) -> Option<Fact> {
    let date = headers.get(DATE)?.to_str().ok()?;
    let date = httpdate::parse_http_date(date).ok()?;
    let ahead_ms = match date.duration_since(after) {
        Ok(ahead) => millis(ahead),
        Err(behind) => -millis(behind.duration()),
    };
    // The date has no fractions of a second, and servers update it once a second.
    let within = after.duration_since(before).unwrap_or_default() + Duration::from_secs(2);
    Some(Fact::Clock { ahead_ms, within })
}

fn millis(span: Duration) -> i64 {
    i64::try_from(span.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn the_date_of_an_answer_shows_the_clock() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
        for (date, expected) in [
            ("Sun, 09 Sep 2001 01:46:40 GMT", Some(0)),
            ("Sun, 09 Sep 2001 02:46:40 GMT", Some(3_600_000)),
            ("Sun, 09 Sep 2001 01:46:39 GMT", Some(-1_000)),
            ("yesterday", None),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(DATE, HeaderValue::from_static(date));
            let ahead = clock(&headers, now, now).map(|fact| match fact {
                Fact::Clock { ahead_ms, within } if within == Duration::from_secs(2) => ahead_ms,
                other => panic!("{other:?}"),
            });
            assert_eq!(ahead, expected, "{date}");
        }
        assert_eq!(clock(&HeaderMap::new(), now, now), None);
    }
}
