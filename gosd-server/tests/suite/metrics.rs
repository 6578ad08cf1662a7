//! The server's own metrics, as Prometheus reads them.

use std::collections::HashMap;
use std::io::Write;
use std::process::{Command, Stdio};
use std::sync::Arc;

use futures_util::StreamExt;
use gosd_core::{Driver, ErrorKind, Memory};
use gosd_server::{Limits, Server, Settings};
use gosd_testkit::{Fault, Faulty};
use tokio::time::timeout;

use super::support::{LATE, LEASE, ask, http, instance, memory, open, registration, start, url};

const TOKEN: &str = "sesame-sesame-sesame";
const EYE: &str = "only-for-looking-at-it";

async fn text(server: &Server, token: &str) -> String {
    let answer = http().get(url(server, "/metrics")).bearer_auth(token).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.headers()["content-type"], "text/plain; version=0.0.4; charset=utf-8");
    answer.text().await.unwrap()
}

/// The values of the metrics, by name and labels.
async fn values(server: &Server) -> HashMap<String, f64> {
    let text = text(server, EYE).await;
    let samples = text.lines().filter(|line| !line.starts_with('#'));
    let value = |line: &str| {
        let (name, value) = line.rsplit_once(' ').unwrap();
        let name = name.strip_prefix("gosd_server_").expect("all have the same prefix");
        (name.to_owned(), value.parse().unwrap())
    };
    samples.map(value).collect()
}

fn tokens() -> Settings {
    Settings::new().token(TOKEN).and_then(|settings| settings.read_only_token(EYE)).unwrap()
}

#[tokio::test]
async fn promtool_accepts_the_metrics() {
    let (server, registry) = memory(tokens()).await;
    registry.register(&instance("mail"), LEASE).await.unwrap();
    for path in ["/v1/gosd/instances", "/v1/gosd/prometheus", "/health", "/nowhere", "/metrics"] {
        ask_any(&server, path).await;
    }
    ask(http().get(url(&server, "/v1/gosd/instances"))).await;
    let text = text(&server, TOKEN).await;
    let mut promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool is there, which is in Debian's package prometheus");
    promtool.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let checked = promtool.wait_with_output().unwrap();
    let said = String::from_utf8([checked.stdout, checked.stderr].concat()).unwrap();
    assert!(checked.status.success() && said.is_empty(), "{said}\n{text}");
}

async fn ask_any(server: &Server, path: &str) {
    let request = http().get(url(server, path)).bearer_auth(TOKEN);
    drop(request.send().await.unwrap().bytes().await.unwrap());
}

#[tokio::test]
async fn requests_and_refusals_are_counted() {
    let mut limits = Limits::default();
    (limits.instances, limits.watchers) = (1, 1);
    let (server, _) = memory(tokens().limits(limits)).await;
    let path = url(&server, "/v1/gosd/instances/mail-1");
    let put = |token: &str| http().put(&path).bearer_auth(token).json(&registration());
    for (request, status) in [
        (put(TOKEN), 204),
        (put(TOKEN), 204),
        (put(EYE), 403),
        (put("a-token-that-is-wrong"), 401),
        (http().get(&path), 401),
        (http().get(&path).bearer_auth(EYE), 200),
        (http().get(url(&server, "/nowhere")).bearer_auth(EYE), 404),
    ] {
        assert_eq!(ask(request).await.status, status);
    }
    let other = serde_json::json!({"instance": {"id": "x", "service": "x", "url": "http://h"},
        "lease_ms": 1000});
    let full = http().put(url(&server, "/v1/gosd/instances/x")).bearer_auth(TOKEN).json(&other);
    assert_eq!(ask(full).await.status, 507);
    let events = || http().get(url(&server, "/v1/gosd/events")).bearer_auth(EYE);
    let stream = events().send().await.unwrap();
    assert_eq!(ask(events()).await.status, 429);

    let found = values(&server).await;
    let one = "route=\"/v1/{namespace}/instances/{id}\"";
    for (name, expected) in [
        (format!("requests_total{{{one},method=\"PUT\",status=\"204\"}}"), 2.0),
        (format!("requests_total{{{one},method=\"GET\",status=\"401\"}}"), 1.0),
        (format!("request_duration_seconds_count{{{one}}}"), 7.0),
        ("requests_total{route=\"other\",method=\"GET\",status=\"404\"}".into(), 1.0),
        ("refusals_total{reason=\"read_only_token\"}".into(), 1.0),
        ("refusals_total{reason=\"bad_token\"}".into(), 1.0),
        ("refusals_total{reason=\"no_token\"}".into(), 1.0),
        ("refusals_total{reason=\"too_many_instances\"}".into(), 1.0),
        ("refusals_total{reason=\"too_many_watchers\"}".into(), 1.0),
        ("refusals_total{reason=\"too_many_requests\"}".into(), 0.0),
        ("watchers".into(), 1.0),
        ("watchers_limit".into(), 1.0),
        ("instances_limit".into(), 1.0),
        ("instances{namespace=\"gosd\"}".into(), 1.0),
        ("namespaces".into(), 1.0),
        ("events_total{namespace=\"gosd\",event=\"put\"}".into(), 1.0),
    ] {
        assert_eq!(found.get(&name), Some(&expected), "{name}: {found:#?}");
    }
    assert!(found["connections"] >= 1.0 && found["connections_limit"] > 1.0, "{found:#?}");
    drop(stream);
    let goes = async { while values(&server).await["watchers"] > 0.0 {} };
    timeout(LATE, goes).await.expect("a watcher that is gone is not counted");
}

#[tokio::test]
async fn the_metrics_show_a_database_out_of_contact() {
    let faulty = Faulty::new(Arc::new(Memory::new()));
    let settings = tokens().namespace("gosd", Arc::new(faulty.clone())).unwrap();
    let server = start(settings).await;
    let of = |values: &HashMap<String, f64>, name: &str| {
        values[&format!("{name}{{namespace=\"gosd\"}}")]
    };
    // The request for the metrics is the first one to this server.
    let first = values(&server).await;
    assert_eq!(of(&first, "backend_up"), 1.0, "{first:#?}");
    assert_eq!(of(&first, "backend_contact_age_seconds"), 0.0);
    assert_eq!(of(&first, "backend_losses_total"), 0.0);

    let mail = instance("mail");
    let driver = open(&format!("http://:{EYE}@{}", server.address())).await;
    let mut watch = driver.watch().unwrap();
    watch.next().await.unwrap().unwrap();
    faulty.register(&mail, LEASE).await.unwrap();
    faulty.deregister(mail.id()).await.unwrap();
    for _ in 0..2 {
        timeout(LATE, watch.next()).await.unwrap().unwrap().unwrap();
    }
    faulty.on_all(Fault::Fail(ErrorKind::Unavailable));
    faulty.end_watches();
    let is_down = async {
        loop {
            let now = values(&server).await;
            if of(&now, "backend_up") == 0.0 && of(&now, "backend_contact_age_seconds") > 0.0 {
                return now;
            }
        }
    };
    let down = timeout(LATE, is_down).await.expect("it shows");
    assert_eq!(of(&down, "backend_losses_total"), 1.0);
    for event in ["put", "remove"] {
        let name = format!("events_total{{namespace=\"gosd\",event=\"{event}\"}}");
        assert_eq!(down[&name], 1.0);
    }
    faulty.clear_all();
    let is_up = async { while of(&values(&server).await, "backend_up") == 0.0 {} };
    timeout(LATE, is_up).await.expect("it is back");
}

/// Without a token no client learns how busy the server is.
#[tokio::test]
async fn a_client_that_may_read_may_read_the_metrics() {
    let (server, _) = memory(tokens()).await;
    assert_eq!(ask(http().get(url(&server, "/metrics"))).await.status, 401);
    assert!(!text(&server, EYE).await.is_empty());
    let (local, _) = memory(Settings::new()).await;
    let rebound = http().get(url(&local, "/metrics")).header("host", "evil.example");
    assert_eq!(ask(rebound).await.status, 403);
}
