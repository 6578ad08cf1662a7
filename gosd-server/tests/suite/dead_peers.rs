//! Clients that disappear without closing their connections: nothing that is sent to them arrives.
#![cfg(target_os = "linux")]

use std::time::Duration;

use gosd_server::{Limits, Settings};
use tokio::time::timeout;

use super::support::{LATE, memory, raw, read_until};

const EVENTS: &[u8] = b"GET /v1/gosd/events HTTP/1.1\r\nhost: localhost\r\n\r\n";

/// The server receives no acknowledgement of what it sends, and no reset either.
#[tokio::test]
async fn a_watcher_that_is_gone_without_a_word_loses_its_place() {
    use socket2::{SockFilter, SockRef};

    /// The BPF instruction "return", with a length of zero: every incoming packet is dropped.
    const RETURN: u16 = 0x06;

    let mut limits = Limits::default();
    limits.watchers = 1;
    limits.patience = Duration::from_secs(1);
    let (server, _) = memory(Settings::new().limits(limits)).await;
    let mut watcher = raw(&server, EVENTS).await;
    read_until(&mut watcher, "]}\n\n").await;
    SockRef::from(&watcher).attach_filter(&[SockFilter::new(RETURN, 0, 0, 0)]).unwrap();
    let comes_in = async {
        while !read_until(&mut raw(&server, EVENTS).await, "\r\n\r\n").await.contains(" 200 ") {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(LATE, comes_in).await.expect("the place of the dead watcher is free");
}
