//! What the Redis server behind a tier says of an instance: the changes in its stream, and how near leases came to
//! their end.

use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::time::sleep;

/// A change of an instance, as the stream of the server has it.
pub struct Entry {
    /// In ms since 1970.
    pub at: u64,
    pub op: String,
    pub id: String,
}

/// The changes of the namespace that the server still has.
pub async fn changes(port: u16) -> Vec<Entry> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.expect("a connection");
    stream.write_all(b"XRANGE {gosd}:events - +\r\nQUIT\r\n").await.expect("a request");
    let mut text = String::new();
    stream.read_to_string(&mut text).await.expect("an answer");
    // Between the values are their lengths.
    let mut values = text.lines().filter(|line| !line.starts_with(['*', '$', '+']));
    let mut entries: Vec<Entry> = Vec::new();
    while let Some(value) = values.next() {
        let at =
            value.split_once('-').and_then(|(at, n)| n.parse::<u64>().ok().and(at.parse().ok()));
        if let Some(at) = at {
            entries.push(Entry { at, op: String::new(), id: String::new() });
        } else if let Some(entry) = entries.last_mut() {
            match value {
                "op" => entry.op = values.next().unwrap_or_default().into(),
                "id" => entry.id = values.next().unwrap_or_default().into(),
                _ => {}
            }
        }
    }
    entries
}

/// Looks for a time at the lease that ends next; returns what was left of it in s, at least.
pub async fn least_left(port: u16, time: Duration) -> f64 {
    let stream = TcpStream::connect(("127.0.0.1", port)).await.expect("a connection");
    let mut stream = BufReader::new(stream);
    let mut least = f64::MAX;
    let looks = time.as_millis() / 250;
    for _ in 0..looks {
        let request = b"ZRANGE {gosd}:leases 0 0 WITHSCORES\r\nTIME\r\n";
        stream.write_all(request).await.expect("a request");
        let mut lines = Vec::new();
        while lines.len() < 10 {
            let mut line = String::new();
            stream.read_line(&mut line).await.expect("an answer");
            lines.push(line.trim_end().to_owned());
        }
        let number = |n: usize| lines[n].parse::<f64>().expect("a number");
        least = least.min(number(4) / 1e3 - number(7) - number(9) / 1e6);
        sleep(Duration::from_millis(250)).await;
    }
    least
}
