//! Watches of some services: what is asked of the server, and what a client has of it.

use std::collections::BTreeSet;
use std::sync::Arc;

use futures_util::StreamExt;
use gosd_core::{Client, Driver, ErrorKind, Event, Memory, Settings as ClientSettings};
use gosd_server::Settings;
use tokio::time::timeout;

use super::bad_servers::{RESET, act, answer, events};
use super::support::{LATE, LEASE, instance, open, start};

fn services(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

#[tokio::test]
async fn a_client_on_demand_has_what_it_asks_for_and_everything_when_it_asks_for_that() {
    let memory = Memory::new();
    let settings = Settings::new().namespace("gosd", Arc::new(memory.clone())).unwrap();
    let server = start(settings).await;
    let [mail, web, user] = ["mail", "web", "user"].map(instance);
    for instance in [&mail, &web, &user] {
        memory.register(instance, LEASE).await.unwrap();
    }
    let settings = ClientSettings::default().watch_on_demand(true);
    let driver = open(&format!("http://{}", server.address())).await;
    let client = Client::builder(driver).settings(settings).start().await.unwrap();
    for instance in [&mail, &web] {
        assert!(client.pick(instance.service()).is_none());
        let found = timeout(LATE, client.next(instance.service())).await.unwrap().unwrap();
        assert_eq!(*found, *instance);
    }
    assert_eq!(client.stats().added, 2, "nothing of the third service");
    memory.deregister(mail.id()).await.unwrap();
    let gone = async {
        while client.pick("mail").is_some() {
            tokio::task::yield_now().await;
        }
    };
    timeout(LATE, gone).await.expect("the goodbye comes");
    client.refresh().await.unwrap();
    assert_eq!(client.stats().added, 2, "a read of the same services");
    let mut changes = client.changes();
    let all = async {
        while client.services() != ["user", "web"] {
            changes.next().await.expect("the client goes on");
        }
    };
    timeout(LATE, all).await.expect("everything comes");
}

#[tokio::test]
async fn the_services_are_in_the_query_and_a_stream_resumes_with_the_same() {
    let reset = RESET.to_owned() + ":\n";
    let actor = act(vec![events(RESET), events(&reset)]).await;
    let driver = open(&actor.url).await;
    let mut watch = driver.watch_services(&services(&["mail", "shop two"])).unwrap();
    assert_eq!(watch.next().await.unwrap().unwrap(), Event::Reset(Vec::new()));
    assert!(watch.next().await.unwrap().is_err(), "the server ended the events");
    assert_eq!(watch.next().await.unwrap().unwrap(), Event::Reset(Vec::new()));
    let heard = actor.heard.lock().unwrap().clone();
    for request in &heard {
        let line = request.lines().next().unwrap();
        assert_eq!(line, "GET /v1/gosd/events?service=mail,shop%20two HTTP/1.1");
    }
    assert!(!heard[0].contains("last-event-id") && heard[1].contains("last-event-id: e-1"));
}

#[tokio::test]
async fn what_a_server_or_a_query_cannot_name_is_watched_as_everything() {
    let reset = RESET.to_owned() + ":\n";
    let unknown = || answer("400 Bad Request", "application/problem+json", "{}");
    // An older server, which knows neither query.
    let list = answer("200 OK", "application/json", "{\"instances\":[]}");
    let actor = act(vec![unknown(), events(RESET), events(&reset), unknown(), list]).await;
    let driver = open(&actor.url).await;
    let asked = services(&["mail", "web"]);
    {
        let mut watch = driver.watch_services(&asked).unwrap();
        assert_eq!(watch.next().await.unwrap().unwrap(), Event::Reset(Vec::new()));
        assert!(watch.next().await.unwrap().is_err(), "the server ended the events");
        assert_eq!(watch.next().await.unwrap().unwrap(), Event::Reset(Vec::new()));
    }
    assert_eq!(driver.list_services(&asked).await.unwrap(), []);
    let heard = actor.heard.lock().unwrap().clone();
    let lines: Vec<&str> = heard.iter().map(|it| it.lines().next().unwrap()).collect();
    assert_eq!(
        lines,
        [
            "GET /v1/gosd/events?service=mail,web HTTP/1.1",
            "GET /v1/gosd/events HTTP/1.1",
            "GET /v1/gosd/events HTTP/1.1",
            "GET /v1/gosd/instances?service=mail&service=web HTTP/1.1",
            "GET /v1/gosd/instances HTTP/1.1",
        ]
    );
    // Names that no path can hold.
    let actor = act(vec![events(&reset), events(&reset)]).await;
    let driver = open(&actor.url).await;
    let long = (0..100).map(|n| format!("{n:0128}")).collect();
    for names in [services(&["a,b"]), long] {
        let mut watch = driver.watch_services(&names).unwrap();
        assert_eq!(watch.next().await.unwrap().unwrap(), Event::Reset(Vec::new()));
    }
    let heard = actor.heard.lock().unwrap().clone();
    assert!(heard.iter().all(|it| it.starts_with("GET /v1/gosd/events HTTP/1.1")), "{heard:?}");
}

#[tokio::test]
async fn another_failure_is_not_taken_for_a_server_that_knows_no_services() {
    let full = answer("503 Service Unavailable", "application/problem+json", "{}");
    let actor = act(vec![full.clone(), full]).await;
    let driver = open(&actor.url).await;
    let asked = services(&["mail"]);
    let error = driver.watch_services(&asked).unwrap().next().await.unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert_eq!(driver.list_services(&asked).await.unwrap_err().kind(), ErrorKind::Unavailable);
    assert_eq!(actor.heard.lock().unwrap().len(), 2);
    assert!(open(&format!("{}?watch=off", actor.url)).await.watch_services(&asked).is_none());
}
