//! `watch_on_demand`: a client watches only the services that it was asked for, and promises the same of them.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::{FutureExt, StreamExt, stream};
use gosd_core::{
    BoxStream, Client, Driver, Error, ErrorKind, Event, Instance, InstanceId, Memory, Result,
    Settings, async_trait,
};
use gosd_testkit::{Fault, Operation};
use tokio::time::{Instant, sleep};

use crate::support::{
    Backend, DOWN, LEASE, MS, OBJECTION, SECOND, TIMEOUT, is_stale, is_well, settle, soon,
    until_status, urls,
};

/// Longer than an answer about a new service takes, with a backend that answers at once.
const ANSWERED: Duration = Duration::from_millis(50);

fn on_demand() -> Settings {
    Settings::default().watch_on_demand(true)
}

/// The instances of a service that the client has, once no answer is under way.
async fn known(client: &Client, service: &str) -> Vec<String> {
    client.instances(service);
    sleep(2 * SECOND).await;
    urls(client, service)
}

#[tokio::test(start_paused = true)]
async fn what_is_asked_for_is_there_soon_and_stays_up_to_date() {
    let backend = Backend::new();
    let id = backend.put_for_long("mail", "http://10.0.0.1").await;
    backend.put_for_long("web", "http://10.0.0.2").await;
    let client = backend.discover_with(on_demand()).await;
    assert!(is_well(&client.status()));
    assert!(client.pick("mail").is_none(), "it was not asked for before");
    let asked = Instant::now();
    assert_eq!(soon(client.next("mail")).await.unwrap().url(), "http://10.0.0.1");
    assert!(asked.elapsed() <= ANSWERED, "{:?}", asked.elapsed());
    assert!(client.pick("mail").is_some());
    backend.put_for_long("mail", "http://10.0.0.3").await;
    settle().await;
    assert_eq!(urls(&client, "mail"), ["http://10.0.0.1", "http://10.0.0.3"]);
    backend.memory.deregister(&id).await.unwrap();
    settle().await;
    assert_eq!(urls(&client, "mail"), ["http://10.0.0.3"]);
    assert_eq!(client.stats().added, 2, "nothing of the other service");
    assert_eq!(backend.link.calls(Operation::List), 0);
}

#[tokio::test(start_paused = true)]
async fn services_that_are_asked_for_together_take_one_watch_more_and_later_ones_longer() {
    let backend = Backend::new();
    let client = backend.discover_with(on_demand()).await;
    for service in ["a", "b", "c"] {
        let _ = client.service(service);
    }
    sleep(ANSWERED).await;
    assert_eq!(backend.link.calls(Operation::Watch), 2);
    assert_eq!(backend.link.under_way(Operation::Watch), 1);
    assert_eq!(backend.link.most_at_once(Operation::Watch), 2, "make before break");
    let begun = Instant::now();
    let mut asked = 0;
    while begun.elapsed() < 20 * SECOND {
        client.pick(&format!("s{asked}"));
        asked += 1;
        sleep(100 * MS).await;
    }
    let opened = backend.link.calls(Operation::Watch) - 2;
    assert!((20..=60).contains(&opened), "{opened} watches for {asked} services");
    assert!(asked > 150);
}

/// A `Memory` that allows one watch at a time, or whose watch of a service `silent` says nothing.
#[derive(Default)]
struct Narrow {
    memory: Memory,
    allows_one: bool,
    is_taken: Arc<AtomicBool>,
}

/// The one watch that is allowed; it is free again when this is dropped.
struct Taken(Arc<AtomicBool>);

impl Drop for Taken {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Relaxed);
    }
}

#[async_trait]
impl Driver for Narrow {
    async fn register(&self, instance: &Instance, ttl: Duration) -> Result<()> {
        self.memory.register(instance, ttl).await
    }

    async fn deregister(&self, id: &InstanceId) -> Result<()> {
        self.memory.deregister(id).await
    }

    async fn list(&self) -> Result<Vec<Instance>> {
        self.memory.list().await
    }

    fn watch(&self) -> Option<BoxStream<'_, Result<Event>>> {
        self.memory.watch()
    }

    fn watch_services(&self, services: &BTreeSet<String>) -> Option<BoxStream<'_, Result<Event>>> {
        if services.contains("silent") {
            return Some(stream::pending().boxed());
        }
        let events = self.memory.watch_services(services)?;
        if !self.allows_one {
            return Some(events);
        }
        let start = (events, None);
        Some(Box::pin(stream::unfold(start, async |(mut events, taken)| {
            let take = || {
                let was_taken = self.is_taken.swap(true, Ordering::Relaxed);
                (!was_taken).then(|| Taken(Arc::clone(&self.is_taken)))
            };
            let Some(taken) = taken.or_else(take) else {
                let error = Error::new(ErrorKind::Unavailable, "no further watch is allowed");
                return Some((Err(error), (events, None)));
            };
            let item = events.next().await?;
            Some((item, (events, Some(taken))))
        })))
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_watched_before_is_watched_while_more_is_asked_for() {
    let driver = Arc::new(Narrow::default());
    let mail = Instance::new("mail", "http://10.0.0.1").unwrap();
    driver.register(&mail, 100 * LEASE).await.unwrap();
    let client = Client::builder(driver.clone()).settings(on_demand()).start().await.unwrap();
    soon(client.next("mail")).await.unwrap();
    client.pick("silent");
    sleep(LEASE).await;
    driver.deregister(mail.id()).await.unwrap();
    settle().await;
    assert!(client.pick("mail").is_none(), "it has said goodbye");
    assert!(is_well(&client.status()));
}

#[tokio::test(start_paused = true)]
async fn where_only_one_watch_is_allowed_that_of_more_takes_its_place() {
    let driver = Arc::new(Narrow { allows_one: true, ..Narrow::default() });
    for (service, url) in [("mail", "http://10.0.0.1"), ("web", "http://10.0.0.2")] {
        driver.register(&Instance::new(service, url).unwrap(), 100 * LEASE).await.unwrap();
    }
    let client = Client::builder(driver.clone()).settings(on_demand()).start().await.unwrap();
    for service in ["mail", "web"] {
        soon(client.next(service)).await.unwrap();
    }
    until_status(&client, is_well).await;
    assert!(client.pick("mail").is_some() && client.pick("web").is_some());
    driver.register(&Instance::new("web", "http://10.0.0.3").unwrap(), LEASE).await.unwrap();
    settle().await;
    assert_eq!(urls(&client, "web").len(), 2, "it is watched");
}

#[tokio::test(start_paused = true)]
async fn the_death_of_what_is_asked_for_is_seen_and_its_absence_is_outwaited() {
    let backend = Backend::new();
    let client = backend.discover_with(on_demand()).await;
    client.pick("mail");
    sleep(LEASE).await;
    backend.put("mail", "http://10.0.0.1", LEASE).await;
    settle().await;
    assert_eq!(urls(&client, "mail").len(), 1);
    sleep(LEASE + OBJECTION).await;
    assert!(urls(&client, "mail").is_empty(), "it has expired");
    backend.put_for_long("mail", "http://10.0.0.2").await;
    settle().await;
    // A wipe of the backend says nothing yet, also if the snapshot that lacks it comes with a new service.
    backend.memory.wipe();
    client.pick("web");
    sleep(LEASE / 2 - SECOND).await;
    assert_eq!(urls(&client, "mail"), ["http://10.0.0.2"]);
    sleep(LEASE).await;
    assert!(urls(&client, "mail").is_empty());
}

#[tokio::test(start_paused = true)]
async fn not_found_is_said_only_after_an_answer_about_the_service() {
    let backend = Backend::new();
    let at_once = on_demand().try_find_service_amount(0);
    let client = backend.discover_with(at_once).await;
    backend.put_for_long("mail", "http://10.0.0.1").await;
    let begun = Instant::now();
    assert_eq!(soon(client.next("mail")).await.unwrap().url(), "http://10.0.0.1");
    let error = soon(client.next("web")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
    assert!(begun.elapsed() <= 4 * ANSWERED, "as soon as there is an answer");
    let error = client.next("web").now_or_never();
    assert!(error.is_none_or(|it| it.is_err()), "it is known by now");

    // Without an answer the client cannot tell.
    backend.link.on(Operation::Watch, Fault::Hang).on(Operation::List, DOWN);
    let begun = Instant::now();
    let error = soon(client.next("users")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    assert!(error.to_string().contains("users") && error.to_string().contains("not asked for"));
    assert!(begun.elapsed().abs_diff(TIMEOUT) <= MS);
}

#[tokio::test(start_paused = true)]
async fn services_changes_and_deregister_url_watch_everything_from_then_on() {
    let uses: [fn(&Client); 2] =
        [|client| drop(client.services()), |client| drop(client.changes())];
    for uses in uses {
        let backend = Backend::new();
        for (service, url) in [("mail", "http://10.0.0.1"), ("web", "http://10.0.0.2")] {
            backend.put_for_long(service, url).await;
        }
        let client = backend.discover_with(on_demand()).await;
        uses(&client);
        sleep(ANSWERED).await;
        assert_eq!(client.services(), ["mail", "web"]);
        assert!(client.pick("mail").is_some() && client.pick("web").is_some());
        assert!(soon(client.next("users")).await.unwrap_err().kind() == ErrorKind::NotFound);
        assert_eq!(backend.link.calls(Operation::Watch), 2);
    }
    let backend = Backend::new();
    let orphan = backend.put_for_long("mail", "http://10.0.0.1").await;
    let client = backend.discover_with(on_demand()).await;
    assert_eq!(soon(client.deregister_url("http://10.0.0.1/")).await.unwrap(), 1);
    assert!(!backend.holds(&orphan).await);
}

#[tokio::test(start_paused = true)]
async fn the_own_registration_is_watched_though_nobody_asks_for_it() {
    let backend = Backend::new();
    let builder = backend.builder().settings(on_demand());
    let client = soon(builder.register("mail", "http://10.0.0.1").start()).await.unwrap();
    sleep(SECOND).await;
    backend.memory.deregister(client.id().unwrap()).await.unwrap();
    sleep(SECOND + MS).await;
    assert!(backend.holds(client.id().unwrap()).await, "it came back within a second");
    assert!(client.pick("mail").is_some());
}

#[tokio::test(start_paused = true)]
async fn an_entry_of_this_process_hides_none_of_the_others() {
    let backend = Backend::new();
    backend.put_for_long("mail", "http://10.0.0.1").await;
    let client = backend.discover_with(on_demand()).await;
    client.add_local("mail", "http://127.0.0.1").unwrap();
    assert_eq!(client.pick("mail").unwrap().url(), "http://127.0.0.1");
    sleep(ANSWERED).await;
    assert_eq!(urls(&client, "mail"), ["http://10.0.0.1", "http://127.0.0.1"]);
}

#[tokio::test(start_paused = true)]
async fn an_instance_that_moves_to_another_service_has_left_the_former() {
    let backend = Backend::new();
    let id = backend.put_for_long("mail", "http://10.0.0.1").await;
    let client = backend.discover_with(on_demand()).await;
    soon(client.next("mail")).await.unwrap();
    let moved = Instance::from_parts(id, "web", "http://10.0.0.1", [].into());
    backend.memory.register(&moved, 100 * LEASE).await.unwrap();
    settle().await;
    assert!(client.pick("mail").is_none());
    assert_eq!(known(&client, "web").await, ["http://10.0.0.1"]);
}

#[tokio::test(start_paused = true)]
async fn while_the_watch_is_away_reads_answer_about_new_services() {
    let backend = Backend::new();
    backend.put_for_long("mail", "http://10.0.0.1").await;
    let client = backend.discover_with(on_demand()).await;
    backend.link.on(Operation::Watch, DOWN);
    until_status(&client, is_stale).await;
    assert_eq!(soon(client.next("mail")).await.unwrap().url(), "http://10.0.0.1");
    backend.link.clear(Operation::Watch);
    until_status(&client, is_well).await;
    backend.put_for_long("mail", "http://10.0.0.2").await;
    // Reads may have kept the view fresh, and then the watch is tried again by the longest pause only.
    sleep(LEASE / 6 + SECOND).await;
    assert_eq!(urls(&client, "mail"), ["http://10.0.0.1", "http://10.0.0.2"]);
}

#[tokio::test(start_paused = true)]
async fn a_refresh_reads_what_has_just_been_asked_for() {
    let backend = Backend::new();
    backend.put_for_long("mail", "http://10.0.0.1").await;
    backend.put_for_long("web", "http://10.0.0.2").await;
    let client = backend.discover_with(on_demand()).await;
    assert!(client.pick("mail").is_none());
    soon(client.refresh()).await.unwrap();
    assert_eq!(client.pick("mail").unwrap().url(), "http://10.0.0.1");
    assert_eq!(client.stats().added, 1, "and nothing else");
}

#[tokio::test(start_paused = true)]
async fn a_driver_that_cannot_watch_services_watches_everything_at_once() {
    let backend = Backend::polled();
    backend.put_for_long("mail", "http://10.0.0.1").await;
    let client = backend.discover_with(on_demand()).await;
    assert_eq!(client.pick("mail").unwrap().url(), "http://10.0.0.1");
    assert_eq!(client.services(), ["mail"]);
}

#[tokio::test(start_paused = true)]
async fn an_older_view_is_served_as_it_is_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("view");
    let backend = Backend::new();
    for (service, url) in [("mail", "http://10.0.0.1"), ("web", "http://10.0.0.2")] {
        backend.put_for_long(service, url).await;
    }
    let before = backend.discover_with(Settings::default().snapshot_path(path.clone())).await;
    while !path.exists() {
        sleep(SECOND).await;
    }
    before.shutdown().await.unwrap();
    backend.link.on_all(DOWN);
    let client = backend.discover_with(on_demand().snapshot_path(path)).await;
    assert!(is_stale(&client.status()));
    assert!(client.pick("mail").is_none() && client.stats().added == 0);
    settle().await;
    assert_eq!(client.pick("mail").unwrap().url(), "http://10.0.0.1");
    assert_eq!(soon(client.next("web")).await.unwrap().url(), "http://10.0.0.2");
    backend.link.clear_all();
    until_status(&client, is_well).await;
    assert!(client.pick("mail").is_some() && client.pick("web").is_some());
}
