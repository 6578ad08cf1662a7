//! No token is in any log of server and driver, at any level. This test is a process of its own, because
//! logging that begins while another thread logs may miss lines.

use std::io::{self, Write};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::StreamExt;
use gosd_core::{Instance, Memory};
use gosd_server::{Settings, serve};
use tracing_subscriber::fmt::MakeWriter;

const TOKEN: &str = "sesame-sesame-sesame";

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("nobody panics").write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Log {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

/// On one thread, so that the subscriber receives the lines of the server's tasks too.
#[tokio::test(flavor = "current_thread")]
async fn no_log_contains_a_token() {
    let log = Log::default();
    let subscriber = tracing_subscriber::fmt()
        .with_ansi(false)
        .with_max_level(tracing::Level::TRACE)
        .with_writer(log.clone())
        .finish();
    let guard = tracing::subscriber::set_default(subscriber);
    let settings = Settings::new().token(TOKEN).unwrap().namespace("gosd", Arc::new(Memory::new()));
    let server = serve("127.0.0.1:0", settings.unwrap()).await.unwrap();
    let mail = Instance::new("mail", "http://10.0.0.7:8885").unwrap();
    for (token, is_let_in) in [(TOKEN, true), ("sesame-but-another-one", false)] {
        let url = format!("http://:{token}@{}", server.address());
        let driver = gosd_http::open(&url).await.unwrap();
        assert_eq!(driver.register(&mail, Duration::from_secs(600)).await.is_ok(), is_let_in);
        assert_eq!(driver.watch().unwrap().next().await.unwrap().is_ok(), is_let_in);
    }
    server.shutdown().await;
    drop(guard);
    let text = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    assert!(text.contains("method=PUT") && text.contains("status=401"), "{text}");
    assert!(!text.contains("sesame"), "{text}");
}
