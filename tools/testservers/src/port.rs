//! Free ports for servers.

use std::hash::{BuildHasher, RandomState};
use std::net::TcpListener;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU16, Ordering};

/// The range of ports, which is below the one that the system uses for outgoing connections.
const FIRST: u16 = 12_000;
const COUNT: u16 = 20_000;

/// The next port to try. The first one is random, so that it is far from those of other processes.
static NEXT: LazyLock<AtomicU16> = LazyLock::new(|| {
    let random = RandomState::new().hash_one(()) % u64::from(COUNT);
    AtomicU16::new(random as u16)
});

/// Finds a port on which nobody listens, and which this process has not been given lately.
pub fn free_port() -> u16 {
    for _ in 0..COUNT {
        let port = FIRST + NEXT.fetch_add(1, Ordering::Relaxed) % COUNT;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
    panic!("no port is free");
}
