//! The scrape targets, as the API returns them and as a real Prometheus reads them.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use gosd_core::{Driver, ErrorKind, Memory};
use gosd_server::{Server, Settings};
use gosd_testkit::{Fault, Faulty};
use gosd_testservers::{Process, free_port};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::time::timeout;

use super::support::{LATE, LEASE, ask, http, instance, memory, start, url};

/// A server over an SQLite file whose driver fails as a test asks.
struct Place {
    directory: TempDir,
    database: Faulty,
    server: Server,
}

async fn place() -> Place {
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("gosd.db");
    let sqlite = gosd_sqlite::open(&format!("sqlite:{}", file.display())).await.unwrap();
    let database = Faulty::new(sqlite);
    let settings = Settings::new().namespace("gosd", Arc::new(database.clone())).unwrap();
    Place { directory, database, server: start(settings).await }
}

#[tokio::test]
async fn targets_are_of_all_services_or_of_one() {
    let place = place().await;
    let path = url(&place.server, "/v1/gosd/prometheus");
    let empty = ask(http().get(&path)).await;
    assert_eq!((empty.status, empty.body), (200, json!([])), "nobody is there, which is known");
    let (mail, user) = (instance("mail").with_metadata("zone", "b"), instance("user"));
    place.database.register(&mail, LEASE).await.unwrap();
    place.database.register(&user, LEASE).await.unwrap();
    let all = ask(http().get(&path)).await;
    // Prometheus accepts only this type, with this parameter or without.
    assert_eq!(all.headers["content-type"], "application/json");
    assert_eq!(all.body.as_array().unwrap().len(), 2);
    assert_eq!(all.body[0]["targets"], json!(["10.0.0.7:8885"]));
    assert_eq!(all.body[0]["labels"]["__meta_gosd_metadata_zone"], "b");
    let one = ask(http().get(format!("{path}?service=user"))).await.body;
    assert_eq!(one.as_array().unwrap().len(), 1);
    assert_eq!(one[0]["labels"]["__meta_gosd_id"], user.id().as_str());
    let none = ask(http().get(format!("{path}?service=use"))).await;
    assert_eq!((none.status, none.body), (200, json!([])));
    assert_eq!(ask(http().get(format!("{path}?zone=b"))).await.status, 400);
    assert_eq!(ask(http().get(url(&place.server, "/v1/blue/prometheus"))).await.status, 404);
}

#[tokio::test]
async fn without_contact_the_answer_is_503_and_never_an_empty_list() {
    let place = place().await;
    let path = url(&place.server, "/v1/gosd/prometheus");
    assert_eq!(ask(http().get(&path)).await.status, 200);
    place.database.on_all(Fault::Fail(ErrorKind::Unavailable));
    place.database.end_watches();
    assert_eq!(ask(http().get(&path)).await.status, 503);
    place.database.clear_all();
    let is_back = async { while ask(http().get(&path)).await.status != 200 {} };
    timeout(LATE, is_back).await.expect("contact is back");

    // This server has never had contact.
    let never = Faulty::new(Arc::new(Memory::new()));
    never.on_all(Fault::Fail(ErrorKind::Unavailable));
    let server = start(Settings::new().namespace("gosd", Arc::new(never)).unwrap()).await;
    assert_eq!(ask(http().get(url(&server, "/v1/gosd/prometheus"))).await.status, 503);
}

/// An instance registered in memory before a restart is absent until its next heartbeat.
#[tokio::test]
async fn a_registry_in_memory_that_has_just_started_answers_503() {
    let (server, registry) = memory(Settings::new()).await;
    registry.register(&instance("mail"), LEASE).await.unwrap();
    let answer = ask(http().get(url(&server, "/v1/gosd/prometheus"))).await;
    assert_eq!((answer.status, answer.headers.contains_key("retry-after")), (503, true));
    assert_eq!(ask(http().get(url(&server, "/v1/gosd/instances"))).await.status, 200);
}

/// A real Prometheus, which is asked for its own state.
struct Prometheus {
    url: String,
    _process: Process,
}

impl Prometheus {
    /// Starts a Prometheus that requests its targets every second.
    async fn start(place: &Place) -> Self {
        let directory = place.directory.path();
        let (config, data) = (directory.join("prometheus.yml"), directory.join("data"));
        let sd = url(&place.server, "/v1/gosd/prometheus");
        let text = format!(
            "scrape_configs:\n- job_name: gosd\n  scrape_interval: 1s\n  http_sd_configs:\n  - url: {sd}\n    \
             refresh_interval: 1s\n  relabel_configs:\n  - source_labels: [__meta_gosd_service]\n    \
             target_label: service\n"
        );
        fs::write(&config, text).unwrap();
        let address = format!("127.0.0.1:{}", free_port());
        // Prometheus logs to standard error.
        let command = format!(
            "exec prometheus --config.file={} --storage.tsdb.path={} --web.listen-address={address} 2>&1",
            config.display(),
            data.display()
        );
        let ready = "Server is ready to receive web requests";
        let process = Process::start("sh", "prometheus", ["-c", &command], ready).await;
        Self { url: format!("http://{address}"), _process: process }
    }

    async fn get(&self, path: &str) -> String {
        http().get(format!("{}{path}", self.url)).send().await.unwrap().text().await.unwrap()
    }

    /// The services and URLs of its targets, in order.
    async fn targets(&self) -> Vec<(String, String)> {
        let answer: Value = serde_json::from_str(&self.get("/api/v1/targets").await).unwrap();
        let active = answer["data"]["activeTargets"].as_array().unwrap();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let mut targets: Vec<_> = active
            .iter()
            .map(|target| (text(&target["labels"]["service"]), text(&target["scrapeUrl"])))
            .collect();
        targets.sort_unstable();
        targets
    }

    async fn until_targets_are(&self, expected: &[(&str, &str)]) {
        let expected: Vec<_> = expected.iter().map(|(a, b)| ((*a).into(), (*b).into())).collect();
        let mut last = Vec::new();
        let are = async {
            while last != expected {
                last = self.targets().await;
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        let are = timeout(LATE, are).await;
        assert!(are.is_ok(), "{last:?}");
    }

    /// How many of its requests for targets were refused.
    async fn refusals(&self) -> u64 {
        let metrics = self.get("/metrics").await;
        let line = metrics.lines().find(|l| l.starts_with("prometheus_sd_http_failures_total "));
        line.unwrap().split(' ').nth(1).unwrap().parse().unwrap()
    }

    async fn until_refused_twice_more(&self) {
        let before = self.refusals().await;
        let refused = async {
            while self.refusals().await < before + 2 {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        timeout(LATE, refused).await.expect("it asks each second");
    }
}

#[tokio::test]
async fn a_real_prometheus_keeps_its_targets_over_every_outage() {
    let place = place().await;
    let (mail, user) = (instance("mail"), instance("user"));
    let user = user.with_metadata("prometheus.port", "9100").with_metadata("prometheus.path", "/m");
    let drain = gosd_core::Instance::drain_of(mail.id());
    for one in [&mail, &user, &drain] {
        place.database.register(one, LEASE).await.unwrap();
    }
    let prometheus = Prometheus::start(&place).await;
    let mails = ("mail", "http://10.0.0.7:8885/metrics");
    let both = [mails, ("user", "http://10.0.0.7:9100/m")];
    prometheus.until_targets_are(&both).await;

    // Contact with the database is lost.
    place.database.on_all(Fault::Fail(ErrorKind::Unavailable));
    place.database.end_watches();
    prometheus.until_refused_twice_more().await;
    prometheus.until_targets_are(&both).await;
    place.database.clear_all();
    // Contact is back, and a goodbye counts.
    place.database.deregister(user.id()).await.unwrap();
    prometheus.until_targets_are(&[mails]).await;
    // The server ends.
    drop(place.server);
    prometheus.until_refused_twice_more().await;
    prometheus.until_targets_are(&[mails]).await;
}
