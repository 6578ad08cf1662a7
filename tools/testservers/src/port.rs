//! Free ports to start servers on.

use std::hash::{BuildHasher, RandomState};
use std::net::TcpListener;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU16, Ordering};

/// The ports that are given out: below those that the system takes for outgoing connections.
const FIRST: u16 = 12_000;
const COUNT: u16 = 20_000;

/// Where the ports of this process begin: at random, so far from those of others.
static NEXT: LazyLock<AtomicU16> = LazyLock::new(|| {
    let random = RandomState::new().hash_one(()) % u64::from(COUNT);
    AtomicU16::new(random as u16)
});

/// Finds a port that nobody listens on, and that this process has not been given lately.
pub fn free_port() -> u16 {
    for _ in 0..COUNT {
        let port = FIRST + NEXT.fetch_add(1, Ordering::Relaxed) % COUNT;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
    panic!("no port is free");
}
