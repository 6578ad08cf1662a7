//! A client in another language.

use std::path::Path;
use std::process::{Output, Stdio};

use futures_util::StreamExt;
use gosd_core::Event;
use gosd_server::Settings;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
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
    let answer = async |method: &str, end: &str, answer: &str| {
        let (mut stream, _) = timeout(LATE, listener.accept()).await.unwrap().unwrap();
        let request = read_until(&mut stream, end).await;
        assert!(request.starts_with(method), "{request}");
        stream.write_all(answer.as_bytes()).await.unwrap();
    };
    let done = "HTTP/1.1 204 No Content\r\n\r\n";
    answer("PUT ", "15000}", done).await;
    let list = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{listed}", listed.len());
    answer("GET ", "\r\n\r\n", &list).await;
    ask_to_end(&child).await;
    answer("DELETE ", "\r\n\r\n", "nonsense\r\n\r\n").await;
    answer("DELETE ", "\r\n\r\n", done).await;
    let output = end(child).await;
    assert!(output.status.success(), "{output:?}");
}
