//! The user and password in the URL of an instance: who receives them, and that nobody else sees them.

use axum::Router;
use axum::http::HeaderMap;
use gosd::Settings;
use gosd_reqwest::{Error, SendBy};
use gosd_testservers::{collect_spans, spans_to};
use reqwest::header::AUTHORIZATION;
use reqwest::{Method, Request, RequestBuilder, Url};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::support::{http, knowing, nobody, with_settings};

/// A server that answers with its port and the header `Authorization` that it received.
struct Echo {
    port: u16,
    task: JoinHandle<()>,
}

impl Echo {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let app = Router::new().fallback(async move |headers: HeaderMap| {
            let received = headers.get_all(AUTHORIZATION).iter().map(|it| it.to_str().unwrap());
            format!("{port} {:?}", received.collect::<Vec<_>>())
        });
        let task = tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self { port, task }
    }

    /// Its URL with a user and a password, as in `svc:sesame@`.
    fn url(&self, credentials: &str) -> String {
        format!("http://{credentials}127.0.0.1:{}", self.port)
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn text(request: RequestBuilder, gosd: &gosd::Client) -> String {
    request.send_by(gosd).await.unwrap().text().await.unwrap()
}

#[tokio::test]
async fn each_instance_receives_its_own_and_no_other() {
    let servers = [Echo::start().await, Echo::start().await, Echo::start().await];
    let urls = [servers[0].url("svc:sesame@"), servers[1].url("a%40b:p%3Aq@"), servers[2].url("")];
    // The dead instance fails each time, and its password must not go to the one that is tried next.
    let dead = nobody().replace("http://", "http://dead:secret@");
    let settings = Settings::default().eject_after(0);
    let gosd = with_settings(settings, urls.into_iter().chain([dead])).await;
    let mut answers = Vec::new();
    for _ in 0..8 {
        answers.push(text(http().post("gosd://orders/7").body("order"), &gosd).await);
    }
    answers.sort_unstable();
    answers.dedup();
    // `svc:sesame`, `a@b:p:q`, and nothing.
    let sent = [r#"["Basic c3ZjOnNlc2FtZQ=="]"#, r#"["Basic YUBiOnA6cQ=="]"#, "[]"];
    let mut expected: Vec<_> =
        servers.iter().zip(sent).map(|(server, sent)| format!("{} {sent}", server.port)).collect();
    expected.sort_unstable();
    assert_eq!(answers, expected);
}

#[tokio::test]
async fn those_of_the_request_come_first() {
    let server = Echo::start().await;
    let gosd = knowing([server.url("svc:sesame@")]).await;
    let own = http().get("gosd://orders/").bearer_auth("mine");
    assert!(text(own, &gosd).await.ends_with(r#" ["Bearer mine"]"#));

    // `user:mine`, once by reqwest's way of making requests, and once by the other, which leaves the URL as it is.
    let expected = r#" ["Basic dXNlcjptaW5l"]"#;
    let url = "gosd://user:mine@orders/";
    assert!(text(http().get(url), &gosd).await.ends_with(expected));
    let plain = Request::new(Method::GET, Url::parse(url).unwrap());
    let answer = text(RequestBuilder::from_parts(http(), plain), &gosd).await;
    assert!(answer.ends_with(expected), "{answer}");
}

#[tokio::test]
async fn no_error_and_no_span_shows_them() {
    collect_spans();
    let dead = nobody().replace("http://", "http://svc:sesame@");
    let gosd = knowing([dead.clone()]).await;
    let error = http().get("gosd://orders/7").send_by(&gosd).await.unwrap_err();
    let said = format!("{error} {error:?}");
    assert!(matches!(error, Error::Http(error) if error.is_connect()));
    assert!(said.contains("127.0.0.1") && !said.contains("sesame"), "{said}");
    let spans = spans_to(Url::parse(&dead).unwrap().port().unwrap());
    assert!(spans.len() == 1 && !format!("{spans:?}").contains("sesame"), "{spans:?}");

    let server = Echo::start().await;
    let gosd = knowing([server.url("svc:sesame@")]).await;
    let answer = http().get("gosd://orders/7").send_by(&gosd).await.unwrap();
    assert_eq!(answer.url().as_str(), format!("{}/7", server.url("")));
}
