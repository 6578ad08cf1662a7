//! A real nginx behind `gosd watch --exec`: it is reloaded 50 times under load, and no request fails.

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use gosd_testservers::free_port;
use rustix::process::Signal;

use crate::support::{LEASE, Place, Process, fixed};

const CHANGES: usize = 50;

/// Ends with its workers, which outlive a master that is killed.
struct Nginx(Process);

impl Drop for Nginx {
    fn drop(&mut self) {
        self.0.signal(Signal::TERM);
        self.0.wait();
    }
}

/// A server that answers each request with its own name; lives as long as the test.
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

#[tokio::test]
async fn no_request_fails_while_instances_come_and_go() {
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
    let instances: Vec<_> =
        (1..=3).map(|n| fixed("mail", n, &format!("http://127.0.0.1:{}", backend()))).collect();
    let driver = place.driver().await;
    driver.register(&instances[0], LEASE).await.unwrap();

    let script = "cat > new && mv new upstreams.conf && \
                  if [ -s nginx.pid ]; then nginx -p . -c nginx.conf -s reload 2>/dev/null; fi && \
                  echo written $(grep -c server upstreams.conf)";
    let watch = place.start(&["watch", "mail", "-o", "nginx", "--settle", "1ms", "--exec", script]);
    watch.wait_for("written 1");
    let mut nginx = Command::new("nginx");
    nginx.args(["-p", ".", "-c", "nginx.conf", "-e", "stderr"]).current_dir(directory);
    let nginx = Nginx(Process::start(nginx.env("PATH", "/usr/sbin:/usr/bin:/bin")));
    nginx.0.wait_for("start worker process");

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
        // One, two, three, two, one, ...: the first one stays.
        let (count, changed) = [(2, 1), (3, 2), (2, 2), (1, 1)][change % 4];
        match change % 4 {
            0 | 1 => driver.register(&instances[changed], LEASE).await.unwrap(),
            _ => driver.deregister(instances[changed].id()).await.unwrap(),
        }
        watch.wait_for(&format!("written {count}"));
        // Under load all the while: some requests more for each state.
        let before = asked.load(Ordering::Relaxed);
        while asked.load(Ordering::Relaxed) < before + 8 {
            tokio::task::yield_now().await;
        }
    }
    is_over.store(true, Ordering::Relaxed);
    let failed: Vec<String> = load.into_iter().flat_map(|it| it.join().unwrap()).collect();
    assert!(failed.is_empty(), "{} of {asked:?}: {:?}", failed.len(), failed.first());
}
