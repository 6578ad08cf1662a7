//! The entry points of the fuzz targets; compiled only with `--cfg fuzzing`.

use std::cell::Cell;
use std::io::{self, Cursor, Read};
use std::pin::Pin;
use std::task::{Context, Poll};

use gosd_core::{Event, Instance, Result};
use redis::Value;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::replies::Replies;
use crate::snapshot::take;
use crate::{cursor, layout};

/// The registry that a server's replies contain, if they arrive in pieces of this size; and how many records
/// could not be read.
pub async fn snapshot(replies: &[u8], piece: usize) -> (Result<Vec<Instance>>, usize) {
    let socket = Pieces { replies: Cursor::new(replies.to_vec()), size: piece };
    let skipped = Cell::new(0);
    let read = async {
        let mut replies = Replies::to(Box::new(socket), b"").await?;
        take(&mut replies, |_| skipped.set(skipped.get() + 1)).await
    };
    (read.await.map(|snapshot| snapshot.instances), skipped.get())
}

/// The event of a stream entry.
pub fn event(fields: Vec<Vec<u8>>) -> Result<Event> {
    let fields = fields.into_iter().map(Value::BulkString).collect();
    layout::event(cursor::text_pairs(fields).collect())
}

/// The fields of the stream entry for a registration.
pub fn put(instance: &Instance) -> Vec<Vec<u8>> {
    let meta = layout::meta_of(instance);
    let fields = ["op", "put", "id", instance.id().as_str(), "url", instance.url(), "meta", &meta];
    fields.map(|field| field.as_bytes().to_vec()).to_vec()
}

/// A server that has answered already.
struct Pieces {
    replies: Cursor<Vec<u8>>,
    size: usize,
}

impl AsyncRead for Pieces {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let size = self.size.min(into.remaining());
        let read = self.replies.read(into.initialize_unfilled_to(size))?;
        into.advance(read);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Pieces {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
