//! What an operator should know of the server and of what is registered there, for `gosd doctor`.

use std::time::{Duration, SystemTime};

use gosd_core::{BoxFuture, Error, ErrorKind, Fact, Result};
use http::Method;
use http::header::{DATE, HeaderMap};

use crate::connection::{Connection, JSON, LARGEST, read};
use crate::options::Options;
use crate::wire;

/// Finds out what is wrong with the server of a URL and with what it holds, as far as the API tells:
/// leases are the server's alone, so `lease` makes no difference here.
///
/// # Errors
///
/// As of the methods of the driver.
pub fn diagnose(url: &str, _lease: Duration) -> BoxFuture<'_, Result<Vec<Fact>>> {
    Box::pin(async move {
        let connection = Connection::new(Options::parse(url)?)?;
        let before = SystemTime::now();
        let response = connection.send(Method::GET, "instances", None, JSON, None).await?;
        let mut facts: Vec<Fact> =
            clock(response.headers(), before, SystemTime::now()).into_iter().collect();
        let body = read(response, LARGEST).await?;
        let text = str::from_utf8(&body).map_err(|error| {
            Error::new(ErrorKind::Data, "the answer is not UTF-8").caused_by(error)
        })?;
        wire::list(text, |error| facts.push(Fact::Unreadable { what: error.to_string() }))?;
        Ok(facts)
    })
}

/// The server's clock by the date of its answer, which is that of a proxy if one has put it there.
fn clock(headers: &HeaderMap, before: SystemTime, after: SystemTime) -> Option<Fact> {
    let date = headers.get(DATE)?.to_str().ok()?;
    let date = httpdate::parse_http_date(date).ok()?;
    let ahead_ms = match date.duration_since(after) {
        Ok(ahead) => millis(ahead),
        Err(behind) => -millis(behind.duration()),
    };
    // The date has no parts of a second, and servers make it once in a second.
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
    fn a_date_tells_the_clock() {
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
