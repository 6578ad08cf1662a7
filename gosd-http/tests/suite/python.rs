//! A client in another language.

use std::path::Path;
use std::process::{Output, Stdio};
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use gosd_core::Event;
use gosd_server::Settings;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, Command};
use tokio::time::timeout;

use super::support::{LATE, memory, open, read_until};

fn start(args: &[&str]) -> Child {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/registry_client.py");
    Command::new("python3")
        .arg(script)
        .args(args)
        .args(["mail", "http://10.0.0.7:25"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("python3 is installed")
}

async fn ask_to_end(child: &Child) {
    let pid = child.id().expect("it runs").to_string();
    assert!(Command::new("kill").arg(pid).status().await.unwrap().success());
}

async fn end(child: Child) -> Output {
    timeout(LATE, child.wait_with_output()).await.unwrap().unwrap()
}

/// The method of a request, and how its text ends.
type Expected = (&'static str, &'static str);

const PUT: Expected = ("PUT ", "15000}");
const GET: Expected = ("GET ", "\r\n\r\n");
const DELETE: Expected = ("DELETE ", "\r\n\r\n");
const DONE: &str = "HTTP/1.1 204 No Content\r\n\r\n";

fn list(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

/// Waits for a request, each of which has a connection of its own.
async fn request(listener: &TcpListener, (method, end): Expected) -> TcpStream {
    let (mut stream, _) = timeout(LATE, listener.accept()).await.unwrap().unwrap();
    let request = read_until(&mut stream, end).await;
    assert!(request.starts_with(method), "{request}");
    stream
}

async fn answer(listener: &TcpListener, expected: Expected, answer: &str) {
    let mut stream = request(listener, expected).await;
    stream.write_all(answer.as_bytes()).await.unwrap();
}

#[tokio::test]
async fn a_python_service_comes_and_goes() {
    const TOKEN: &str = "sesame-sesame-sesame";
    let server = memory(Settings::new().token(TOKEN).unwrap()).await;
    let driver = open(&format!("http://:{TOKEN}@{}", server.address())).await;
    let mut watch = driver.watch().unwrap();
    let mut next = async || timeout(LATE, watch.next()).await.unwrap().unwrap().unwrap();
    assert_eq!(next().await, Event::Reset(Vec::new()));

    let child = start(&["--token", TOKEN, &format!("http://{}", server.address())]);
    let Event::Put(instance) = next().await else { panic!("it comes") };
    assert_eq!((instance.service(), instance.url()), ("mail", "http://10.0.0.7:25"));
    // Otherwise nobody would see how long it has been running.
    assert!(instance.id().is_generated(), "{}", instance.id());
    assert_eq!(instance.metadata()["by"], "python");
    assert_eq!(driver.list().await.unwrap(), std::slice::from_ref(&instance));

    ask_to_end(&child).await;
    assert_eq!(next().await, Event::Remove(instance.id().clone()));
    let output = end(child).await;
    assert!(output.status.success(), "{output:?}");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "http://10.0.0.7:25\n");
}

/// As from a proxy whose server is away for a moment.
#[tokio::test]
async fn a_python_service_outlives_answers_that_make_no_sense() {
    for listed in ["nope", "{}", ""] {
        outlives(listed).await;
    }
}

async fn outlives(listed: &str) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let child = start(&[&format!("http://{}", listener.local_addr().unwrap())]);
    answer(&listener, PUT, DONE).await;
    answer(&listener, GET, &list(listed)).await;
    ask_to_end(&child).await;
    answer(&listener, DELETE, "nonsense\r\n\r\n").await;
    answer(&listener, DELETE, DONE).await;
    let output = end(child).await;
    assert!(output.status.success(), "{output:?}");
}

/// A proxy or a server that is restarted may leave a request without an answer.
#[tokio::test]
async fn a_python_service_outlives_a_heartbeat_that_nobody_answers() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let child = start(&[&format!("http://{}", listener.local_addr().unwrap())]);
    answer(&listener, PUT, DONE).await;
    let registered_at = Instant::now();
    answer(&listener, GET, &list(r#"{"instances":[]}"#)).await;
    let _unanswered = request(&listener, PUT).await;
    answer(&listener, PUT, DONE).await;
    let lease = Duration::from_secs(15);
    assert!(registered_at.elapsed() < lease, "{:?}", registered_at.elapsed());
    drop(child);
}
