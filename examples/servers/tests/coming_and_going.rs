//! Each of the servers is restarted without a failed request, and reports its state to systemd.
#![cfg(target_os = "linux")]

use std::io;
use std::os::unix::net::UnixDatagram;
use std::process::Command;
use std::time::Duration;

use gosd::{Client, Drivers};
use gosd_testservers::Process;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::time::{sleep, timeout};

/// A bound for steps that take a second or two on an idle machine.
const LATE: Duration = Duration::from_secs(60);
const READY: &str = "registered at";

const AXUM: &str = env!("CARGO_BIN_EXE_with_axum");
const HYPER: &str = env!("CARGO_BIN_EXE_with_hyper");
const ACTIX: &str = env!("CARGO_BIN_EXE_with_actix");

async fn start(program: &str, url: &str) -> Process {
    let environment = [("gosdDriver", url.to_owned())];
    Process::start_in(&environment, program, "cargo", ["0"; 1], READY).await
}

async fn ping(url: &str) -> io::Result<bool> {
    let mut connection = TcpStream::connect(url.trim_start_matches("http://")).await?;
    let request = b"GET /ping HTTP/1.1\r\nhost: orders\r\nconnection: close\r\n\r\n";
    connection.write_all(request).await?;
    let mut answer = String::new();
    connection.read_to_string(&mut answer).await?;
    Ok(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("pong"))
}

/// Sends a request every 5 ms, without retries. Returns how many were answered, and the failures.
async fn ask(client: Client, mut stop: oneshot::Receiver<()>) -> (u32, Vec<String>) {
    let (mut answered, mut failures) = (0, Vec::new());
    while stop.try_recv().is_err() {
        match client.pick("orders") {
            None => failures.push("nobody is there".to_owned()),
            Some(instance) => match ping(instance.url()).await {
                Ok(true) => answered += 1,
                outcome => failures.push(format!("{outcome:?}")),
            },
        }
        sleep(Duration::from_millis(5)).await;
    }
    (answered, failures)
}

async fn restarted_under_requests(program: &str) {
    let folder = TempDir::new().unwrap();
    let url = format!("sqlite:{}", folder.path().join("gosd.db").display());
    let mut servers = [start(program, &url).await, start(program, &url).await];
    let driver = Drivers::compiled().open(&url).await.unwrap();
    let client = Client::builder(driver).start().await.unwrap();
    client.refresh().await.unwrap();

    let (stop, stopped) = oneshot::channel();
    let requests = tokio::spawn(ask(client.clone(), stopped));
    for server in &mut servers {
        sleep(Duration::from_millis(500)).await;
        server.signal("TERM").await;
        let status = timeout(LATE, server.ended()).await.expect("a server ends");
        assert!(status.success(), "{status}");
        *server = start(program, &url).await;
    }
    stop.send(()).unwrap();
    let (answered, failures) = requests.await.unwrap();
    assert!(answered > 0 && failures.is_empty(), "{answered} answered; {failures:?}");
}

#[tokio::test]
async fn axum_is_restarted_under_requests() {
    restarted_under_requests(AXUM).await;
}

#[tokio::test]
async fn hyper_is_restarted_under_requests() {
    restarted_under_requests(HYPER).await;
}

#[tokio::test]
async fn actix_is_restarted_under_requests() {
    restarted_under_requests(ACTIX).await;
}

#[tokio::test]
async fn systemd_is_notified_when_the_service_is_ready() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("notify");
    let systemd = UnixDatagram::bind(&path).unwrap();
    systemd.set_read_timeout(Some(LATE)).unwrap();
    let environment = [
        ("gosdDriver", format!("sqlite:{}", folder.path().join("gosd.db").display())),
        ("NOTIFY_SOCKET", path.display().to_string()),
    ];
    let _service = Process::start_in(&environment, AXUM, "cargo", ["0"; 1], READY).await;
    let mut message = [0; 64];
    let len = systemd.recv(&mut message).unwrap();
    assert_eq!(&message[..len], b"READY=1\n");
}

/// A host with two interfaces, of which one leads to the database, in a separate network namespace.
#[test]
fn the_advertised_address_faces_the_database() {
    let network = r#"
        set -e
        ip link set lo up
        for n in 1 2; do
            ip link add "here$n" type veth peer name "there$n"
            ip address add "10.99.$n.2/24" dev "here$n"
            ip link set "here$n" up
            ip link set "there$n" up
        done
        # The database's host, in a namespace of the next.
        unshare --net sleep 60 & other=$!
        while [ "$(readlink /proc/self/ns/net)" = "$(readlink /proc/$other/ns/net)" ]; do sleep 0.01; done
        ip link set there2 netns $other
        nsenter --net --target $other sh -c 'ip address add 10.99.2.1/24 dev there2 && ip link set there2 up'
        gosdDriver=redis://10.99.2.1:6379 timeout --preserve-status 20 "$0" 8885 | head -n 1
        kill $other
    "#;
    let mut host = Command::new("unshare");
    host.args(["--map-root-user", "--net", "sh", "-c", network, AXUM]);
    let said = host.output().expect("unshare, of util-linux, is needed");
    let line = String::from_utf8_lossy(&said.stdout);
    assert_eq!(line.trim(), "registered at http://10.99.2.2:8885", "{said:?}");
}
