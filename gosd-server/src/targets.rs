//! The scrape targets, in the format of Prometheus's `http_sd_configs`.

use std::collections::BTreeMap;

use gosd_core::{Instance, limits};
use serde::Serialize;

/// The metadata keys for the port and the path of an instance's metrics, if those differ from its URL's.
const PORT: &str = "prometheus.port";
const PATH: &str = "prometheus.path";

/// The target that one instance offers. Its labels are its own, so each instance is a group of one.
#[derive(Serialize)]
struct Group {
    targets: [String; 1],
    labels: BTreeMap<String, String>,
}

/// The JSON of an instance's group; `None` if the instance has nothing to scrape.
pub(crate) fn group(instance: &Instance) -> Option<String> {
    // gosd's own records, such as drains.
    if instance.service().starts_with("gosd.") {
        return None;
    }
    let url = limits::split_url(instance.url())?;
    let (host, port) = limits::split_host(url.address).ok()?;
    let is_tls = url.scheme.eq_ignore_ascii_case("https");
    let of_scheme = match () {
        () if is_tls => Some(443),
        () if url.scheme.eq_ignore_ascii_case("http") => Some(80),
        () => None,
    };
    let metadata = instance.metadata();
    // An invalid port is ignored.
    let said = metadata.get(PORT).and_then(|port| port.parse().ok()).filter(|port| *port > 0);
    let port: u16 = said.or(port).or(of_scheme)?;
    let target = limits::join_host(host, port);
    let path = metadata.get(PATH).map_or("/metrics", String::as_str);
    let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
    let mut labels = BTreeMap::from([
        ("__scheme__".to_owned(), if is_tls { "https" } else { "http" }.to_owned()),
        ("__metrics_path__".to_owned(), path),
        ("__meta_gosd_service".to_owned(), instance.service().to_owned()),
        ("__meta_gosd_id".to_owned(), instance.id().as_str().to_owned()),
        ("__meta_gosd_url".to_owned(), instance.url().to_owned()),
    ]);
    for (key, value) in metadata {
        labels.insert(format!("__meta_gosd_metadata_{}", label(key)), value.clone());
    }
    serde_json::to_string(&Group { targets: [target], labels }).ok()
}

/// A key in which each character that a label's name cannot have is replaced.
fn label(key: &str) -> String {
    key.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn of(service: &str, url: &str, metadata: &[(&str, &str)]) -> Option<Value> {
        let metadata = metadata.iter().map(|(key, value)| ((*key).into(), (*value).into()));
        let instance = Instance::from_parts("x-1".into(), service, url, metadata.collect());
        group(&instance).map(|json| serde_json::from_str(&json).unwrap())
    }

    #[test]
    fn an_instance_is_a_group_with_its_metadata_as_labels() {
        let group = of("orders", "http://10.0.0.7:8885/api", &[("zone", "b"), ("a.b-c é", "\"")]);
        let expected = json!({"targets": ["10.0.0.7:8885"], "labels": {
            "__scheme__": "http",
            "__metrics_path__": "/metrics",
            "__meta_gosd_service": "orders",
            "__meta_gosd_id": "x-1",
            "__meta_gosd_url": "http://10.0.0.7:8885/api",
            "__meta_gosd_metadata_zone": "b",
            "__meta_gosd_metadata_a_b_c__": "\"",
        }});
        assert_eq!(group.unwrap(), expected);
    }

    #[test]
    fn metadata_or_the_url_say_where_the_metrics_are() {
        for (url, metadata, expected) in [
            ("http://h", &[][..], "http h:80 /metrics"),
            ("HTTPS://user:a@h/x?y", &[], "https h:443 /metrics"),
            ("http://[::1]:25?x", &[], "http [::1]:25 /metrics"),
            ("grpc://h:50051", &[], "http h:50051 /metrics"),
            ("amqp://h", &[(PORT, "9100")], "http h:9100 /metrics"),
            ("http://[::1]", &[(PORT, "9100"), (PATH, "/m/x")], "http [::1]:9100 /m/x"),
            ("http://h:1", &[(PORT, "0"), (PATH, "m")], "http h:1 /m"),
            ("http://h:1", &[(PORT, "99999")], "http h:1 /metrics"),
        ] {
            let group = of("mail", url, metadata).unwrap();
            let labels = &group["labels"];
            let (scheme, path) = (&labels["__scheme__"], &labels["__metrics_path__"]);
            let text = |value: &Value| value.as_str().unwrap().to_owned();
            let found = format!("{} {} {}", text(scheme), text(&group["targets"][0]), text(path));
            assert_eq!(found, expected, "{url}");
        }
        for (service, url) in [
            ("mail", "amqp://h"),
            ("mail", "nonsense"),
            ("mail", "http://"),
            ("gosd.drain", "http://h:80"),
        ] {
            assert_eq!(of(service, url, &[]), None, "{url}");
        }
    }
}
