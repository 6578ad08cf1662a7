//! Picks concurrent with a writer: none fails, none is late, and each instance has its turn.

use std::collections::{BTreeMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::Context;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use gosd_core::{Client, Driver, Event, Instance, InstanceId, Result, Service, async_trait};
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, timeout};

const TASKS: usize = 200;
/// The greatest number of instances at one time.
const INSTANCES: usize = 150;
/// The number of events that the writer sends, in batches of [`BATCH`], one batch each millisecond.
const EVENTS: usize = 30_000;
const BATCH: usize = 10;
const PATIENCE: Duration = Duration::from_secs(120);

/// A driver whose watch yields what the test sends, and which reports what the client has applied.
struct Feed {
    events: Mutex<Option<mpsc::UnboundedReceiver<Event>>>,
    applied: Arc<Applied>,
}

/// How many events the client has applied. An event is applied once the client polls after it and finds no
/// more.
#[derive(Default)]
struct Applied {
    count: AtomicUsize,
    changed: Notify,
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
        std::future::pending().await
    }

    fn watch(&self) -> Option<BoxStream<'_, Result<Event>>> {
        let mut events = self.events.lock().unwrap().take().expect("it is opened once");
        let (mut taken, mut had_no_more) = (0, true);
        let next = move |context: &mut Context<'_>| {
            if had_no_more {
                self.applied.count.store(taken, Ordering::SeqCst);
                self.applied.changed.notify_waiters();
            }
            let event = events.poll_recv(context);
            had_no_more = event.is_pending();
            taken += usize::from(event.is_ready());
            event.map(|event| event.map(Ok))
        };
        Some(stream::poll_fn(next).boxed())
    }
}

/// The writer's side of a [`Feed`].
struct Writer {
    events: mpsc::UnboundedSender<Event>,
    sent: usize,
    applied: Arc<Applied>,
}

impl Writer {
    async fn client() -> (Self, Client) {
        let (events, receiver) = mpsc::unbounded_channel();
        let applied = Arc::<Applied>::default();
        let feed = Feed { events: Some(receiver).into(), applied: Arc::clone(&applied) };
        let mut writer = Self { events, sent: 0, applied };
        writer.send(Event::Reset(Vec::new()));
        let client = Client::builder(Arc::new(feed)).start().await.unwrap();
        (writer, client)
    }

    fn send(&mut self, event: Event) {
        self.sent += 1;
        self.events.send(event).expect("the client is there");
    }

    /// Waits until the client has applied all that was sent.
    async fn flush(&self) {
        let flushed = async {
            loop {
                let changed = self.applied.changed.notified();
                if self.applied.count.load(Ordering::SeqCst) >= self.sent {
                    return;
                }
                changed.await;
            }
        };
        timeout(PATIENCE, flushed).await.expect("the client no longer takes events");
    }
}

fn instance(number: usize) -> Instance {
    Instance::from_parts(number.to_string().into(), "mail", "http://10.0.0.7", [].into())
}

fn number(instance: &Instance) -> usize {
    instance.id().as_str().parse().unwrap()
}

/// The state that all tasks share.
struct Shared {
    client: Client,
    /// Counts the batches of removals that the client has applied.
    clock: AtomicUsize,
    /// For each instance by number, the time of that clock at which it was removed; 0 while it exists.
    removed_at: Vec<AtomicUsize>,
    ends: AtomicBool,
}

/// One of the two ways to pick.
enum Picker {
    Client(Client),
    Handle(Service),
}

impl Picker {
    fn of(client: &Client, task: usize) -> Self {
        match task % 2 {
            0 => Self::Client(client.clone()),
            _ => Self::Handle(client.service("mail")),
        }
    }

    fn pick(&mut self) -> Option<usize> {
        match self {
            Self::Client(client) => client.pick("mail").map(|picked| number(&picked)),
            Self::Handle(handle) => handle.pick().map(|picked| number(picked)),
        }
    }
}

/// Picks until the writer has ended. Returns the number of picks.
async fn pick_beside_the_writer(shared: Arc<Shared>, mut picker: Picker) -> usize {
    let mut picks = 0;
    while !shared.ends.load(Ordering::Relaxed) {
        for _ in 0..20 {
            let now = shared.clock.load(Ordering::SeqCst);
            let picked = picker.pick().expect("the service has an instance at any time");
            let removed_at = shared.removed_at[picked].load(Ordering::SeqCst);
            assert!(removed_at == 0 || removed_at > now, "{picked} was removed before the pick");
            picks += 1;
        }
        tokio::task::yield_now().await;
    }
    picks
}

/// Adds, updates and removes at random, and publishes to the tasks what was removed.
async fn write(writer: &mut Writer, shared: &Shared) -> Vec<usize> {
    let mut living = vec![0];
    let (mut next, mut grows) = (1, true);
    let mut ticks = interval(Duration::from_millis(1));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for _ in 0..EVENTS / BATCH {
        ticks.tick().await;
        let mut removed = Vec::new();
        for _ in 0..BATCH {
            grows = match living.len() {
                1 => true,
                INSTANCES => false,
                _ => grows,
            };
            let at = fastrand::usize(..living.len());
            match fastrand::usize(..10) {
                0 => {
                    let updated = instance(living[at]).with_metadata("n", &next.to_string());
                    writer.send(Event::Put(updated));
                }
                // Mostly in one direction, so that the service is full and nearly empty by turns.
                way if (way > 2) == grows || living.len() == 1 => {
                    living.push(next);
                    writer.send(Event::Put(instance(next)));
                    next += 1;
                }
                _ => {
                    let gone = living.swap_remove(at);
                    writer.send(Event::Remove(instance(gone).id().clone()));
                    removed.push(gone);
                }
            }
        }
        writer.flush().await;
        let now = 1 + shared.clock.load(Ordering::SeqCst);
        for gone in removed {
            shared.removed_at[gone].store(now, Ordering::SeqCst);
        }
        shared.clock.store(now, Ordering::SeqCst);
    }
    living
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_tasks_pick_beside_ten_thousand_events_a_second() {
    let (mut writer, client) = Writer::client().await;
    writer.send(Event::Put(instance(0)));
    writer.flush().await;
    let shared = Arc::new(Shared {
        client: client.clone(),
        clock: AtomicUsize::new(0),
        removed_at: (0..=EVENTS).map(|_| AtomicUsize::new(0)).collect(),
        ends: AtomicBool::new(false),
    });
    let mut tasks = JoinSet::new();
    for task in 0..TASKS {
        let picker = Picker::of(&shared.client, task);
        tasks.spawn(pick_beside_the_writer(Arc::clone(&shared), picker));
    }
    let mut living = write(&mut writer, &shared).await;
    shared.ends.store(true, Ordering::Relaxed);
    for picks in tasks.join_all().await {
        assert!(picks > 0, "a task was starved");
    }

    // Now that nothing changes, each instance has its turn.
    let mut tasks = JoinSet::new();
    for task in 0..TASKS {
        let mut picker = Picker::of(&client, task);
        tasks.spawn(async move {
            let mut picked = Vec::new();
            for i in 0..500 {
                picked.push(picker.pick().unwrap());
                if i % 20 == 0 {
                    tokio::task::yield_now().await;
                }
            }
            picked
        });
    }
    let mut counts = BTreeMap::new();
    for picked in tasks.join_all().await.concat() {
        *counts.entry(picked).or_insert(0) += 1;
    }
    living.sort_unstable();
    assert!(counts.keys().eq(&living), "all that is there is picked, and nothing else");
    let (least, most) = (counts.values().min().unwrap(), counts.values().max().unwrap());
    assert!(most - least <= 1, "from {least} to {most}");
}

#[tokio::test]
async fn a_change_moves_at_most_one_other_and_the_turn_goes_on() {
    let (mut writer, client) = Writer::client().await;
    let mut living = vec![0];
    writer.send(Event::Put(instance(0)));
    writer.flush().await;
    for next in 1..2_000 {
        let before = client.instances("mail");
        let last = client.pick("mail").unwrap();
        let turn = 1 + before.iter().position(|it| *it == last).unwrap();
        if living.len() == 1 || fastrand::bool() {
            living.push(next);
            writer.send(Event::Put(instance(next)));
        } else {
            let gone = living.swap_remove(fastrand::usize(..living.len()));
            writer.send(Event::Remove(instance(gone).id().clone()));
        }
        writer.flush().await;

        let after = client.instances("mail");
        let stays = |(i, it): (usize, _)| after.get(i) == Some(it) || !after.contains(it);
        let moved = before.iter().enumerate().filter(|place| !stays(*place)).count();
        assert!(moved <= 1, "{moved} have moved");
        // The turn is where it was, except at the end of a round.
        let turn = if turn < before.len() && turn < after.len() { turn } else { 0 };
        assert_eq!(client.pick("mail").unwrap(), after[turn]);
    }
}

#[tokio::test]
async fn a_service_that_was_empty_is_picked_again_when_it_is_back() {
    let (mut writer, client) = Writer::client().await;
    let mut handle = client.service("mail");
    for number in 0..100 {
        assert!(handle.pick().is_none() && client.pick("mail").is_none());
        assert!(client.services().is_empty());
        writer.send(Event::Put(instance(number)));
        let found = timeout(PATIENCE, handle.next()).await.unwrap().unwrap();
        assert_eq!(*found, instance(number));
        assert_eq!(client.pick("mail").unwrap(), found);
        writer.send(Event::Remove(instance(number).id().clone()));
        writer.flush().await;
    }
}

#[tokio::test]
async fn clients_that_start_together_do_not_all_begin_with_the_same() {
    let mut firsts = HashSet::new();
    for _ in 0..50 {
        let (mut writer, client) = Writer::client().await;
        writer.send(Event::Reset((0..50).map(instance).collect()));
        writer.flush().await;
        firsts.insert(number(&client.pick("mail").unwrap()));
    }
    assert!(firsts.len() > 5, "{firsts:?}");
}
