//! A watch for drivers that have none, made by polling `list`.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::stream;
use gosd_core::{BoxStream, Driver, Event, Instance, InstanceId, Result};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

use crate::call::bounded;
use crate::listing::PAUSE;

/// How often the driver is polled.
const INTERVAL: Duration = Duration::from_secs(1);

type View = BTreeMap<InstanceId, Instance>;

/// A watch made from repeated lists.
pub(crate) struct Poll {
    /// How many callers asked for a read that begins now, and the number of the last one that was served.
    asked: watch::Sender<u64>,
    served: watch::Sender<u64>,
}

impl Poll {
    pub(crate) fn new() -> Self {
        Self { asked: watch::Sender::new(0), served: watch::Sender::new(0) }
    }

    /// Whether the driver has no watch, and this one is used instead.
    pub(crate) fn is_used(&self) -> bool {
        !self.asked.is_closed()
    }

    /// Waits until this watch has yielded what is registered now, if anybody reads it.
    pub(crate) async fn catch_up(&self) {
        // The driver has its own watch, or the first read has not begun.
        if !self.is_used() {
            return;
        }
        let mut ticket = 0;
        self.asked.send_modify(|asked| {
            *asked += 1;
            ticket = *asked;
        });
        // This cannot fail: `self` holds the sender.
        let _ = self.served.subscribe().wait_for(|served| *served >= ticket).await;
    }

    pub(crate) fn watch<'a>(&'a self, driver: &'a dyn Driver) -> BoxStream<'a, Result<Event>> {
        let reader = Reader {
            driver,
            poll: self,
            asked: self.asked.subscribe(),
            known: None,
            events: Vec::new(),
            serves: 0,
            pause: Duration::ZERO,
        };
        Box::pin(stream::unfold(reader, async |mut reader| Some((reader.next().await, reader))))
    }
}

struct Reader<'a> {
    driver: &'a dyn Driver,
    poll: &'a Poll,
    asked: watch::Receiver<u64>,
    known: Option<View>,
    /// The events that are still to be yielded, the last one first, and the number of the caller that they
    /// serve.
    events: Vec<Event>,
    serves: u64,
    /// How long the next read waits at least, however often callers ask: as long as the last one took, up to
    /// [`PAUSE`].
    pause: Duration,
}

impl Reader<'_> {
    async fn next(&mut self) -> Result<Event> {
        loop {
            if let Some(event) = self.events.pop() {
                return Ok(event);
            }
            if self.known.is_some() {
                self.poll.served.send_replace(self.serves);
                sleep(self.pause).await;
                // The next read begins after the interval, or when a caller asks.
                let _ = timeout(INTERVAL, self.asked.wait_for(|asked| *asked > self.serves)).await;
            }
            self.serves = *self.asked.borrow_and_update();
            // After a failure, everything is yielded again.
            let known = self.known.take();
            let started_at = Instant::now();
            let all = bounded(self.driver, "list", || self.driver.list()).await?;
            self.pause = started_at.elapsed().min(PAUSE);
            (self.known, self.events) = changes(known, all);
        }
    }
}

/// The changes since the last read, the last event first.
///
/// A list does not say why an instance is absent. A database that was wiped, where only some instances have
/// registered again, looks like one where the others' leases ran out. So a `Reset` with everything is
/// yielded, and clients decide.
fn changes(known: Option<View>, all: Vec<Instance>) -> (Option<View>, Vec<Event>) {
    let view: View = all.iter().map(|instance| (instance.id().clone(), instance.clone())).collect();
    let events = match known {
        Some(known) if known.keys().all(|id| view.contains_key(id)) => {
            let put = all.into_iter().filter(|new| known.get(new.id()) != Some(new));
            put.map(Event::Put).collect()
        }
        _ => vec![Event::Reset(all)],
    };
    (Some(view), events)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use futures_util::StreamExt;
    use gosd_core::{ErrorKind, Memory};
    use gosd_testkit::{Fault, Faulty, Operation};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn it_yields_what_changed() {
        let lease = Duration::from_secs(600);
        let memory = Memory::new();
        let faulty = Faulty::new(Arc::new(memory.clone()));
        let poll = Poll::new();
        let mut watch = poll.watch(&faulty);
        assert_eq!(watch.next().await.unwrap().unwrap(), Event::Reset(Vec::new()));
        let [a, b] = ["a", "b"].map(|name| Instance::new(name, "http://h").unwrap());
        memory.register(&a, lease).await.unwrap();
        assert_eq!(watch.next().await.unwrap().unwrap(), Event::Put(a.clone()));
        memory.register(&b, lease).await.unwrap();
        memory.deregister(a.id()).await.unwrap();
        // The poll cannot know whether that was a goodbye, an expiry or a loss.
        assert_eq!(watch.next().await.unwrap().unwrap(), Event::Reset(vec![b.clone()]));
        faulty.on(Operation::List, Fault::Fail(ErrorKind::Unavailable));
        assert!(watch.next().await.unwrap().is_err());
        faulty.clear_all();
        assert_eq!(watch.next().await.unwrap().unwrap(), Event::Reset(vec![b]));
        memory.wipe();
        assert_eq!(watch.next().await.unwrap().unwrap(), Event::Reset(Vec::new()));
    }

    #[tokio::test(start_paused = true)]
    async fn however_often_it_is_asked_it_pauses_after_each_read() {
        let faulty = Faulty::new(Arc::new(Memory::new()));
        faulty.on(Operation::List, Fault::Delay(Duration::from_millis(100)));
        let poll = Poll::new();
        let mut watch = poll.watch(&faulty);
        let asks = async {
            loop {
                poll.catch_up().await;
            }
        };
        let (reads, asks) = (async { while watch.next().await.is_some() {} }, asks);
        let both = async { tokio::join!(reads, asks) };
        assert!(timeout(Duration::from_secs(10), both).await.is_err());
        let calls = faulty.calls(Operation::List);
        assert!((40..=51).contains(&calls), "{calls} reads of 100 ms in 10 s");
    }
}
