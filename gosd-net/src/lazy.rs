//! A connection that is made when it is first needed, and replaced when it has broken.

use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use futures_util::FutureExt;
use futures_util::future::Shared;
use gosd_core::{BoxFuture, Error, Result};
use tokio::runtime::{self, Handle};

/// A connection that all calls share: made by the first, and replaced after one that broke it.
///
/// A [`Fault::Connection`] marks the connection as broken. So does a call that is dropped before it is
/// complete, because a dead connection may be why its caller stopped waiting. An attempt to connect
/// outlives the call that began it, and the next call waits for the same attempt: a handshake or the
/// check of a password would otherwise be paid for again. So `open` has to bound itself in time. An attempt
/// belongs to the runtime on which it began; a call on another runtime makes a new one, since the first
/// runtime may have ended or be idle.
///
/// `T` is a handle that is cheap to clone, such as an [`Arc`](std::sync::Arc).
pub struct Lazy<T: Clone> {
    slot: Mutex<Option<Begun<T>>>,
}

/// A connection that is open or being opened.
struct Begun<T: Clone> {
    opening: Opening<T>,
    /// The runtime on which the attempt began; `None` outside of any.
    runtime: Option<runtime::Id>,
}

/// Resolves to the connection, for every call that waits for it.
type Opening<T> = Shared<BoxFuture<'static, Result<T>>>;

/// The failure of a call, and whether the connection is to blame.
#[derive(Debug)]
pub enum Fault {
    /// The server has answered, with a refusal: the connection is good.
    Server(Error),
    /// The connection broke, is silent, or leads to a server that cannot serve: it is replaced.
    Connection(Error),
}

impl Fault {
    /// The failure itself.
    pub fn into_error(self) -> Error {
        match self {
            Self::Server(error) | Self::Connection(error) => error,
        }
    }
}

/// For drivers that do not need the distinction: an error that is retryable replaces the connection.
impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        if error.is_retryable() { Self::Connection(error) } else { Self::Server(error) }
    }
}

impl<T: Clone + Send + Sync + 'static> Lazy<T> {
    /// Begins without a connection.
    pub const fn new() -> Self {
        Self { slot: Mutex::new(None) }
    }

    /// The connection, made with `open` unless there is one.
    ///
    /// # Errors
    ///
    /// Those of `open`, for all calls that waited for it; the next call tries again.
    ///
    /// Cancel-safe: the next call waits for the attempt that this one began.
    pub async fn get<F>(&self, open: impl FnOnce() -> F) -> Result<T>
    where
        F: Future<Output = Result<T>> + Send + 'static,
    {
        self.opened(open).await.map(|opened| opened.connection)
    }

    /// Closes the connection, if there is one: the next call opens a new one.
    pub fn forget(&self) {
        *self.slot() = None;
    }

    /// Makes a call on the connection.
    ///
    /// # Errors
    ///
    /// Those of `open` and of `call`.
    ///
    /// Cancel-safe as far as `call` is; the connection is given up with it.
    pub async fn call<R, O, C>(
        &self,
        open: impl FnOnce() -> O,
        call: impl FnOnce(T) -> C,
    ) -> Result<R>
    where
        O: Future<Output = Result<T>> + Send + 'static,
        C: Future<Output = Result<R, Fault>>,
    {
        let opened = self.opened(open).await?;
        self.lend(&opened, call).await.map_err(Fault::into_error)
    }

    /// Makes a call on the connection; once more on a new one, if that one has broken.
    ///
    /// A server, or a proxy in front of it, closes idle connections, and a client learns of that only when
    /// its next write fails. So a call that fails on an older connection is repeated at once on a new
    /// one, and its caller sees no failure. A call that fails on a connection opened for it is not
    /// repeated. `call` has to be idempotent, as all methods of a driver are.
    ///
    /// # Errors
    ///
    /// Those of `open` and of the last `call`.
    ///
    /// Cancel-safe as far as `call` is; the connection is given up with it.
    pub async fn call_with_retry<R, O, C>(
        &self,
        open: impl Fn() -> O,
        call: impl Fn(T) -> C,
    ) -> Result<R>
    where
        O: Future<Output = Result<T>> + Send + 'static,
        C: Future<Output = Result<R, Fault>>,
    {
        let opened = self.opened(&open).await?;
        match self.lend(&opened, &call).await {
            Err(Fault::Connection(_)) if !opened.is_ours => self.call(open, call).await,
            result => result.map_err(Fault::into_error),
        }
    }

    async fn opened<F>(&self, open: impl FnOnce() -> F) -> Result<Opened<T>>
    where
        F: Future<Output = Result<T>> + Send + 'static,
    {
        let (opening, is_ours) = {
            let mut slot = self.slot();
            let runtime = Handle::try_current().ok().map(|handle| handle.id());
            let usable = slot.as_ref().filter(|it| it.runtime == runtime || it.is_made());
            match usable.map(|it| it.opening.clone()) {
                Some(opening) => (opening, false),
                None => {
                    let opening = open().boxed().shared();
                    *slot = Some(Begun { opening: opening.clone(), runtime });
                    (opening, true)
                }
            }
        };
        match opening.clone().await {
            Ok(connection) => Ok(Opened { connection, opening, is_ours }),
            Err(error) => {
                self.replace(&opening);
                Err(error)
            }
        }
    }

    async fn lend<R, C>(&self, opened: &Opened<T>, call: impl FnOnce(T) -> C) -> Result<R, Fault>
    where
        C: Future<Output = Result<R, Fault>>,
    {
        let mut lent = Lent { lazy: self, opening: &opened.opening, is_good: false };
        let result = call(opened.connection.clone()).await;
        lent.is_good = !matches!(result, Err(Fault::Connection(_)));
        result
    }
}

impl<T: Clone> Lazy<T> {
    /// Removes a connection, unless a newer one has replaced it already.
    fn replace(&self, opening: &Opening<T>) {
        let mut slot = self.slot();
        if slot.as_ref().is_some_and(|current| current.opening.ptr_eq(opening)) {
            *slot = None;
        }
    }

    fn slot(&self) -> MutexGuard<'_, Option<Begun<T>>> {
        self.slot.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T: Clone> Begun<T> {
    fn is_made(&self) -> bool {
        self.opening.peek().is_some()
    }
}

struct Opened<T: Clone> {
    connection: T,
    opening: Opening<T>,
    /// Whether it was opened for this call, so that it cannot have been idle before.
    is_ours: bool,
}

/// A connection in use by a call; it is closed unless the call reports that it is good.
struct Lent<'a, T: Clone> {
    lazy: &'a Lazy<T>,
    opening: &'a Opening<T>,
    is_good: bool,
}

impl<T: Clone> Drop for Lent<'_, T> {
    fn drop(&mut self) {
        if !self.is_good {
            self.lazy.replace(self.opening);
        }
    }
}

impl<T: Clone + Send + Sync + 'static> Default for Lazy<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T: Clone> fmt::Debug for Lazy<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lazy").field("is_begun", &self.slot().is_some()).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::future::ready;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::time::Duration;

    use gosd_core::ErrorKind;
    use tokio::runtime::Builder;
    use tokio::time::{sleep, timeout};

    use super::*;

    /// Makes connections that are numbers, each after a second.
    #[derive(Clone, Default)]
    struct Opener(Arc<AtomicU32>);

    impl Opener {
        fn open(&self) -> impl Future<Output = Result<u32>> + Send + 'static {
            let made = self.0.clone();
            async move {
                sleep(Duration::from_secs(1)).await;
                Ok(made.fetch_add(1, Ordering::Relaxed) + 1)
            }
        }
    }

    fn unavailable() -> Error {
        Error::new(ErrorKind::Unavailable, "broken")
    }

    #[tokio::test(start_paused = true)]
    async fn all_share_one() {
        let (lazy, opener) = (Lazy::new(), Opener::default());
        let call = || lazy.call(|| opener.open(), async |n| Ok(n));
        let (one, two) = tokio::join!(call(), call());
        assert_eq!((one.unwrap(), two.unwrap(), call().await.unwrap()), (1, 1, 1));
    }

    #[tokio::test(start_paused = true)]
    async fn a_broken_one_is_replaced_and_a_refusal_breaks_nothing() {
        let (lazy, opener) = (Lazy::new(), Opener::default());
        let get = || lazy.get(|| opener.open());
        assert_eq!(get().await.unwrap(), 1);
        let refused = async |_| Err::<(), _>(Fault::Server(unavailable()));
        lazy.call(|| opener.open(), refused).await.unwrap_err();
        assert_eq!(get().await.unwrap(), 1);
        let broken = async |_| Err::<(), _>(Fault::Connection(unavailable()));
        lazy.call(|| opener.open(), broken).await.unwrap_err();
        assert_eq!(get().await.unwrap(), 2);
        lazy.forget();
        assert_eq!(get().await.unwrap(), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_that_is_dropped_gives_the_connection_up() {
        let (lazy, opener) = (Lazy::new(), Opener::default());
        let get = || lazy.get(|| opener.open());
        get().await.unwrap();
        let silent = lazy.call(
            || opener.open(),
            async |_| {
                std::future::pending::<()>().await;
                Ok(())
            },
        );
        assert!(timeout(Duration::from_secs(5), silent).await.is_err());
        assert_eq!(get().await.unwrap(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_begun_goes_on_with_the_next_call() {
        let (lazy, begun) = (Lazy::new(), AtomicU32::new(0));
        let open = || {
            begun.fetch_add(1, Ordering::Relaxed);
            async {
                sleep(Duration::from_secs(10)).await;
                Ok(())
            }
        };
        for _ in 0..3 {
            assert!(timeout(Duration::from_secs(3), lazy.get(open)).await.is_err());
        }
        timeout(Duration::from_secs(3), lazy.get(open)).await.unwrap().unwrap();
        assert_eq!(begun.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn what_was_begun_on_a_runtime_that_ended_is_begun_anew() {
        let runtime = || Builder::new_current_thread().enable_all().build().unwrap();
        let lazy = Lazy::new();
        let begun = runtime();
        // Its time ends with its runtime, and this does with its time.
        let never = lazy.get(|| async {
            sleep(Duration::from_secs(3600)).await;
            Ok(())
        });
        begun.block_on(async { timeout(Duration::from_millis(1), never).await.unwrap_err() });
        drop(begun);
        runtime().block_on(lazy.get(|| ready(Ok(())))).unwrap();
        // What is there is for all of them.
        runtime().block_on(lazy.get(|| ready(Err(unavailable())))).unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_on_an_old_connection_is_repeated_once() {
        let (lazy, opener, calls) = (Lazy::new(), Opener::default(), AtomicU32::new(0));
        let needs = |least: u32| {
            let calls = &calls;
            move |n: u32| {
                calls.fetch_add(1, Ordering::Relaxed);
                ready(if n < least { Err(Fault::Connection(unavailable())) } else { Ok(n) })
            }
        };
        // Its own connection fails: another would as well.
        lazy.call_with_retry(|| opener.open(), needs(9)).await.unwrap_err();
        assert_eq!(calls.swap(0, Ordering::Relaxed), 1);
        assert_eq!(lazy.call_with_retry(|| opener.open(), needs(2)).await.unwrap(), 2);
        calls.store(0, Ordering::Relaxed);
        assert_eq!(lazy.call_with_retry(|| opener.open(), needs(3)).await.unwrap(), 3);
        assert_eq!(calls.swap(0, Ordering::Relaxed), 2);
        lazy.call_with_retry(|| opener.open(), needs(9)).await.unwrap_err();
        assert_eq!(calls.load(Ordering::Relaxed), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_failure_to_connect_is_everybodys_who_waited_and_nobody_elses() {
        let (lazy, attempts) = (Lazy::<()>::new(), AtomicU32::new(0));
        let open = || {
            attempts.fetch_add(1, Ordering::Relaxed);
            async {
                sleep(Duration::from_secs(1)).await;
                Err(unavailable())
            }
        };
        let (one, two) = tokio::join!(lazy.get(open), lazy.get(open));
        assert!(one.is_err() && two.is_err());
        lazy.get(open).await.unwrap_err();
        assert_eq!(attempts.load(Ordering::Relaxed), 2);
    }
}
