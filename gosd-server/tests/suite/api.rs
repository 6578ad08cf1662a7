//! The answers of the API to valid requests.

use gosd_core::Driver;
use gosd_server::Settings;
use serde_json::json;
use tokio::time::timeout;

use super::support::{
    LATE, LEASE, ask, http, instance, memory, raw, read_until, registration, url,
};

#[tokio::test]
async fn an_instance_is_registered_shown_and_removed() {
    let (server, registry) = memory(Settings::new()).await;
    let path = url(&server, "/v1/gosd/instances/mail-1");
    assert_eq!(ask(http().get(&path)).await.status, 404);
    for _ in 0..2 {
        let answer = ask(http().put(&path).json(&registration())).await;
        assert_eq!((answer.status, answer.body), (204, json!(null)));
    }
    let shown = ask(http().get(&path)).await;
    let expected =
        json!({"id": "mail-1", "service": "mail", "url": "http://10.0.0.7:25", "metadata": {}});
    assert_eq!((shown.status, shown.body), (200, expected));
    assert_eq!(registry.list().await.unwrap().len(), 1);
    for _ in 0..2 {
        assert_eq!(ask(http().delete(&path)).await.status, 204);
    }
    assert_eq!(registry.list().await.unwrap(), []);
}

#[tokio::test]
async fn a_list_may_be_of_one_service_or_of_several() {
    let (server, registry) = memory(Settings::new()).await;
    let (mail, user) = (instance("mail"), instance("user"));
    registry.register(&mail, LEASE).await.unwrap();
    registry.register(&user, LEASE).await.unwrap();
    let all = ask(http().get(url(&server, "/v1/gosd/instances"))).await.body;
    assert_eq!(all["instances"].as_array().unwrap().len(), 2);
    let one = ask(http().get(url(&server, "/v1/gosd/instances?service=m%61il"))).await.body;
    assert_eq!(one["instances"].as_array().unwrap().len(), 1);
    assert_eq!(one["instances"][0]["id"], mail.id().as_str());
    let none = ask(http().get(url(&server, "/v1/gosd/instances?service=mai"))).await.body;
    assert_eq!(none, json!({"instances": []}));
    for query in ["service=user&service=mail&service=mai", "service=us%65r&service=mail"] {
        let both = ask(http().get(url(&server, &format!("/v1/gosd/instances?{query}")))).await.body;
        assert_eq!(both, all, "{query}");
    }
}

#[tokio::test]
async fn the_list_of_namespaces_has_those_with_registrations_and_the_server_s_own() {
    let settings =
        Settings::new().namespaces(|_| Some(std::sync::Arc::new(gosd_core::Memory::new())));
    let (server, _) = memory(settings).await;
    let names = || ask(http().get(url(&server, "/v1/namespaces")));
    // A read creates no namespace.
    assert_eq!(ask(http().get(url(&server, "/v1/blue/instances"))).await.status, 200);
    assert_eq!(names().await.body, json!({"namespaces": ["gosd"]}));
    let path = url(&server, "/v1/blue/instances/mail-1");
    assert_eq!(ask(http().put(path).json(&registration())).await.status, 204);
    // The server's own namespace comes first.
    assert_eq!(names().await.body, json!({"namespaces": ["gosd", "blue"]}));
}

#[tokio::test]
async fn an_unchanged_list_is_not_sent_again() {
    let (server, registry) = memory(Settings::new()).await;
    registry.register(&instance("mail"), LEASE).await.unwrap();
    let list = |tag: Option<&str>| {
        let request = http().get(url(&server, "/v1/gosd/instances"));
        ask(match tag {
            Some(tag) => request.header("if-none-match", tag),
            None => request,
        })
    };
    let first = list(None).await;
    let tag = first.headers["etag"].to_str().unwrap().to_owned();
    for known in [tag.clone(), format!("\"x\", W/{tag}"), "*".into()] {
        let second = list(Some(&known)).await;
        assert_eq!((second.status, second.body), (304, json!(null)), "{known}");
        assert_eq!(second.headers["etag"], tag);
    }
    registry.register(&instance("user"), LEASE).await.unwrap();
    let third = list(Some(&tag)).await;
    assert_eq!(third.status, 200);
    assert_ne!(third.headers["etag"], tag);
}

/// The HTTP driver uses entity tags when it polls.
#[tokio::test]
async fn a_polling_driver_sees_every_change() {
    let (server, registry) = memory(Settings::new()).await;
    let driver = super::support::open(&format!("{}?watch=off", url(&server, ""))).await;
    assert!(driver.watch().is_none());
    let mail = instance("mail");
    for _ in 0..2 {
        assert_eq!(driver.list().await.unwrap(), []);
    }
    registry.register(&mail, LEASE).await.unwrap();
    for _ in 0..2 {
        assert_eq!(driver.list().await.unwrap(), std::slice::from_ref(&mail));
    }
}

#[tokio::test]
async fn events_resume_where_they_were_left() {
    let (server, registry) = memory(Settings::new()).await;
    let watch = |id: &str| {
        let request = format!(
            "GET /v1/gosd/events HTTP/1.1\r\nhost: localhost\r\nlast-event-id: {id}\r\n\r\n"
        );
        let server = &server;
        async move { raw(server, request.as_bytes()).await }
    };
    let mut first = watch("").await;
    let reset = read_until(&mut first, "]}\n\n").await;
    assert!(reset.starts_with("HTTP/1.1 200 OK\r\n"), "{reset}");
    assert!(reset.contains("event: reset\n") && reset.contains("{\"instances\":[]}"), "{reset}");
    let id = reset.split("id: ").nth(1).unwrap().lines().next().unwrap();
    drop(first);

    let mail = instance("mail");
    registry.register(&mail, LEASE).await.unwrap();
    let mut second = watch(id).await;
    let events = read_until(&mut second, "\"metadata\":{}}\n\n").await;
    let (resumed, put) = events.split_once("event: put\n").unwrap();
    assert!(resumed.contains(&format!("event: resumed\nid: {id}\ndata: {{}}\n")), "{resumed}");
    assert!(put.contains(&mail.to_json()), "{put}");
    // Nothing follows but a comment, which says that the server is up.
    assert!(read_until(&mut second, ":\n\n").await.contains("\n:\n\n"));

    for unknown in ["0000000000000000-0", "x", &format!("{id}9999")] {
        let events = read_until(&mut watch(unknown).await, "]}\n\n").await;
        assert!(events.contains("event: reset\n"), "{unknown}: {events}");
    }
}

#[tokio::test]
async fn one_watch_of_the_database_serves_all_watchers() {
    use futures_util::StreamExt;
    use gosd_core::{Event, Memory};
    use gosd_testkit::{Faulty, Operation};
    use std::sync::Arc;

    let counted = Faulty::new(Arc::new(Memory::new()));
    let settings = Settings::new().namespace("gosd", Arc::new(counted.clone())).unwrap();
    let server = super::support::start(settings).await;
    let mut drivers = Vec::new();
    for _ in 0..5 {
        drivers.push(super::support::open(&url(&server, "")).await);
    }
    let mut watches: Vec<_> = drivers.iter().map(|driver| driver.watch().unwrap()).collect();
    for watch in &mut watches {
        assert_eq!(watch.next().await.unwrap().unwrap(), Event::Reset(Vec::new()));
    }
    let mail = instance("mail");
    drivers[0].register(&mail, LEASE).await.unwrap();
    for watch in &mut watches {
        assert_eq!(watch.next().await.unwrap().unwrap(), Event::Put(mail.clone()));
    }
    assert_eq!(ask(http().get(url(&server, "/health"))).await.status, 200);
    assert_eq!(counted.calls(Operation::Watch), 1);
}

#[tokio::test]
async fn health_shows_the_state_of_the_database() {
    use gosd_core::{ErrorKind, Memory};
    use gosd_testkit::{Fault, Faulty};
    use std::sync::Arc;

    let faulty = Faulty::new(Arc::new(Memory::new()));
    let settings = Settings::new().namespace("gosd", Arc::new(faulty.clone())).unwrap();
    // Health needs no token.
    let settings = settings.token("sesame-sesame-sesame").unwrap();
    let server = super::support::start(settings).await;
    let health = || ask(http().get(url(&server, "/health")));
    let answer = health().await;
    assert_eq!((answer.status, answer.body), (200, json!({"status": "ok"})));
    faulty.on_all(Fault::Fail(ErrorKind::Unavailable));
    faulty.end_watches();
    // The server waits a while for contact before it reports the loss.
    let falls_ill = async {
        loop {
            let answer = health().await;
            if answer.status != 200 {
                return answer;
            }
        }
    };
    let answer = timeout(LATE, falls_ill).await.expect("it says so");
    assert_eq!((answer.status, &answer.headers["retry-after"]), (503, &"1".parse().unwrap()));
    faulty.clear_all();
    assert_eq!(health().await.status, 200);
}
