//! A connection whose requests end when it ends.

use std::io;
use std::time::Duration;

use redis::aio::{ConnectionLike, MultiplexedConnection};
use redis::{Cmd, Pipeline, RedisError, RedisFuture, RedisResult, Value};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// The client library's connection. Clones share it; what one sends does not wait for the others'
/// answers.
///
/// A request that reaches the library's task while this ends stays in a channel that nobody reads,
/// with neither an answer nor an error. So the end of the task ends every request.
#[derive(Clone)]
pub(crate) struct Answers {
    redis: MultiplexedConnection,
    /// Closed when the task has ended.
    ended: watch::Receiver<()>,
}

impl Answers {
    /// Runs the task that sends the requests and reads the answers.
    pub(crate) fn run(
        redis: MultiplexedConnection,
        task: impl Future<Output = ()> + Send + 'static,
    ) -> (Self, JoinHandle<()>) {
        let (alive, ended) = watch::channel(());
        let task = tokio::spawn(async move {
            let _alive = alive;
            task.await;
        });
        (Self { redis, ended }, task)
    }

    /// Bounds the wait for each answer, for callers that set no bound of their own.
    pub(crate) fn within(mut self, time: Duration) -> Self {
        self.redis.set_response_timeout(time);
        self
    }
}

impl ConnectionLike for Answers {
    fn req_packed_command<'a>(&'a mut self, command: &'a Cmd) -> RedisFuture<'a, Value> {
        Box::pin(unless(&mut self.ended, self.redis.req_packed_command(command)))
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        commands: &'a Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        Box::pin(unless(&mut self.ended, self.redis.req_packed_commands(commands, offset, count)))
    }

    fn get_db(&self) -> i64 {
        self.redis.get_db()
    }
}

async fn unless<T>(ended: &mut watch::Receiver<()>, answer: RedisFuture<'_, T>) -> RedisResult<T> {
    tokio::select! {
        // An answer that came before the end still counts.
        biased;
        answer = answer => answer,
        _ = ended.changed() => Err(RedisError::from(io::Error::from(io::ErrorKind::BrokenPipe))),
    }
}

#[cfg(test)]
mod tests {
    use redis::{AsyncConnectionConfig, RedisConnectionInfo};

    use super::*;

    #[tokio::test]
    async fn a_request_that_its_task_never_saw_is_an_error() {
        let (socket, _server) = tokio::io::duplex(64);
        let config = AsyncConnectionConfig::new().set_response_timeout(None);
        let (redis, unread) = MultiplexedConnection::new_with_config(
            &RedisConnectionInfo::default().set_skip_set_lib_name(),
            socket,
            config,
        )
        .await
        .unwrap();
        // The channel of requests stays, as in the race, and the task that reads it is gone.
        let (mut answers, task) = Answers::run(redis, async {});
        task.await.unwrap();
        let error = redis::cmd("PING").exec_async(&mut answers).await.unwrap_err();
        assert!(error.is_io_error(), "{error}");
        drop(unread);
    }
}
