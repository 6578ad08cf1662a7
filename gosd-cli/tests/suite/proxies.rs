//! Real proxies behind `gosd watch --exec`: reloaded 50 times under load, without a failed request.

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use gosd::Instance;
use gosd_testservers::free_port;
use rustix::process::Signal;

use crate::support::{LEASE, Place, Process, fixed};

const CHANGES: usize = 50;

/// A proxy that is stopped with its workers, which would outlive a master that is killed.
struct Proxy(Process);

impl Proxy {
    fn start(directory: &Path, command: &[&str], ready: &str) -> Self {
        let mut start = Command::new(command[0]);
        start.args(&command[1..]).current_dir(directory);
        let process = Process::start(start.env("PATH", "/usr/sbin:/usr/bin:/bin"));
        process.wait_for(ready);
        Self(process)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.0.signal(Signal::TERM);
        self.0.wait();
    }
}

/// A server that answers each request, and lives as long as the test.
fn backend() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            thread::spawn(move || answer(stream));
        }
    });
    port
}

fn answer(mut stream: TcpStream) {
    let mut request = [0; 4_096];
    if matches!(stream.read(&mut request), Ok(1..)) {
        let _ = stream
            .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok");
    }
}

fn request(port: u16) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.write_all(b"GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    Ok(text)
}

/// Makes instances come and go while requests are sent to the port. The output of `watch` says how many
/// instances the proxy has been given.
async fn no_request_fails(place: &Place, port: u16, watch: &Process, instances: &[Instance]) {
    let driver = place.driver().await;
    let (is_over, asked) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let load: Vec<_> = (0..4)
        .map(|_| {
            let (is_over, asked) = (Arc::clone(&is_over), Arc::clone(&asked));
            thread::spawn(move || {
                let mut failed = Vec::new();
                while !is_over.load(Ordering::Relaxed) {
                    asked.fetch_add(1, Ordering::Relaxed);
                    match request(port) {
                        Ok(text) if text.starts_with("HTTP/1.1 200") && text.ends_with("ok") => {}
                        other => failed.push(format!("{other:?}")),
                    }
                }
                failed
            })
        })
        .collect();
    for change in 0..CHANGES {
        // One, two, three, two, one, ...: the first instance stays.
        let (count, changed) = [(2, 1), (3, 2), (2, 2), (1, 1)][change % 4];
        match change % 4 {
            0 | 1 => driver.register(&instances[changed], LEASE).await.unwrap(),
            _ => driver.deregister(instances[changed].id()).await.unwrap(),
        }
        watch.wait_for(&format!("written {count}"));
        // The load runs all the time: some more requests for each state.
        let before = asked.load(Ordering::Relaxed);
        while asked.load(Ordering::Relaxed) < before + 8 {
            tokio::task::yield_now().await;
        }
    }
    is_over.store(true, Ordering::Relaxed);
    let failed: Vec<String> = load.into_iter().flat_map(|it| it.join().unwrap()).collect();
    assert!(failed.is_empty(), "{} of {asked:?}: {:?}", failed.len(), failed.first());
}

/// Three instances, of which the first is registered.
async fn instances(place: &Place) -> Vec<Instance> {
    let instances: Vec<_> =
        (1..=3).map(|n| fixed("mail", n, &format!("http://127.0.0.1:{}", backend()))).collect();
    place.driver().await.register(&instances[0], LEASE).await.unwrap();
    instances
}

fn watch(place: &Place, format: &str, script: &str) -> Process {
    let watch = ["watch", "mail", "-o", format, "--settle", "1ms", "--exec", script];
    let watch = place.start(&watch);
    watch.wait_for("written 1");
    watch
}

#[tokio::test]
async fn nginx_reloads_without_a_failed_request() {
    let place = Place::sqlite();
    let directory = place.directory.path();
    let port = free_port();
    let config = format!(
        "daemon off; worker_processes 2; pid nginx.pid; error_log stderr notice;\n\
         events {{ worker_connections 512; }}\n\
         http {{ access_log off; client_body_temp_path tmp; proxy_temp_path tmp; fastcgi_temp_path tmp;\n\
         uwsgi_temp_path tmp; scgi_temp_path tmp; include upstreams.conf;\n\
         server {{ listen 127.0.0.1:{port}; location / {{ proxy_pass http://mail; }} }} }}\n"
    );
    fs::write(directory.join("nginx.conf"), config).unwrap();
    let instances = instances(&place).await;
    let script = "cat > new && mv new upstreams.conf && \
                  if [ -s nginx.pid ]; then nginx -p . -c nginx.conf -s reload 2>/dev/null; fi && \
                  echo written $(grep -c server upstreams.conf)";
    let watch = watch(&place, "nginx", script);
    let start = ["nginx", "-p", ".", "-c", "nginx.conf", "-e", "stderr"];
    let _nginx = Proxy::start(directory, &start, "start worker process");
    no_request_fails(&place, port, &watch, &instances).await;
}

#[tokio::test]
async fn haproxy_reloads_without_a_failed_request() {
    let place = Place::sqlite();
    let directory = place.directory.path();
    let port = free_port();
    let socket = directory.join("haproxy.sock").display().to_string();
    // The old worker passes the listening socket to the new one over this Unix socket.
    let config = format!(
        "global\n    stats socket {socket} level admin expose-fd listeners\n\
         defaults\n    mode http\n    timeout connect 10s\n    timeout client 60s\n    timeout server 60s\n\
         frontend all\n    bind 127.0.0.1:{port}\n    default_backend mail\n"
    );
    fs::write(directory.join("haproxy.cfg"), config).unwrap();
    let instances = instances(&place).await;
    let script = "cat > backends.new && haproxy -c -q -f haproxy.cfg -f backends.new && \
                  mv backends.new backends.cfg && \
                  if [ -s haproxy.pid ]; then kill -USR2 $(cat haproxy.pid); fi && \
                  echo written $(grep -c server backends.cfg)";
    let watch = watch(&place, "haproxy", script);
    let start = ["haproxy", "-W", "-p", "haproxy.pid", "-f", "haproxy.cfg", "-f", "backends.cfg"];
    let _haproxy = Proxy::start(directory, &start, "Loading success");
    no_request_fails(&place, port, &watch, &instances).await;
}

#[tokio::test]
async fn odd_registered_values_leave_the_configuration_of_haproxy_valid() {
    let place = Place::sqlite();
    let driver = place.driver().await;
    for (number, url) in [
        (1, "https://[fd00::1]/a"),
        (2, "http://no-such-host.invalid:80"),
        (3, "http://h;}:80"),
        (4, "http://h\n    server x 127.0.0.1:1"),
    ] {
        driver.register(&fixed("9.mail_x-y", number, url), LEASE).await.unwrap();
    }
    // For haproxy these two have one name.
    for id in ["9.mail_x-y-a;b", "9.mail_x-y-a_b"] {
        let url = format!("http://10.0.0.{}:80", id.len());
        let odd = Instance::from_parts(id.into(), "9.mail_x-y", &url, [].into());
        driver.register(&odd, LEASE).await.unwrap();
    }
    let main = "defaults\n    mode http\n    timeout connect 1s\n    timeout client 1s\n    timeout server 1s\n\
                frontend all\n    bind 127.0.0.1:1\n    default_backend 9.mail_x-y\n";
    fs::write(place.directory.path().join("haproxy.cfg"), main).unwrap();
    let script = "cat > backends.cfg; haproxy -c -f haproxy.cfg -f backends.cfg; echo judged $?; \
                  cat backends.cfg";
    let watch = place.start(&["watch", "-o", "haproxy", "--exec", script]);
    watch.wait_for("judged 0");
    watch.wait_for("[fd00::1]:443 check");
    watch.wait_for("no-such-host.invalid:80 check init-addr");
}
