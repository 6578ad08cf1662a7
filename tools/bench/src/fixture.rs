//! Instances, and a client that gets its events without a database.

use std::collections::VecDeque;
use std::future::pending;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::stream;
use gosd_core::{BoxStream, Client, Driver, Event, Instance, InstanceId, Result, async_trait};
use tokio::sync::Notify;
use tokio::task::yield_now;

pub const TARGET: &str = "target";

/// Instances of one service.
pub fn instances(service: &str, count: usize) -> Vec<Instance> {
    (0..count).map(|number| instance(service, number)).collect()
}

pub fn instance(service: &str, number: usize) -> Instance {
    let [_, a, b, c] = (number as u32).to_be_bytes();
    Instance::new(service, &format!("http://10.{a}.{b}.{c}:8885")).expect("a good URL")
}

/// A driver whose watch yields what the benchmark asks for.
#[derive(Default)]
pub struct Feed {
    script: Mutex<Script>,
    news: Notify,
}

#[derive(Default)]
struct Script {
    events: VecDeque<Event>,
    /// Whether the same events are yielded again and again.
    repeats: bool,
}

impl Feed {
    /// A driver whose first event is a `Reset`.
    pub fn of(all: Vec<Instance>) -> Arc<Self> {
        let feed = Self::default();
        feed.say([Event::Reset(all)]);
        Arc::new(feed)
    }

    pub fn say(&self, events: impl IntoIterator<Item = Event>) {
        self.script.lock().unwrap().events.extend(events);
        self.news.notify_one();
    }

    /// Yields these events again and again, until the next call.
    pub fn repeat(&self, events: impl IntoIterator<Item = Event>) {
        let events: VecDeque<_> = events.into_iter().collect();
        *self.script.lock().unwrap() = Script { repeats: !events.is_empty(), events };
        self.news.notify_one();
    }

    async fn hear(&self) -> Event {
        if !self.script.lock().unwrap().repeats {
            // Events that are ready together become visible together, so this yields one at a time.
            yield_now().await;
        }
        loop {
            if let Some(event) = self.script.lock().unwrap().next() {
                return event;
            }
            self.news.notified().await;
        }
    }
}

impl Script {
    fn next(&mut self) -> Option<Event> {
        let event = self.events.pop_front()?;
        if self.repeats {
            self.events.push_back(event.clone());
        }
        Some(event)
    }
}

#[async_trait]
impl Driver for Feed {
    async fn register(&self, _: &Instance, _: Duration) -> Result<()> {
        Ok(())
    }

    async fn deregister(&self, _: &InstanceId) -> Result<()> {
        Ok(())
    }

    async fn list(&self) -> Result<Vec<Instance>> {
        pending().await
    }

    fn watch(&self) -> Option<BoxStream<'_, Result<Event>>> {
        Some(Box::pin(stream::unfold(self, async |feed| Some((Ok(feed.hear().await), feed)))))
    }
}

/// A client that sees the events of the feed, and the runtime on which it runs.
pub struct Fed {
    pub feed: Arc<Feed>,
    pub client: Client,
    pub runtime: tokio::runtime::Runtime,
}

impl Fed {
    /// On a runtime of the calling thread, which works only while it is awaited.
    pub fn here(all: Vec<Instance>) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
        Self::on(runtime.expect("a runtime"), all)
    }

    /// On a runtime with a separate thread.
    pub fn beside(all: Vec<Instance>) -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_time().build();
        Self::on(runtime.expect("a runtime"), all)
    }

    fn on(runtime: tokio::runtime::Runtime, all: Vec<Instance>) -> Self {
        let feed = Feed::of(all);
        let client = runtime.block_on(Client::builder(feed.clone()).start()).expect("a start");
        Self { feed, client, runtime }
    }

    /// Has the client apply events, and waits until readers can see the last of them.
    pub fn apply(&self, events: impl IntoIterator<Item = Event>, marker: &Instance) {
        self.feed.say(events);
        self.feed.say([Event::Put(marker.clone())]);
        self.runtime.block_on(self.client.next(marker.service())).expect("it comes");
        self.feed.say([Event::Remove(marker.id().clone())]);
        while self.client.pick(marker.service()).is_some() {
            self.runtime.block_on(yield_now());
        }
    }
}
