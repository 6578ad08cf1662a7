use std::net::TcpListener;
use std::sync::atomic::{AtomicU16, Ordering};

/// The ports that are given out: below those that the system takes for outgoing connections.
const FIRST: u16 = 12_000;
const COUNT: u16 = 20_000;

/// Finds a port that nobody listens on, and that this process has not been given before.
pub fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    for _ in 0..COUNT {
        // Processes begin far from each other.
        let start = (std::process::id() % 1_000) as u16 * 20;
        let port = FIRST + (start + NEXT.fetch_add(1, Ordering::Relaxed) % COUNT) % COUNT;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
    panic!("no port is free");
}
