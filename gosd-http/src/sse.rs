//! A parser of server-sent events.

use gosd_core::{Error, ErrorKind, Result};

/// How many bytes the buffer keeps when it is empty. A snapshot of all instances needs many times more than the
/// changes after it, and a stream lasts for as long as its client.
const KEPT: usize = 64 * 1_024;

/// One complete event.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Message {
    /// `message` if the server gave it none.
    pub(crate) name: String,
    pub(crate) data: String,
    /// The id that the server gave last, to this event or one before it.
    pub(crate) id: String,
}

/// Parses a stream from pieces of any size.
pub(crate) struct Parser {
    /// The most bytes that one event may have.
    limit: usize,
    buffer: Vec<u8>,
    /// How much of the buffer has been parsed, and how much of it has been searched for the end of a line.
    read: usize,
    searched: usize,
    /// The last line ended with a carriage return: a line feed right after it belongs to it.
    after_return: bool,
    name: String,
    data: String,
    id: String,
}

impl Parser {
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            limit,
            buffer: Vec::new(),
            read: 0,
            searched: 0,
            after_return: false,
            name: String::new(),
            data: String::new(),
            id: String::new(),
        }
    }

    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.buffer.drain(..self.read);
        self.searched -= self.read;
        self.read = 0;
        if self.buffer.is_empty() && self.buffer.capacity() > KEPT {
            self.buffer = Vec::new();
        }
        self.buffer.extend_from_slice(bytes);
    }

    /// The next complete event, if there is one.
    pub(crate) fn next(&mut self) -> Result<Option<Message>> {
        while let Some(line) = self.line() {
            if let Some(message) = self.take(&line) {
                return Ok(Some(message));
            }
            self.check(self.data.len())?;
        }
        self.check(self.buffer.len() - self.read)?;
        Ok(None)
    }

    fn check(&self, size: usize) -> Result<()> {
        if size <= self.limit {
            return Ok(());
        }
        let limit = self.limit;
        Err(Error::new(ErrorKind::Data, format!("an event has more than {limit} bytes")))
    }

    fn line(&mut self) -> Option<String> {
        if self.after_return && self.buffer.get(self.read) == Some(&b'\n') {
            self.read += 1;
            self.searched = self.searched.max(self.read);
            self.after_return = false;
        }
        let is_end = |byte: &u8| matches!(byte, b'\n' | b'\r');
        let Some(length) = self.buffer[self.searched..].iter().position(is_end) else {
            self.searched = self.buffer.len();
            return None;
        };
        let end = self.searched + length;
        let line = String::from_utf8_lossy(&self.buffer[self.read..end]).into_owned();
        self.after_return = self.buffer[end] == b'\r';
        self.read = end + 1;
        self.searched = self.read;
        Some(line)
    }

    /// Adds a line. An empty line ends an event, which counts only if it has data.
    fn take(&mut self, line: &str) -> Option<Message> {
        if line.is_empty() {
            let name = std::mem::take(&mut self.name);
            let mut data = std::mem::take(&mut self.data);
            // The line feed after the last line of the data.
            data.pop()?;
            let name = if name.is_empty() { "message".to_owned() } else { name };
            return Some(Message { name, data, id: self.id.clone() });
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => value.clone_into(&mut self.name),
            "data" => self.data.extend([value, "\n"]),
            "id" if !value.contains('\0') => value.clone_into(&mut self.id),
            // A comment, or a field that this parser does not need.
            _ => {}
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Vec<Message> {
        let mut parser = Parser::new(1_000);
        let mut messages = Vec::new();
        for piece in pieces {
            parser.push(piece);
            while let Some(message) = parser.next().unwrap() {
                messages.push(message);
            }
        }
        messages
    }

    fn message(name: &str, data: &str, id: &str) -> Message {
        Message { name: name.into(), data: data.into(), id: id.into() }
    }

    #[test]
    fn fields_and_line_ends() {
        let text = ": a comment\n\nevent: put\r\nid: 7\r\ndata: a\r\ndata:b\r\n\r\ndata\r\revent:x\n\nid\ndata:  c\n\n";
        let expected = [
            message("put", "a\nb", "7"),
            message("message", "", "7"),
            message("message", " c", ""),
        ];
        assert_eq!(parse([text.as_bytes()]), expected);
        assert_eq!(parse(text.as_bytes().chunks(1)), expected);
    }

    #[test]
    fn half_an_event_is_none() {
        assert_eq!(parse([b"id: 1\ndata: a\n".as_slice()]), []);
    }

    #[test]
    fn an_event_without_an_end_is_cut_off() {
        for line in ["data: x", "data: x\n", ":"] {
            let mut parser = Parser::new(100);
            let endless = || -> Result<()> {
                for _ in 0..1_000 {
                    parser.push(line.as_bytes());
                    parser.next()?;
                }
                Ok(())
            };
            assert_eq!({ endless }().unwrap_err().kind(), ErrorKind::Data, "{line:?}");
        }
    }

    #[test]
    fn the_memory_of_a_large_event_is_given_back() {
        let mut parser = Parser::new(1_000_000);
        parser.push(format!("data: {}\n\n", "x".repeat(4 * KEPT)).as_bytes());
        assert_eq!(parser.next().unwrap().map(|it| it.data.len()), Some(4 * KEPT));
        parser.push(b"data: a\n\n");
        assert!(parser.buffer.capacity() <= KEPT, "{} bytes", parser.buffer.capacity());
        assert_eq!(parser.next().unwrap().map(|it| it.data), Some("a".into()));
    }

    proptest! {
        #[test]
        fn however_it_is_cut(text in "(event|id|data|:|: |\n|\r|[a-z]|\u{1f980})*", cut in 1..9usize) {
            let whole = parse([text.as_bytes()]);
            prop_assert_eq!(parse(text.as_bytes().chunks(cut)), whole);
        }
    }
}
