//! The replies of a large transaction, read as they come.

use std::io;
use std::str::FromStr;

use gosd_core::{Error, ErrorKind, Result};
use gosd_net::{Socket, connection_error};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::error;

/// How much is read at a time, at least.
const CHUNK: usize = 64 * 1_024;
/// The longest line that counts as one of the protocol's; strings have lengths, and may be longer.
const LINE: usize = 64 * 1_024;

/// The replies on a socket, parsed in place in the buffer.
///
/// The client library that carries all other commands builds a whole reply in memory before its caller sees a
/// part of it, which takes longer than a large registry needs to arrive.
pub(crate) struct Replies {
    socket: Box<dyn Socket>,
    buffer: Vec<u8>,
    /// Where in the buffer the next token begins.
    start: usize,
}

/// The smallest part of a reply.
enum Token<'a> {
    Array(usize),
    Bulk(&'a [u8]),
    Number(i64),
    /// A simple string.
    Simple,
    Error(&'a [u8]),
    Nil,
}

impl Replies {
    /// Sends commands, and begins to read what comes.
    pub(crate) async fn to(mut socket: Box<dyn Socket>, commands: &[u8]) -> Result<Self> {
        socket.write_all(commands).await.map_err(|error| connection_error(&error))?;
        Ok(Self { socket, buffer: Vec::with_capacity(2 * CHUNK), start: 0 })
    }

    /// Reads the reply of a command that only reports success.
    pub(crate) async fn ok(&mut self) -> Result<()> {
        self.next(|token| matches!(token, Token::Simple | Token::Number(_)).then_some(())).await
    }

    /// Reads a number.
    pub(crate) async fn number(&mut self) -> Result<i64> {
        self.next(|token| match token {
            Token::Number(number) => Some(number),
            _ => None,
        })
        .await
    }

    /// Reads the beginning of an array, and returns how many elements follow.
    pub(crate) async fn array(&mut self) -> Result<usize> {
        self.next(|token| match token {
            Token::Array(length) => Some(length),
            _ => None,
        })
        .await
    }

    /// Reads one string; `None` if it is no text.
    pub(crate) async fn text(&mut self) -> Result<Option<String>> {
        self.next(|token| match token {
            Token::Bulk(bytes) => Some(str::from_utf8(bytes).ok().map(Into::into)),
            _ => None,
        })
        .await
    }

    /// Reads two strings, neither of which is copied.
    pub(crate) async fn pair<T>(&mut self, take: impl FnOnce(&[u8], &[u8]) -> T) -> Result<T> {
        loop {
            let unread = &self.buffer[self.start..];
            if let Some((first, used)) = token(unread)?
                && let Some((second, more)) = token(&unread[used..])?
            {
                let (Token::Bulk(first), Token::Bulk(second)) = (first, second) else {
                    return Err(unexpected());
                };
                let taken = take(first, second);
                self.start += used + more;
                return Ok(taken);
            }
            self.fill().await?;
        }
    }

    async fn next<T>(&mut self, take: impl FnOnce(Token<'_>) -> Option<T>) -> Result<T> {
        loop {
            match token(&self.buffer[self.start..])? {
                Some((Token::Error(text), _)) => {
                    return Err(error::from_server(&String::from_utf8_lossy(text)));
                }
                Some((token, used)) => {
                    let taken = take(token);
                    self.start += used;
                    return taken.ok_or_else(unexpected);
                }
                None => self.fill().await?,
            }
        }
    }

    async fn fill(&mut self) -> Result<()> {
        self.buffer.drain(..self.start);
        self.start = 0;
        self.buffer.reserve(CHUNK);
        match self.socket.read_buf(&mut self.buffer).await {
            Ok(0) => Err(connection_error(&io::Error::from(io::ErrorKind::UnexpectedEof))),
            Ok(_) => Ok(()),
            Err(error) => Err(connection_error(&error)),
        }
    }
}

/// The token at the beginning, and how many bytes it takes; `None` if it is not whole yet.
fn token(bytes: &[u8]) -> Result<Option<(Token<'_>, usize)>> {
    let Some(end) = bytes.iter().position(|byte| *byte == b'\n') else {
        return if bytes.len() <= LINE { Ok(None) } else { Err(unexpected()) };
    };
    let line = bytes[..end].strip_suffix(b"\r").ok_or_else(unexpected)?;
    let (kind, rest) = line.split_first().ok_or_else(unexpected)?;
    let used = end + 1;
    Ok(Some(match (kind, rest) {
        (b'+', _) => (Token::Simple, used),
        (b':', digits) => (Token::Number(parsed(digits)?), used),
        (b'-', text) => (Token::Error(text), used),
        (b'$' | b'*', b"-1") => (Token::Nil, used),
        (b'*', length) => (Token::Array(self::length(length)?), used),
        (b'$', length) => {
            let length = self::length(length)?;
            // The line end after it comes with it.
            match bytes.get(used..used + length + 2) {
                Some(bulk) => (Token::Bulk(&bulk[..length]), used + length + 2),
                None => return Ok(None),
            }
        }
        _ => return Err(unexpected()),
    }))
}

fn length(digits: &[u8]) -> Result<usize> {
    // The server's own bound on the length of a string is 512 MiB.
    parsed::<u32>(digits).map(|number| number as usize)
}

fn parsed<T: FromStr>(digits: &[u8]) -> Result<T> {
    let number = str::from_utf8(digits).ok().and_then(|digits| digits.parse().ok());
    number.ok_or_else(unexpected)
}

/// An answer in another protocol does not come from Redis, but from a proxy that cannot reach it.
fn unexpected() -> Error {
    Error::new(ErrorKind::Unavailable, "the answer was not understood; is this a Redis server?")
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncWriteExt, duplex};

    use super::*;

    /// The result does not depend on how the replies are cut into pieces.
    #[tokio::test]
    async fn pieces_of_every_size() {
        let sent =
            b"+OK\r\n:12\r\n*4\r\n$2\r\nab\r\n$0\r\n\r\n$4\r\n\r\n\xff$\r\n$1\r\n-\r\n*0\r\n:-7\r\n";
        for size in 1..=sent.len() {
            let (ours, mut theirs) = duplex(size);
            let feeding = tokio::spawn(async move {
                theirs.read_u8().await.unwrap();
                theirs.write_all(sent).await.unwrap();
            });
            let mut replies = Replies::to(Box::new(ours), b"x").await.unwrap();
            replies.ok().await.unwrap();
            replies.ok().await.unwrap();
            assert_eq!(replies.array().await.unwrap(), 4);
            assert_eq!(replies.text().await.unwrap().as_deref(), Some("ab"));
            assert_eq!(replies.text().await.unwrap().as_deref(), Some(""));
            let pair = replies.pair(|a, b| (a.to_vec(), b.to_vec())).await.unwrap();
            assert_eq!(pair, (b"\r\n\xff$".to_vec(), b"-".to_vec()));
            assert_eq!(replies.array().await.unwrap(), 0);
            assert_eq!(replies.number().await.unwrap(), -7);
            assert!(replies.ok().await.unwrap_err().is_retryable(), "the end is a lost contact");
            feeding.await.unwrap();
        }
    }

    #[tokio::test]
    async fn a_line_without_an_end_is_cut_off() {
        let endless = tokio::io::join(tokio::io::repeat(b'+'), tokio::io::sink());
        let mut replies = Replies::to(Box::new(endless), b"").await.unwrap();
        assert_eq!(replies.ok().await.unwrap_err().kind(), ErrorKind::Unavailable);
    }

    #[tokio::test]
    async fn what_is_not_expected() {
        for (sent, kind) in [
            (&b"-WRONGTYPE Operation\r\n"[..], ErrorKind::Data),
            (b"-NOAUTH Authentication required.\r\n", ErrorKind::Denied),
            (b"$-1\r\n", ErrorKind::Unavailable),
            (b"*-1\r\n", ErrorKind::Unavailable),
            (b"*-2\r\n", ErrorKind::Unavailable),
            (b"*x\r\n", ErrorKind::Unavailable),
            (b"$99999999999999999999\r\n", ErrorKind::Unavailable),
            (b"\r\n", ErrorKind::Unavailable),
            (b"HTTP/1.1 400 Bad Request\r\n", ErrorKind::Unavailable),
            (b"*1\n", ErrorKind::Unavailable),
            (b"", ErrorKind::Unavailable),
        ] {
            let (ours, mut theirs) = duplex(1_024);
            theirs.write_all(sent).await.unwrap();
            theirs.shutdown().await.unwrap();
            let mut replies = Replies::to(Box::new(ours), b"").await.unwrap();
            let error = replies.array().await.unwrap_err();
            assert_eq!(error.kind(), kind, "{}: {error}", String::from_utf8_lossy(sent));
        }
    }
}
