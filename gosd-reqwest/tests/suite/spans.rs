//! Tracing: one span for each attempt, with OpenTelemetry's names.

use gosd::Settings;
use gosd_reqwest::SendBy;
use gosd_testservers::{Fields, collect_spans, spans_to};
use reqwest::Url;

use crate::server::{Reply, Server};
use crate::support::{http, nobody, with_settings};

/// The ended attempts at an instance.
fn spans_at(url: &str) -> Vec<Fields> {
    spans_to(Url::parse(url).unwrap().port().unwrap())
}

pub(crate) fn attempts_at(url: &str) -> usize {
    spans_at(url).len()
}

#[tokio::test]
async fn each_attempt_is_a_span() {
    collect_spans();
    let (dead, live) = (nobody(), Server::start(Reply::Status(404)).await);
    let settings = Settings::default().eject_after(0);
    let gosd = with_settings(settings, [dead.clone(), live.url()]).await;
    while attempts_at(&dead) == 0 {
        http().get("gosd://orders/7?key=secret").send_by(&gosd).await.unwrap();
    }
    let (failed, answered) = (&spans_at(&dead)[0], &spans_at(&live.url()).pop().unwrap());
    for (name, value) in [
        ("otel.kind", "client"),
        ("otel.name", "GET"),
        ("http.request.method", "GET"),
        ("server.address", "127.0.0.1"),
        ("url.scheme", "http"),
        ("gosd.service", "orders"),
        ("error.type", "connect"),
        ("otel.status_code", "ERROR"),
    ] {
        assert_eq!(failed.get(name).map(String::as_str), Some(value), "{name}");
    }
    assert_eq!(failed.get("http.request.resend_count"), None);
    assert_eq!(answered["http.request.resend_count"], "1");
    assert_eq!(answered["http.response.status_code"], "404");
    assert_eq!(answered["error.type"], "404");
    assert!(
        gosd.instances("orders").iter().any(|it| it.id().as_str() == answered["gosd.instance"])
    );
    assert!(!format!("{failed:?}{answered:?}").contains("secret"));
}

#[tokio::test]
async fn an_instance_that_is_passed_over_counts_as_no_resend() {
    collect_spans();
    let (dead, live) = (nobody(), Server::start(Reply::Status(200)).await);
    let settings = Settings::default().eject_after(0);
    let unusable = "tcp://127.0.0.1:1".to_owned();
    let gosd = with_settings(settings, [dead.clone(), unusable, live.url()]).await;
    while attempts_at(&dead) == 0 {
        http().get("gosd://orders/").send_by(&gosd).await.unwrap();
    }
    let answered = spans_at(&live.url()).pop().unwrap();
    assert_eq!(answered["http.request.resend_count"], "1");
}
