//! How many connections stay open after calls.

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use super::support::{LATE, open};

const NOBODY: &str = "{\"instances\":[]}";

/// Reads the head of a request, which has no body.
fn read_request(socket: &mut TcpStream) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        socket.read_exact(&mut byte).unwrap();
        head.extend(byte);
    }
}

/// Whether the other side has closed the connection; waits for that for a moment.
fn is_closed(socket: &mut TcpStream) -> bool {
    socket.set_read_timeout(Some(Duration::from_millis(5))).unwrap();
    match socket.read(&mut [0]) {
        Ok(read) => read == 0,
        Err(error) => !matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut),
    }
}

#[tokio::test(start_paused = true)]
async fn calls_at_once_leave_one_connection() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    // While this runs, the paused time stands still: no connection is closed because it was idle for long.
    let server = tokio::task::spawn_blocking(move || {
        let mut sockets = [(); 2].map(|()| listener.accept().unwrap().0);
        sockets.iter_mut().for_each(read_request);
        let length = NOBODY.len();
        let head = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {length}"
        );
        for socket in &mut sockets {
            socket.write_all(format!("{head}\r\n\r\n{NOBODY}").as_bytes()).unwrap();
        }
        let began = Instant::now();
        while !sockets.iter_mut().any(is_closed) && began.elapsed() < LATE {}
        sockets.iter_mut().filter_map(|socket| is_closed(socket).then_some(())).count()
    });
    let driver = open(&url).await;
    let (one, other) = tokio::join!(driver.list(), driver.list());
    assert_eq!((one.unwrap(), other.unwrap()), (Vec::new(), Vec::new()));
    assert_eq!(server.await.unwrap(), 1);
}
