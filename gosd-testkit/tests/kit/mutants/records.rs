//! Drivers that write, read or remove records wrongly, against clauses 1 to 3, 6, 10 and 11.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::StreamExt;
use gosd_core::{Error, ErrorKind, Event, Instance, InstanceId, Result, async_trait};
use tokio::task::yield_now;
use tokio::time::sleep;

use super::{Items, Mutant, Sound, items};

/// Inserts a record, and ignores the insert if the record exists.
#[derive(Default)]
pub(crate) struct KeepsTheFirst;

#[async_trait]
impl Mutant for KeepsTheFirst {
    async fn register(&self, sound: &Sound, instance: &Instance, ttl: Duration) -> Result<()> {
        let list = sound.list().await?;
        let first = list.iter().find(|other| other.id() == instance.id()).unwrap_or(instance);
        sound.register(first, ttl).await
    }
}

/// Adds another row at each registration.
#[derive(Default)]
pub(crate) struct Appends(Mutex<HashMap<InstanceId, usize>>);

#[async_trait]
impl Mutant for Appends {
    async fn register(&self, sound: &Sound, instance: &Instance, ttl: Duration) -> Result<()> {
        *self.0.lock().unwrap().entry(instance.id().clone()).or_default() += 1;
        sound.register(instance, ttl).await
    }

    async fn list(&self, sound: &Sound) -> Result<Vec<Instance>> {
        let list = sound.list().await?;
        let rows = self.0.lock().unwrap();
        let times = |instance: &Instance| rows.get(instance.id()).copied().unwrap_or(1);
        Ok(list.into_iter().flat_map(|it| std::iter::repeat_n(it.clone(), times(&it))).collect())
    }
}

/// Returns the records of the previous read.
#[derive(Default)]
pub(crate) struct ReadsAReplica(Mutex<Vec<Instance>>);

#[async_trait]
impl Mutant for ReadsAReplica {
    async fn list(&self, sound: &Sound) -> Result<Vec<Instance>> {
        let now = sound.list().await?;
        Ok(std::mem::replace(&mut self.0.lock().unwrap(), now))
    }
}

#[derive(Default)]
pub(crate) struct AbsentIsAnError;

#[async_trait]
impl Mutant for AbsentIsAnError {
    async fn deregister(&self, sound: &Sound, id: &InstanceId) -> Result<()> {
        if !sound.list().await?.iter().any(|instance| instance.id() == id) {
            return Err(Error::new(ErrorKind::NotFound, "no such instance"));
        }
        sound.deregister(id).await
    }
}

#[derive(Default)]
pub(crate) struct RemovesByPrefix;

#[async_trait]
impl Mutant for RemovesByPrefix {
    async fn deregister(&self, sound: &Sound, id: &InstanceId) -> Result<()> {
        for instance in sound.list().await? {
            if instance.id().as_str().starts_with(id.as_str()) {
                sound.deregister(instance.id()).await?;
            }
        }
        Ok(())
    }
}

#[derive(Default)]
pub(crate) struct FailureIsEmpty;

#[async_trait]
impl Mutant for FailureIsEmpty {
    async fn list(&self, sound: &Sound) -> Result<Vec<Instance>> {
        Ok(sound.list().await.unwrap_or_default())
    }
}

#[derive(Default)]
pub(crate) struct EmptyIsAnError;

#[async_trait]
impl Mutant for EmptyIsAnError {
    async fn list(&self, sound: &Sound) -> Result<Vec<Instance>> {
        let list = sound.list().await?;
        let none = || Error::new(ErrorKind::NotFound, "no instances");
        if list.is_empty() { Err(none()) } else { Ok(list) }
    }
}

#[derive(Default)]
pub(crate) struct NeverAnswers;

#[async_trait]
impl Mutant for NeverAnswers {
    async fn list(&self, _: &Sound) -> Result<Vec<Instance>> {
        std::future::pending().await
    }
}

/// Writes the URL first, and the metadata in a second step.
#[derive(Default)]
pub(crate) struct WritesInTwoSteps;

#[async_trait]
impl Mutant for WritesInTwoSteps {
    async fn register(&self, sound: &Sound, instance: &Instance, ttl: Duration) -> Result<()> {
        let (id, service, url) = (instance.id().clone(), instance.service(), instance.url());
        let bare = Instance::from_parts(id, service, url, BTreeMap::new());
        sound.register(&bare, ttl).await?;
        yield_now().await;
        sound.register(instance, ttl).await
    }
}

/// Takes a flag while it works, and releases the flag only at the end of the call.
#[derive(Default)]
pub(crate) struct BreaksWhenDropped(AtomicBool);

#[async_trait]
impl Mutant for BreaksWhenDropped {
    async fn deregister(&self, sound: &Sound, id: &InstanceId) -> Result<()> {
        while self.0.swap(true, Ordering::SeqCst) {
            sleep(Duration::from_millis(10)).await;
        }
        yield_now().await;
        let result = sound.deregister(id).await;
        self.0.store(false, Ordering::SeqCst);
        result
    }

    async fn register(&self, sound: &Sound, instance: &Instance, ttl: Duration) -> Result<()> {
        while self.0.load(Ordering::SeqCst) {
            sleep(Duration::from_millis(10)).await;
        }
        sound.register(instance, ttl).await
    }
}

/// Loses a registration when many are under way.
#[derive(Default)]
pub(crate) struct LosesTheCrowd(AtomicUsize);

#[async_trait]
impl Mutant for LosesTheCrowd {
    async fn register(&self, sound: &Sound, instance: &Instance, ttl: Duration) -> Result<()> {
        let before = self.0.fetch_add(1, Ordering::SeqCst);
        yield_now().await;
        let result = match before {
            ..32 => sound.register(instance, ttl).await,
            32.. => Ok(()),
        };
        self.0.fetch_sub(1, Ordering::SeqCst);
        result
    }
}

/// Reads page by page, and repeats the last record of a page in the next one.
#[derive(Default)]
pub(crate) struct ListsSomeTwice;

#[async_trait]
impl Mutant for ListsSomeTwice {
    async fn list(&self, sound: &Sound) -> Result<Vec<Instance>> {
        let mut list = sound.list().await?;
        if list.len() > 20 {
            list.insert(20, list[19].clone());
        }
        Ok(list)
    }
}

/// Reads one page, and takes the page for the whole list.
#[derive(Default)]
pub(crate) struct FirstThousand;

#[async_trait]
impl Mutant for FirstThousand {
    async fn list(&self, sound: &Sound) -> Result<Vec<Instance>> {
        let mut list = sound.list().await?;
        list.truncate(1_000);
        Ok(list)
    }

    fn watch<'a>(&'a self, sound: &'a Sound) -> Items<'a> {
        let cut = |item| match item {
            Ok(Event::Reset(mut all)) => {
                all.truncate(1_000);
                Ok(Event::Reset(all))
            }
            other => other,
        };
        items(sound).map(cut).boxed()
    }
}

/// Has an empty cache after a failure, and answers the first `list` from that cache.
#[derive(Default)]
pub(crate) struct EmptyAfterAnOutage(AtomicBool);

#[async_trait]
impl Mutant for EmptyAfterAnOutage {
    async fn list(&self, sound: &Sound) -> Result<Vec<Instance>> {
        let list = sound.list().await;
        let failed_before = self.0.swap(list.is_err(), Ordering::SeqCst);
        if failed_before && list.is_ok() { Ok(Vec::new()) } else { list }
    }
}

/// Fails once when it finds that the data was lost, which the contract allows.
#[derive(Default)]
pub(crate) struct FailsOnceAfterALoss(Mutex<Vec<InstanceId>>);

#[async_trait]
impl Mutant for FailsOnceAfterALoss {
    async fn register(&self, sound: &Sound, instance: &Instance, ttl: Duration) -> Result<()> {
        if ttl >= Duration::from_secs(600) {
            self.0.lock().unwrap().push(instance.id().clone());
        }
        sound.register(instance, ttl).await
    }

    async fn deregister(&self, sound: &Sound, id: &InstanceId) -> Result<()> {
        self.0.lock().unwrap().retain(|other| other != id);
        sound.deregister(id).await
    }

    async fn list(&self, sound: &Sound) -> Result<Vec<Instance>> {
        let list = sound.list().await?;
        let mut known = self.0.lock().unwrap();
        if list.is_empty() && !std::mem::take(&mut *known).is_empty() {
            return Err(Error::new(ErrorKind::Unavailable, "the data is lost"));
        }
        Ok(list)
    }
}

/// Reports a lost connection as `Closed`, a kind that only core may use.
#[derive(Default)]
pub(crate) struct LossIsClosed;

#[async_trait]
impl Mutant for LossIsClosed {
    async fn list(&self, sound: &Sound) -> Result<Vec<Instance>> {
        sound.list().await.map_err(|_| Error::new(ErrorKind::Closed, "the connection is closed"))
    }
}

/// Writes on a thread that goes on when the call is dropped.
#[derive(Default)]
pub(crate) struct WritesInTheBackground;

#[async_trait]
impl Mutant for WritesInTheBackground {
    async fn register(&self, sound: &Sound, instance: &Instance, ttl: Duration) -> Result<()> {
        let (driver, instance) = (Arc::clone(&sound.driver), instance.clone());
        let work = tokio::spawn(async move {
            sleep(Duration::from_millis(2)).await;
            driver.register(&instance, ttl).await
        });
        work.await.expect("it does not panic")
    }
}

/// Uses a client library that blocks.
#[derive(Default)]
pub(crate) struct BlocksTheThread;

#[async_trait]
impl Mutant for BlocksTheThread {
    #[expect(clippy::disallowed_methods, reason = "that is what is broken")]
    async fn register(&self, sound: &Sound, instance: &Instance, ttl: Duration) -> Result<()> {
        std::thread::sleep(Duration::from_millis(1));
        sound.register(instance, ttl).await
    }
}
