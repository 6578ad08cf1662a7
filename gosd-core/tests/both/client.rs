//! `Both`: what a client shows while one of its two databases is away.

use std::sync::Arc;
use std::time::Duration;

use gosd_core::{
    Both, BoxStream, Client, Driver, ErrorKind, Event, Instance, InstanceId, Memory, Registration,
    Result, Settings, View, async_trait,
};
use gosd_testkit::{Fault, Operation};
use tokio::time::{Instant, sleep, timeout};

use crate::support::{DOWN, LEASE, LONG_LEASE, SECOND, both, mail, places};

fn is_fresh(client: &Client) -> bool {
    matches!(client.status().view, View::Fresh)
}

/// Waits until the client sees so many instances of the service.
async fn until_seen(client: &Client, count: usize) {
    while client.instances("mail").len() != count {
        sleep(SECOND / 10).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_starts_while_one_is_away_and_is_found_in_the_other() {
    for fault in [DOWN, Fault::Hang] {
        let (away, up) = places();
        let there = mail("mail-1");
        up.put(&there).await;
        away.link.on_all(fault);
        let builder = Client::builder(Arc::new(both(&away, &up)));
        let client = builder.register("orders", "http://10.0.0.9:80").start().await.unwrap();
        let begun = Instant::now();
        assert_eq!(client.next("mail").await.unwrap().id(), there.id());
        assert!(begun.elapsed() < 10 * SECOND);
        let listed = up.memory.list().await.unwrap();
        assert!(listed.iter().any(|it| it.service() == "orders"), "{fault:?}");
        assert!(matches!(client.status().registration, Registration::Standalone { .. }));
        // The service may be registered there, so `NotFound` would be wrong.
        let error = client.next("user").await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
        away.link.clear_all();
        while !matches!(client.status().registration, Registration::Registered) {
            sleep(SECOND / 10).await;
        }
        assert_eq!(away.memory.list().await.unwrap().len(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_typo_in_either_is_an_error_of_the_start() {
    for denied_is_first in [true, false] {
        let (denied, up) = places();
        denied.link.on_all(Fault::Fail(ErrorKind::Denied));
        let two = if denied_is_first { both(&denied, &up) } else { both(&up, &denied) };
        let error = Client::builder(Arc::new(two)).start().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Denied);
    }
}

#[tokio::test(start_paused = true)]
async fn while_one_is_away_no_lease_in_the_other_ends() {
    for fault in [DOWN, Fault::Hang] {
        let (away, up) = places();
        let builder = Client::builder(Arc::new(both(&up, &away)));
        let client = builder.register("mail", "http://10.0.0.7:25").start().await.unwrap();
        away.link.on_all(fault);
        let end = Instant::now() + 10 * LEASE;
        while Instant::now() < end {
            assert_eq!(up.memory.list().await.unwrap().len(), 1, "{fault:?}");
            sleep(SECOND / 2).await;
        }
        drop(client);
    }
}

#[tokio::test(start_paused = true)]
async fn while_one_is_away_the_view_is_stale_and_changes_of_the_other_count() {
    let (away, up) = places();
    let [first, late] = ["mail-1", "mail-2"].map(mail);
    for place in [&away, &up] {
        place.put(&first).await;
    }
    let client = Client::builder(Arc::new(both(&away, &up))).start().await.unwrap();
    until_seen(&client, 1).await;
    assert!(is_fresh(&client));
    away.link.on_all(DOWN);
    sleep(LEASE).await;
    let View::Stale { since, .. } = client.status().view else { panic!("it is not all") };
    // However often the other database is heard, contact with both was lost earlier.
    let mut statuses = client.status_changes();
    for n in 0..20 {
        up.put(&mail(&format!("mail-1{n}"))).await;
        until_seen(&client, 2 + n).await;
        assert!(matches!(client.status().view, View::Stale { since: now, .. } if now == since));
    }
    use futures_util::{FutureExt, StreamExt};
    while let Some(Some(status)) = statuses.next().now_or_never() {
        assert!(matches!(status.view, View::Stale { .. }), "it was never fresh in between");
    }
    up.put(&late).await;
    until_seen(&client, 22).await;
    // The instance may be registered in the database that is away.
    up.memory.deregister(late.id()).await.unwrap();
    sleep(4 * LEASE).await;
    assert_eq!(client.instances("mail").len(), 22);
    away.link.clear_all();
    while !is_fresh(&client) {
        sleep(SECOND / 10).await;
    }
    until_seen(&client, 21).await;
}

#[tokio::test(start_paused = true)]
async fn after_a_goodbye_to_one_an_instance_may_live_on_in_the_other_which_is_away() {
    let (away, up) = places();
    let walks = mail("mail-1");
    up.put(&walks).await;
    let client = Client::builder(Arc::new(both(&away, &up))).start().await.unwrap();
    until_seen(&client, 1).await;
    // Reads go through, so the view is fresh before the watch is back.
    away.link.on(Operation::Watch, DOWN);
    sleep(2 * SECOND).await;
    away.put(&walks).await;
    up.memory.deregister(walks.id()).await.unwrap();
    let end = Instant::now() + 4 * LEASE;
    while Instant::now() < end {
        assert_eq!(client.instances("mail").len(), 1, "it lives");
        sleep(SECOND / 10).await;
    }
    away.link.clear_all();
    sleep(LEASE).await;
    assert!(is_fresh(&client));
    assert_eq!(client.instances("mail").len(), 1);
}

#[tokio::test(start_paused = true)]
async fn while_one_is_away_an_expiry_in_the_other_is_not_believed() {
    let (away, up) = places();
    let client = Client::builder(Arc::new(both(&up, &away))).start().await.unwrap();
    let [walks, dies] = ["mail-1", "mail-2"].map(mail);
    for it in [&walks, &dies] {
        up.memory.register(it, LEASE).await.unwrap();
    }
    until_seen(&client, 2).await;
    sleep(LEASE * 2 / 3).await;
    away.link.on_all(DOWN);
    // The instance lives on in the database that is away, where nobody sees it at present.
    away.put(&walks).await;
    sleep(4 * LEASE).await;
    assert_eq!(client.instances("mail").len(), 2);
    away.link.clear_all();
    until_seen(&client, 1).await;
    assert_eq!(client.instances("mail")[0].id(), walks.id());
    assert!(is_fresh(&client));
}

#[tokio::test(start_paused = true)]
async fn a_goodbye_to_a_database_that_is_gone_is_bounded_like_a_call() {
    let (away, up) = places();
    let settings = Settings::default();
    let builder = Client::builder(Arc::new(both(&away, &up))).settings(settings);
    let client = builder.register("mail", "http://10.0.0.7:25").start().await.unwrap();
    away.link.on_all(Fault::Hang);
    let begun = Instant::now();
    let error = timeout(LONG_LEASE, client.shutdown()).await.expect("it ends").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout);
    // A call that is under way has its own bound, which comes before that of the goodbye.
    assert!(begun.elapsed() <= 2 * settings_timeout(), "{:?}", begun.elapsed());
    assert_eq!(up.memory.list().await.unwrap(), [], "the other one heard the goodbye");
    assert_eq!(up.link.under_way(Operation::Register), 0);
}

fn settings_timeout() -> Duration {
    Settings::default().timeout
}

/// A driver whose watch panics.
struct Panics(Memory);

#[async_trait]
impl Driver for Panics {
    async fn register(&self, instance: &Instance, ttl: Duration) -> Result<()> {
        self.0.register(instance, ttl).await
    }

    async fn deregister(&self, id: &InstanceId) -> Result<()> {
        self.0.deregister(id).await
    }

    async fn list(&self) -> Result<Vec<Instance>> {
        self.0.list().await
    }

    fn watch(&self) -> Option<BoxStream<'_, Result<Event>>> {
        panic!("a watch that panics")
    }
}

#[tokio::test(start_paused = true)]
async fn one_whose_watch_panics_ends_nothing_of_the_other() {
    for panics_first in [true, false] {
        let (panics, other) = (Memory::new(), Memory::new());
        let mut sides: [Arc<dyn Driver>; 2] =
            [Arc::new(Panics(panics.clone())), Arc::new(other.clone())];
        if !panics_first {
            sides.reverse();
        }
        let [primary, also] = sides;
        let both = Arc::new(Both::new(primary, also));
        assert!(!both.is_polled_in_part(), "it has a watch");
        let builder = Client::builder(both);
        let client = builder.register("mail", "http://10.0.0.7:25").start().await.unwrap();
        assert_eq!((panics.list().await.unwrap().len(), other.list().await.unwrap().len()), (1, 1));
        other.register(&mail("mail-2"), LONG_LEASE).await.unwrap();
        until_seen(&client, 2).await;
    }
}

/// Those who still use the polled database alone hear of a goodbye at their next read.
#[tokio::test(start_paused = true)]
async fn where_one_is_polled_a_goodbye_is_announced_and_the_drain_is_longer() {
    let (old, new) = places();
    let polled = old.link.clone().without_watch();
    let two = Both::new(Arc::new(polled.clone()), Arc::new(new.link.clone()));
    let user = Client::builder(Arc::new(polled)).start().await.unwrap();
    let builder = Client::builder(Arc::new(two));
    let mail = builder.register("mail", "http://10.0.0.7:25").start().await.unwrap();
    until_seen(&user, 1).await;
    let begun = Instant::now();
    mail.leave().await.unwrap();
    until_seen(&user, 0).await;
    assert!(begun.elapsed() <= mail.drain_time(), "{:?}", begun.elapsed());

    let pushed = Client::builder(Arc::new(both(&old, &new))).start().await.unwrap();
    assert_eq!(pushed.drain_time(), Settings::default().drain);
}
