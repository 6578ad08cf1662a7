//! Invalid requests, and how the server refuses them.

use gosd_core::Driver;
use gosd_server::Settings;
use reqwest::Method;
use serde_json::{Value, json};

use super::support::{ask, http, memory, raw, read_until, registration, url};

/// A registration in which one value is replaced.
fn with(pointer: &str, value: Value) -> Value {
    let mut body = registration();
    let (parent, key) = pointer.rsplit_once('/').unwrap();
    body.pointer_mut(parent).unwrap()[key] = value;
    body
}

#[tokio::test]
async fn a_registration_that_breaks_a_rule_is_refused() {
    let (server, registry) = memory(Settings::new()).await;
    let long = |n: usize| json!("x".repeat(n));
    let keys: serde_json::Map<_, _> = (0..33).map(|n| (n.to_string(), json!(""))).collect();
    for (body, status) in [
        (json!(null), 422),
        (json!([]), 422),
        (json!({}), 422),
        (json!([registration()["instance"], 15_000]), 422),
        (with("/instance", json!(["mail-1", "mail", "http://h", {}])), 422),
        (with("/unknown", json!(1)), 422),
        (with("/instance/unknown", json!(1)), 422),
        (with("/instance/id", json!("mail-2")), 409),
        (with("/instance/id", json!("")), 422),
        (with("/instance/id", json!("..")), 422),
        (with("/instance/id", json!("mail-\n")), 422),
        (with("/instance/id", long(201)), 422),
        (with("/instance/service", json!("")), 422),
        (with("/instance/service", json!("a b")), 422),
        (with("/instance/service", json!("a/b")), 422),
        (with("/instance/service", long(129)), 422),
        (with("/instance/url", json!("10.0.0.7:25")), 422),
        (with("/instance/url", json!("http://h\u{0}")), 422),
        (with("/instance/url", json!(format!("http://{}", "x".repeat(2_042)))), 422),
        (with("/instance/metadata", json!({"key": 1})), 422),
        (with("/instance/metadata", json!({"key": "a\u{0}"})), 422),
        (with("/instance/metadata", json!({"key": "x".repeat(8_190)})), 422),
        (with("/instance/metadata", keys.into()), 422),
        (with("/lease_ms", json!(0)), 422),
        (with("/lease_ms", json!(-15_000)), 422),
        (with("/lease_ms", json!(999)), 422),
        (with("/lease_ms", json!(1_500.5)), 422),
        (with("/lease_ms", json!("15000")), 422),
        (with("/lease_ms", json!(365_u64 * 86_400_000)), 422),
        (with("/lease_ms", json!(1e300)), 422),
    ] {
        let path = url(&server, "/v1/gosd/instances/mail-1");
        let answer = ask(http().put(path).json(&body)).await;
        assert_eq!(answer.status, status, "{body}: {}", answer.body);
    }
    assert_eq!(registry.list().await.unwrap(), []);
}

#[tokio::test]
async fn a_missing_or_malformed_body_is_refused() {
    let (server, registry) = memory(Settings::new()).await;
    let good = registration().to_string();
    let nested = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
    for (media_type, encoding, body, status) in [
        ("application/json", None, "", 400),
        ("application/json", None, "{", 400),
        ("application/json", None, &format!("{good}{{}}"), 400),
        ("application/json", None, "\u{feff}{}", 400),
        ("application/json", None, &nested, 400),
        ("text/plain", None, &good, 415),
        ("application/jsonx", None, &good, 415),
        ("application/json", Some("gzip"), &good, 415),
        ("Application/JSON ; charset=utf-8", None, &good, 204),
    ] {
        let mut request = http().put(url(&server, "/v1/gosd/instances/mail-1"));
        request = request.header("content-type", media_type).body(body.to_owned());
        if let Some(encoding) = encoding {
            request = request.header("content-encoding", encoding);
        }
        let answer = ask(request).await;
        assert_eq!(answer.status, status, "{media_type} {body:.40}: {}", answer.body);
    }
    let without_type = http().put(url(&server, "/v1/gosd/instances/mail-1")).body(good);
    assert_eq!(ask(without_type).await.status, 415);
    assert_eq!(registry.list().await.unwrap().len(), 1);
}

#[tokio::test]
async fn unknown_paths_queries_and_methods_are_refused() {
    let (server, _) = memory(Settings::new()).await;
    for (method, path, status) in [
        (Method::GET, "/v1", 404),
        (Method::GET, "/metrics?x=y", 400),
        (Method::GET, "/v1/other/prometheus", 404),
        (Method::POST, "/v1/gosd/prometheus", 405),
        (Method::GET, "/v1/other/instances", 404),
        (Method::PUT, "/v1/other/instances/mail-1", 404),
        (Method::GET, "/v1/other/events", 404),
        (Method::GET, "/v1/%2e%2e%2fgosd/instances", 404),
        (Method::GET, "/v1/%ff/instances", 400),
        (Method::GET, "/v1/gosd/instances/%ff", 400),
        (Method::GET, "/v1/gosd/instances/a/b", 404),
        (Method::GET, "/v1/gosd/instances?services=mail", 400),
        (Method::GET, "/v1/gosd/instances?service=", 400),
        (Method::GET, "/v1/gosd/instances?service=a&other=b", 400),
        (Method::GET, "/v1/gosd/instances?service=a&service=", 400),
        (Method::GET, "/v1/gosd/prometheus?service=a&service=b", 400),
        (Method::GET, "/v1/gosd/instances?service=%ff", 400),
        (Method::GET, "/v1/gosd/instances/mail-1?x=y", 400),
        (Method::DELETE, "/v1/gosd/instances/mail-1?x=y", 400),
        (Method::GET, "/v1/gosd/events?x=y", 400),
        (Method::GET, "/v1/gosd/events?service=", 400),
        (Method::GET, "/v1/gosd/events?service=a,,b", 400),
        (Method::GET, "/v1/gosd/events?service=a&service=b", 400),
        (Method::GET, "/v1/gosd/events?service=%ff", 400),
        (Method::DELETE, "/v1/gosd/instances", 405),
        (Method::POST, "/v1/gosd/events", 405),
    ] {
        let answer = ask(http().request(method.clone(), url(&server, path))).await;
        assert_eq!(answer.status, status, "{method} {path}: {}", answer.body);
        if status == 405 {
            assert!(answer.headers["allow"].to_str().unwrap().contains("GET"), "{path}");
        }
    }
}

#[tokio::test]
async fn slashes_and_credentials_are_only_characters() {
    let (server, registry) = memory(Settings::new()).await;
    let mut body = with("/instance/id", json!("mail-a/b?c%2F"));
    body["instance"]["url"] = json!("http://user:pass@h/x?y#z");
    let path = url(&server, "/v1/gosd/instances/mail-a%2Fb%3Fc%252F");
    assert_eq!(ask(http().put(&path).json(&body)).await.status, 204);
    assert_eq!(ask(http().get(&path)).await.body["url"], "http://user:pass@h/x?y#z");
    assert_eq!(registry.list().await.unwrap()[0].id().as_str(), "mail-a/b?c%2F");
    assert_eq!(ask(http().delete(&path)).await.status, 204);
    assert_eq!(registry.list().await.unwrap(), []);
}

#[tokio::test]
async fn a_body_that_is_too_long_is_not_read_to_its_end() {
    let (server, _) = memory(Settings::new()).await;
    let head = "PUT /v1/gosd/instances/mail-1 HTTP/1.1\r\nhost: localhost\r\n\
                content-type: application/json\r\n";
    // A client that asks first, as curl does, never sends the body.
    let asks = format!("{head}content-length: 10485760\r\nexpect: 100-continue\r\n\r\n");
    let answer = read_until(&mut raw(&server, asks.as_bytes()).await, "\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
    // A body that does not declare its length.
    let chunk = format!("{:x}\r\n{}\r\n", 66_000, " ".repeat(66_000));
    let endless = format!("{head}transfer-encoding: chunked\r\n\r\n{chunk}");
    let answer = read_until(&mut raw(&server, endless.as_bytes()).await, "\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
}
