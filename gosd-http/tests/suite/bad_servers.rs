//! Servers that behave differently from what the driver expects.

use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::StreamExt;
use gosd_core::{ErrorKind, Event};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use super::support::{LATE, LEASE, instance, open};

/// A server that sends its lines, one for each connection, and records the requests.
pub(crate) struct Actor {
    pub(crate) url: String,
    pub(crate) heard: Arc<Mutex<Vec<String>>>,
    task: JoinHandle<()>,
}

impl Drop for Actor {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// `None` stays silent, and so does a line that ends in a comment. After any other line the connection ends.
pub(crate) async fn act(lines: Vec<Option<String>>) -> Actor {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let heard = Arc::<Mutex<Vec<String>>>::default();
    let hears = Arc::clone(&heard);
    let task = tokio::spawn(async move {
        let mut silent = Vec::new();
        for line in lines {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") && !request.ends_with(b"}") {
                if stream.read_buf(&mut request).await.unwrap_or(0) == 0 {
                    break;
                }
            }
            hears.lock().unwrap().push(String::from_utf8_lossy(&request).into_owned());
            let line = line.unwrap_or_else(|| ":\n".into());
            if line != ":\n" {
                stream.write_all(line.as_bytes()).await.unwrap();
            }
            if line.ends_with(":\n") {
                silent.push(stream);
            }
        }
        std::future::pending::<()>().await;
    });
    Actor { url, heard, task }
}

pub(crate) fn answer(status: &str, media_type: &str, body: &str) -> Option<String> {
    let length = body.len();
    Some(format!(
        "HTTP/1.1 {status}\r\ncontent-type: {media_type}\r\nconnection: close\r\n\
         content-length: {length}\r\n\r\n{body}"
    ))
}

pub(crate) fn events(text: &str) -> Option<String> {
    Some(format!("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n{text}"))
}

pub(crate) const RESET: &str = "event: reset\nid: e-1\ndata: {\"instances\":[]}\n\n";

#[tokio::test]
async fn a_failure_is_an_error_of_its_kind_and_never_an_empty_list() {
    use ErrorKind::{Config, Data, Denied, Unavailable, Unsupported};
    let problem = "application/problem+json";
    let html = "<!doctype html><p>Please log in";
    let cut =
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 99\r\n\r\n{\"inst";
    for (line, kind) in [
        (answer("200 OK", "text/html", html), Unavailable),
        (answer("404 Not Found", "text/plain; charset=utf-8", "404 page not found"), Unavailable),
        (answer("404 Not Found", problem, "{}"), Config),
        (answer("502 Bad Gateway", "text/html", html), Unavailable),
        (answer("200 OK", "application/json", "[]"), Data),
        (answer("200 OK", "application/json", "{\"instances\":["), Data),
        (answer("206 Partial Content", "application/json", "{\"instances\":[]}"), Data),
        (answer("304 Not Modified", "application/json", ""), Data),
        (answer("204 No Content", "application/json", ""), Data),
        (answer("302 Found\r\nlocation: http://localhost:1/", "text/html", ""), Config),
        (answer("401 Unauthorized", problem, "{}"), Denied),
        (answer("401 Unauthorized", "text/html", html), Denied),
        (answer("501 Not Implemented", problem, "{}"), Unsupported),
        (Some(cut.into()), Unavailable),
        (Some("+PONG\r\n".into()), Unavailable),
        (Some(String::new()), Unavailable),
    ] {
        let actor = act(vec![line.clone()]).await;
        let error = open(&actor.url).await.list().await.unwrap_err();
        assert_eq!(error.kind(), kind, "{line:?}: {error:?}");
    }
}

#[tokio::test]
async fn a_change_is_made_only_if_the_server_says_so() {
    let instance = instance("mail");
    for (line, kind) in [
        (answer("304 Not Modified", "application/json", ""), ErrorKind::Data),
        (answer("202 Accepted", "application/json", "{}"), ErrorKind::Data),
        (answer("200 OK", "text/html", "<!doctype html>"), ErrorKind::Unavailable),
    ] {
        let actor = act(vec![line.clone(), line.clone()]).await;
        let driver = open(&actor.url).await;
        let registered = driver.register(&instance, LEASE).await;
        let deregistered = driver.deregister(instance.id()).await;
        for result in [registered, deregistered] {
            assert_eq!(result.unwrap_err().kind(), kind, "{line:?}");
        }
    }
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let elsewhere = act(vec![answer("200 OK", "application/json", "{\"instances\":[]}")]).await;
    let redirect = format!("307 Temporary Redirect\r\nlocation: {}/", elsewhere.url);
    let lines = (0..3).map(|_| answer(&redirect, "text/plain", "")).collect();
    let actor = act(lines).await;
    let url = actor.url.replace("http://", "http://:sesame-sesame@");
    let driver = open(&url).await;
    assert_eq!(driver.list().await.unwrap_err().kind(), ErrorKind::Config);
    assert!(driver.register(&instance("mail"), LEASE).await.is_err());
    assert!(driver.watch().unwrap().next().await.unwrap().is_err());
    assert!(elsewhere.heard.lock().unwrap().is_empty(), "the token went elsewhere");
}

#[tokio::test]
async fn a_token_that_a_server_repeats_is_not_shown() {
    let body = r#"{"detail":"no such token: sesame-sesame"}"#;
    let actor = act(vec![answer("401 Unauthorized", "application/problem+json", body)]).await;
    let url = actor.url.replace("http://", "http://:sesame-sesame@");
    let error = open(&url).await.list().await.unwrap_err();
    assert!(!format!("{error} {error:?}").contains("sesame"), "{error:?}");
}

#[tokio::test]
async fn half_an_event_is_none_and_the_rest_is_asked_for() {
    let put = |n: u32| {
        format!(
            "event: put\nid: e-{n}\ndata: {{\"id\":\"a-{n}\",\"service\":\"a\",\"url\":\"u\"}}\n\n"
        )
    };
    let half = &put(3)[..30];
    let actor = act(vec![
        events(&format!("{RESET}{}{half}", put(2))),
        events(&format!("event: resumed\nid: e-2\ndata: {{}}\n\n{}", put(3))),
    ])
    .await;
    let driver = open(&actor.url).await;
    let mut watch = driver.watch().unwrap();
    let mut next = async || timeout(LATE, watch.next()).await.unwrap().unwrap();
    assert_eq!(next().await.unwrap(), Event::Reset(Vec::new()));
    assert!(matches!(next().await.unwrap(), Event::Put(one) if one.id().as_str() == "a-2"));
    assert_eq!(next().await.unwrap_err().kind(), ErrorKind::Unavailable);
    assert_eq!(next().await.unwrap(), Event::Resumed);
    assert!(matches!(next().await.unwrap(), Event::Put(one) if one.id().as_str() == "a-3"));
    let heard = actor.heard.lock().unwrap();
    assert!(!heard[0].contains("last-event-id"), "{}", heard[0]);
    assert!(heard[1].contains("last-event-id: e-2\r\n"), "{}", heard[1]);
}

#[tokio::test]
async fn events_that_do_not_say_where_they_begin_are_refused() {
    let put = "event: put\ndata: {\"id\":\"a-1\",\"service\":\"a\",\"url\":\"u\"}\n\n";
    let resumed = "event: resumed\ndata: {}\n\n";
    for (line, kind) in [
        (events(put), ErrorKind::Data),
        (events(resumed), ErrorKind::Data),
        (events("event: reset\ndata: <html>\n\n"), ErrorKind::Data),
        (answer("200 OK", "text/html", "<html>"), ErrorKind::Unavailable),
        (answer("404 Not Found", "text/plain", ""), ErrorKind::Unavailable),
        (answer("404 Not Found", "application/problem+json", "{}"), ErrorKind::Config),
        (events(""), ErrorKind::Unavailable),
    ] {
        let actor = act(vec![line.clone()]).await;
        let driver = open(&actor.url).await;
        let item = timeout(LATE, driver.watch().unwrap().next()).await.unwrap().unwrap();
        assert_eq!(item.as_ref().err().map(gosd_core::Error::kind), Some(kind), "{line:?}");
    }
}

/// Paused time runs ahead whenever there is nothing else to do, which is the case with a silent server.
#[tokio::test(start_paused = true)]
async fn silence_is_noticed_within_ten_seconds() {
    let actor = act(vec![None]).await;
    let driver = open(&actor.url).await;
    let item = timeout(Duration::from_secs(10), driver.watch().unwrap().next()).await.unwrap();
    assert_eq!(item.unwrap().unwrap_err().kind(), ErrorKind::Timeout);

    let actor = act(vec![events(&format!("{RESET}:\n"))]).await;
    let driver = open(&actor.url).await;
    let mut watch = driver.watch().unwrap();
    assert!(watch.next().await.unwrap().is_ok());
    let item = timeout(Duration::from_secs(10), watch.next()).await.unwrap();
    assert_eq!(item.unwrap().unwrap_err().kind(), ErrorKind::Timeout);
}

/// The answer begins, and its end does not come. Time is paused, as above.
#[tokio::test(start_paused = true)]
async fn a_diagnosis_does_not_wait_for_ever_for_the_rest_of_an_answer() {
    let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 9\r\n\r\n:\n";
    let actor = act(vec![Some(head.into())]).await;
    let diagnosed = timeout(Duration::from_secs(10), gosd_http::diagnose(&actor.url, LEASE)).await;
    let error = diagnosed.expect("it ends by itself").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
}

/// The next request, and the connection that waits for its answer.
async fn asked(listener: &TcpListener) -> (String, TcpStream) {
    let (mut stream, _) = listener.accept().await.unwrap();
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") && !request.ends_with(b"}") {
        assert!(stream.read_buf(&mut request).await.unwrap() > 0, "the request breaks off");
    }
    (String::from_utf8(request).unwrap(), stream)
}

const DONE: &[u8] = b"HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n";

#[tokio::test]
async fn a_goodbye_comes_after_a_registration_that_was_given_up() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let driver = open(&format!("http://{}", listener.local_addr().unwrap())).await;
    let mail = instance("mail");
    let mut unanswered = tokio::select! {
        _ = driver.register(&mail, LEASE) => panic!("nobody has answered"),
        (request, stream) = asked(&listener) => {
            assert!(request.starts_with("PUT "), "{request}");
            stream
        }
    };
    let mut goodbye = pin!(driver.deregister(mail.id()));
    tokio::select! {
        _ = &mut goodbye => panic!("nobody has answered"),
        _ = listener.accept() => panic!("the goodbye overtakes the registration"),
        () = sleep(Duration::from_millis(200)) => {}
    }
    unanswered.write_all(DONE).await.unwrap();
    let served = async {
        let (request, mut stream) = asked(&listener).await;
        stream.write_all(DONE).await.unwrap();
        request
    };
    let (said, request) = timeout(LATE, async { tokio::join!(goodbye, served) }).await.unwrap();
    said.unwrap();
    assert!(request.starts_with("DELETE "), "{request}");
}

#[tokio::test]
async fn a_goodbye_does_not_wait_for_ever_for_a_registration_that_was_given_up() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let driver = open(&format!("http://{}", listener.local_addr().unwrap())).await;
    let mail = instance("mail");
    let _unanswered = tokio::select! {
        _ = driver.register(&mail, LEASE) => panic!("nobody has answered"),
        asked = asked(&listener) => asked,
    };
    let served = async {
        let (_, mut stream) = asked(&listener).await;
        stream.write_all(DONE).await.unwrap();
    };
    let said = async { tokio::join!(driver.deregister(mail.id()), served).0 };
    timeout(LATE, said).await.unwrap().unwrap();
}
