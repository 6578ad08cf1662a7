//! What a trace shows: one span an attempt, by the names of OpenTelemetry.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::{Mutex, MutexGuard, Once, PoisonError};

use gosd::Settings;
use gosd_reqwest::SendBy;
use reqwest::Url;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;

use crate::server::{Reply, Server};
use crate::support::{http, nobody, with_settings};

type Fields = BTreeMap<String, String>;

/// All spans of the process that have ended.
static ENDED: Mutex<Vec<Fields>> = Mutex::new(Vec::new());

fn ended() -> MutexGuard<'static, Vec<Fields>> {
    ENDED.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Collector;

struct Into<'a>(&'a mut Fields);

impl Visit for Into<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.0.insert(field.name().into(), format!("{value:?}").trim_matches('"').into());
    }
}

impl<S: tracing::Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Collector {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let mut fields = Fields::new();
        attributes.record(&mut Into(&mut fields));
        context.span(id).unwrap().extensions_mut().insert(fields);
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        let span = context.span(id).unwrap();
        let mut extensions = span.extensions_mut();
        values.record(&mut Into(extensions.get_mut::<Fields>().unwrap()));
    }

    fn on_close(&self, id: Id, context: Context<'_, S>) {
        let fields = context.span(&id).unwrap().extensions_mut().remove::<Fields>();
        ended().extend(fields);
    }
}

/// Collects the spans of the process from now on.
pub(crate) fn collect() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let subscriber = tracing_subscriber::registry().with(Collector);
        tracing::subscriber::set_global_default(subscriber).unwrap();
    });
}

/// The attempts at an instance that have ended.
fn spans_at(url: &str) -> Vec<Fields> {
    let port = Url::parse(url).unwrap().port().unwrap().to_string();
    ended().iter().filter(|span| span.get("server.port") == Some(&port)).cloned().collect()
}

pub(crate) fn attempts_at(url: &str) -> usize {
    spans_at(url).len()
}

#[tokio::test]
async fn each_attempt_is_a_span() {
    collect();
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
