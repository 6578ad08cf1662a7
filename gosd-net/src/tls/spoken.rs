//! Finds out whether a server speaks TLS at all.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use crate::tcp::connect;

/// How long the server may take to answer.
const PROBE: Duration = Duration::from_secs(1);

/// The greeting of a client of TLS 1.2 that knows no way to encrypt: no server can go on with it, and
/// each that speaks TLS says so. Written by hand, so that no cryptography is needed for it.
const HELLO: &[u8] = &{
    let mut hello = [0; 50];
    // A handshake of 45 bytes; a ClientHello of 41.
    let head = [22, 3, 1, 0, 45, 1, 0, 0, 41, 3, 3];
    let mut i = 0;
    while i < head.len() {
        hello[i] = head[i];
        i += 1;
    }
    // 32 bytes for a random number, and none for a session. One cipher suite, which is the signal that
    // this is no renegotiation, and one method of compression, which is none.
    hello[45] = 2;
    hello[46] = 0;
    hello[47] = 255;
    hello[48] = 1;
    hello
};
/// The records that may come for an answer: an alert, or a handshake.
const RECORDS: [u8; 2] = [21, 22];

/// Whether the server at a host speaks TLS, for the error of a client that does not. The answer is also no
/// if there is no server, or if it takes longer than a second.
pub async fn is_spoken_by(host: &str, port: u16) -> bool {
    let answer = async {
        let mut socket = connect(host, port).await?;
        socket.write_all(HELLO).await?;
        socket.read_u8().await
    };
    matches!(timeout(PROBE, answer).await, Ok(Ok(record)) if RECORDS.contains(&record))
}
