//! The entry points of the fuzz targets; compiled only with `--cfg fuzzing`.

use std::time::Duration;

use gosd_core::{Event, Instance, Result};

use crate::sse::Parser;
use crate::wire;

/// The instances of a list, and how many of its items could not be read.
pub fn list(json: &str) -> (Result<Vec<Instance>>, usize) {
    let mut skipped = 0;
    (wire::list(json, |_| skipped += 1), skipped)
}

/// The event of a message.
pub fn event(name: &str, data: &str) -> Result<Option<Event>> {
    wire::event(name, data, |_| {})
}

/// The description in a problem document.
pub fn problem_detail(json: &[u8]) -> Option<String> {
    wire::problem_detail(json, None)
}

/// The body that registers.
pub fn registration(instance: &Instance, lease: Duration) -> String {
    wire::registration(instance, lease)
}

/// The name, the data and the id of each message of a stream that comes in these pieces; the last
/// one may be an error.
pub fn messages<'a>(
    pieces: impl IntoIterator<Item = &'a [u8]>,
    limit: usize,
) -> Vec<Result<(String, String, String)>> {
    let mut parser = Parser::new(limit);
    let mut messages = Vec::new();
    for piece in pieces {
        parser.push(piece);
        loop {
            match parser.next() {
                Ok(None) => break,
                Ok(Some(message)) => messages.push(Ok((message.name, message.data, message.id))),
                Err(error) => {
                    messages.push(Err(error));
                    return messages;
                }
            }
        }
    }
    messages
}
