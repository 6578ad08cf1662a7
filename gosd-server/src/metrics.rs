//! The server's metrics, in the text format of Prometheus.
//!
//! Requests are counted when they end. All other values are read from their owners when the metrics are
//! requested, so that they cost nothing otherwise.

use std::sync::atomic::AtomicU64;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::extract::MatchedPath;
use axum::http::Method;
use axum::response::Response;
use prometheus_client::encoding::prometheus_text;
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

use crate::problem::Refusal;
use crate::shared::Shared;

pub(crate) use prometheus_text::CONTENT_TYPE;

/// The routes that metrics distinguish. A mounted router has a prefix before them.
const ROUTES: [&str; 7] = [
    "/health",
    "/metrics",
    "/v1/namespaces",
    "/v1/{namespace}/events",
    "/v1/{namespace}/instances",
    "/v1/{namespace}/instances/{id}",
    "/v1/{namespace}/prometheus",
];

/// The metrics that are counted; see [`text`](Self::text) for the others.
pub(crate) struct Metrics {
    requests: Family<Request, Counter>,
    seconds: Family<Route, Histogram>,
    refusals: Family<Reason, Counter>,
    started_at: SystemTime,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Request {
    route: &'static str,
    method: &'static str,
    status: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Route {
    route: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Reason {
    reason: Refusal,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Namespace {
    namespace: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Change {
    namespace: String,
    event: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Version {
    version: &'static str,
}

impl EncodeLabelValue for Refusal {
    fn encode(
        &self,
        encoder: &mut prometheus_client::encoding::LabelValueEncoder<'_>,
    ) -> Result<(), std::fmt::Error> {
        self.name().encode(encoder)
    }
}

impl Metrics {
    pub(crate) fn new() -> Self {
        // From a quarter of a millisecond to the bound of a call.
        let buckets = || Histogram::new(exponential_buckets(0.000_25, 4.0, 8));
        let refusals = Family::<Reason, Counter>::default();
        for reason in Refusal::ALL {
            // The series exists from the start, so that its first increment is visible as a change from zero.
            drop(refusals.get_or_create(&Reason { reason }));
        }
        Self {
            requests: Family::default(),
            seconds: Family::new_with_constructor(buckets),
            refusals,
            started_at: SystemTime::now(),
        }
    }

    /// Counts a request that was answered after this time.
    pub(crate) fn count(
        &self,
        path: Option<&MatchedPath>,
        method: &Method,
        answer: &Response,
        after: Duration,
    ) {
        let path = path.map_or("", MatchedPath::as_str);
        let route = ROUTES.into_iter().find(|route| path.ends_with(route)).unwrap_or("other");
        // A method that clients invent must not become a label.
        let known = [Method::GET, Method::HEAD, Method::PUT, Method::DELETE];
        let name = ["GET", "HEAD", "PUT", "DELETE"];
        let method = known.iter().position(|known| known == method).map_or("other", |n| name[n]);
        let status = answer.status().as_u16();
        self.requests.get_or_create(&Request { route, method, status }).inc();
        self.seconds.get_or_create(&Route { route }).observe(after.as_secs_f64());
        if let Some(&reason) = answer.extensions().get::<Refusal>() {
            self.refusals.get_or_create(&Reason { reason }).inc();
        }
    }

    /// All metrics in the text format of Prometheus.
    pub(crate) fn text(&self, shared: &Shared) -> Result<String, std::fmt::Error> {
        let mut registry = Registry::with_prefix("gosd_server");
        let version = Info::new(Version { version: env!("CARGO_PKG_VERSION") });
        registry.register("build", "The version of the server", version);
        let started_at = self.started_at.duration_since(UNIX_EPOCH).unwrap_or_default();
        registry.register_with_unit(
            "start_time",
            "When it started, since the beginning of 1970",
            Unit::Seconds,
            seconds(started_at),
        );
        let help = "Requests that were answered; those of events when their stream begins";
        registry.register("requests", help, self.requests.clone());
        let help = "The time until a request was answered; for events, until their stream begins";
        registry.register_with_unit("request_duration", help, Unit::Seconds, self.seconds.clone());
        registry.register("refusals", "Requests that were refused, by why", self.refusals.clone());
        clients(&mut registry, shared);
        namespaces(&mut registry, shared);
        let mut text = String::new();
        prometheus_text::encode(&mut text, &registry)?;
        Ok(text)
    }
}

fn clients(registry: &mut Registry, shared: &Shared) {
    let limits = &shared.settings.limits;
    registry.register("watchers", "Streams of events", count(shared.clients.watchers()));
    registry.register("watchers_limit", "How many there may be", count(limits.watchers));
    // Mounted routes accept no connections themselves.
    let Some(connections) = shared.connections.get() else { return };
    let now = connections.counts();
    registry.register("connections", "Connections", count(now.open));
    registry.register("connections_limit", "How many there may be", count(now.most));
    let help = "Connections that were closed at once, since their client had too many";
    registry.register("connections_refused", help, counter(now.refused));
    let help = "Connections by which no request was let in, closed for the sake of new ones";
    registry.register("connections_evicted", help, counter(now.evicted));
}

fn namespaces(registry: &mut Registry, shared: &Shared) {
    let open = count(shared.namespaces.count());
    registry.register("namespaces", "Namespaces that are open, to read or to write", open);
    let limit = count(shared.settings.limits.instances);
    registry.register("instances_limit", "How many there may be in a namespace", limit);
    let instances = Family::<Namespace, Gauge>::default();
    let contact = Family::<Namespace, Gauge>::default();
    let ages = Family::<Namespace, Gauge<f64, AtomicU64>>::default();
    let losses = Family::<Namespace, Counter>::default();
    let changes = Family::<Change, Counter>::default();
    for (name, feed) in shared.namespaces.vital() {
        let vitals = feed.vitals();
        let namespace = Namespace { namespace: name.clone() };
        instances.get_or_create(&namespace).set(as_gauge(vitals.instances));
        contact.get_or_create(&namespace).set(vitals.is_in_contact.into());
        ages.get_or_create(&namespace).set(vitals.without_contact.as_secs_f64());
        losses.get_or_create(&namespace).inc_by(vitals.losses);
        for (event, n) in vitals.changes {
            let change = Change { namespace: name.clone(), event };
            changes.get_or_create(&change).inc_by(n);
        }
    }
    registry.register("instances", "Instances that are registered", instances);
    let help = "Whether the database is in contact, and takes writes";
    registry.register("backend_up", help, contact);
    let help = "How long the database has been out of contact; 0 while it is not";
    registry.register_with_unit("backend_contact_age", help, Unit::Seconds, ages);
    registry.register("backend_losses", "How often contact with the database was lost", losses);
    registry.register("events", "Changes that watchers were told of", changes);
}

fn count(n: usize) -> Gauge {
    let gauge = Gauge::default();
    gauge.set(as_gauge(n));
    gauge
}

fn as_gauge(n: usize) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

fn counter(n: u64) -> Counter {
    let counter = Counter::default();
    counter.inc_by(n);
    counter
}

fn seconds(time: Duration) -> Gauge<f64, AtomicU64> {
    let gauge = Gauge::default();
    gauge.set(time.as_secs_f64());
    gauge
}
