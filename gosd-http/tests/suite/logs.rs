//! What the logs of both sides say, at their most talkative.

use std::io::{self, Write};
use std::sync::{Arc, Mutex};

use futures_util::StreamExt;
use gosd_http::server::Settings;
use tracing_subscriber::fmt::MakeWriter;

use super::support::{LEASE, instance, memory, open};

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

/// On one thread, so that the log hears the tasks of the server too.
#[tokio::test(flavor = "current_thread")]
async fn they_hold_no_token() {
    let log = Log::default();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_writer(log.clone())
        .finish();
    let guard = tracing::subscriber::set_default(subscriber);
    let (server, _) = memory(Settings::new().token(TOKEN).unwrap()).await;
    let mail = instance("mail");
    for (token, is_let_in) in [(TOKEN, true), ("sesame-but-another-one", false)] {
        let driver = open(&format!("http://:{token}@{}", server.address())).await;
        assert_eq!(driver.register(&mail, LEASE).await.is_ok(), is_let_in);
        assert_eq!(driver.watch().unwrap().next().await.unwrap().is_ok(), is_let_in);
    }
    server.shutdown().await;
    drop(guard);
    let text = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    assert!(text.contains("method=PUT") && text.contains("status=401"), "{text}");
    assert!(!text.contains("sesame"), "{text}");
}
