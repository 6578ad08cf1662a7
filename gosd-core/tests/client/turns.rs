//! Turns: how a request walks from instance to instance, reports failures, and ejects instances.

use std::collections::{BTreeMap, BTreeSet};

use gosd_core::{Change, Client, Driver, ErrorKind, Instance, InstanceId, Outcome, Settings, Turn};
use tokio::task::{JoinSet, yield_now};
use tokio::time::{Instant, sleep};

use crate::support::{
    Backend, DOWN, INTERVAL, LEASE, NO_TIME, SECOND, item, settle, soon, until_seen,
};

const URLS: [&str; 4] =
    ["http://10.0.0.1", "http://10.0.0.2", "http://10.0.0.3", "http://10.0.0.4"];

/// A client that discovers, with this many local entries.
async fn with_local(backend: &Backend, count: usize) -> Client {
    let client = backend.discover().await;
    for url in &URLS[..count] {
        client.add_local("mail", url).unwrap();
    }
    client
}

async fn settings(backend: &Backend, settings: Settings, count: usize) -> Client {
    let client = backend.discover_with(settings).await;
    for url in &URLS[..count] {
        client.add_local("mail", url).unwrap();
    }
    client
}

fn id(client: &Client, url: &str) -> InstanceId {
    let all = client.instances("mail");
    all.iter().find(|it| it.url() == url).unwrap().id().clone()
}

fn fail(client: &Client, url: &str, times: usize) {
    for _ in 0..times {
        client.report(&id(client, url), Outcome::Unreachable);
    }
}

fn urls_of<'a>(
    instances: impl IntoIterator<Item = &'a std::sync::Arc<Instance>>,
) -> BTreeSet<String> {
    instances.into_iter().map(|it| it.url().to_owned()).collect()
}

fn set(urls: &[&str]) -> BTreeSet<String> {
    urls.iter().map(ToString::to_string).collect()
}

/// The instances that a turn tries, in order, if all of them fail.
fn walk(turn: Turn) -> Vec<String> {
    let (mut tried, mut turn) = (Vec::new(), Some(turn));
    while let Some(now) = turn {
        tried.push(now.instance().url().to_owned());
        turn = now.failed(Outcome::Unreachable);
    }
    tried
}

/// How many of the requests of 64 tasks fail where one of two instances is dead.
async fn failed_requests<F>(request: impl Fn(Client) -> F) -> usize
where
    F: Future<Output = bool> + Send + 'static,
{
    let client = settings(&Backend::new(), Settings::default().eject_after(0), 2).await;
    let mut tasks = JoinSet::new();
    let request = &request;
    for _ in 0..64 {
        let requests: Vec<_> = (0..50).map(|_| request(client.clone())).collect();
        tasks.spawn(async move {
            let mut failed = 0;
            for request in requests {
                failed += usize::from(!request.await);
            }
            failed
        });
    }
    tasks.join_all().await.into_iter().sum()
}

async fn send(to: &Instance) -> bool {
    yield_now().await;
    to.url() != URLS[0]
}

#[tokio::test(start_paused = true)]
async fn a_turn_passes_a_dead_instance_that_another_pick_returns_again() {
    let by_turns = |client: Client| async move {
        let mut turn = client.turn("mail").await.unwrap();
        loop {
            if send(turn.instance()).await {
                turn.succeeded();
                return true;
            }
            match turn.failed(Outcome::Unreachable) {
                Some(next) => turn = next,
                None => return false,
            }
        }
    };
    assert_eq!(failed_requests(by_turns).await, 0);
    let by_picks = |client: Client| async move {
        let first = client.next("mail").await.unwrap();
        send(&first).await || send(&client.next("mail").await.unwrap()).await
    };
    assert!(failed_requests(by_picks).await > 100, "the callers share one rotation");
}

#[tokio::test(start_paused = true)]
async fn a_turn_tries_each_once_and_takes_one_ticket() {
    let never = Settings::default().eject_after(0);
    let client = settings(&Backend::new(), never, 4).await;
    let mut handle = client.service("mail");
    let mut first = BTreeMap::new();
    for i in 0..40 {
        let turn = match i % 2 {
            0 => handle.turn().unwrap(),
            _ => client.turn("mail").await.unwrap(),
        };
        let tried = walk(turn);
        assert_eq!(tried.iter().cloned().collect::<BTreeSet<_>>(), set(&URLS));
        assert_eq!(tried.len(), 4, "each once");
        *first.entry(tried[0].clone()).or_insert(0) += 1;
        // The turn continues in the order of the rotation.
        let start = URLS.iter().position(|url| *url == tried[0]).unwrap();
        assert!(tried.iter().zip(URLS.iter().cycle().skip(start)).all(|(it, url)| it == url));
    }
    assert!(first.values().all(|count| *count == 10), "{first:?}");
    assert_eq!(client.stats().services[0].picks, 40);
}

#[tokio::test(start_paused = true)]
async fn a_turn_prefers_instances_that_are_in_rotation_now() {
    let client = with_local(&Backend::new(), 3).await;
    let mut handle = client.service("mail");
    while client.pick("mail").unwrap().url() != URLS[2] {}
    let turn = handle.turn().unwrap();
    assert_eq!(turn.instance().url(), URLS[0]);
    fail(&client, URLS[1], 3);
    client.add_local("mail", URLS[3]).unwrap();
    let tried = walk(turn);
    assert_eq!(tried.len(), 4);
    assert_eq!(tried[3], URLS[1], "only as the last resort: {tried:?}");
    let turn = handle.turn().unwrap();
    assert!(client.remove_local(&id(&client, turn.instance().url())));
    assert!(turn.failed(Outcome::Unreachable).is_some());
}

#[tokio::test(start_paused = true)]
async fn a_turn_waits_for_the_service_as_a_lookup_does() {
    let backend = Backend::new();
    let client = backend.discover().await;
    assert!(client.service("mail").turn().is_none());
    let start = Instant::now();
    let error = client.turn("mail").await.unwrap_err();
    assert_eq!((error.kind(), start.elapsed()), (ErrorKind::NotFound, 15 * SECOND));
    let (turn, ()) = tokio::join!(soon(client.turn("mail")), async {
        sleep(SECOND).await;
        client.add_local("mail", URLS[0]).unwrap();
    });
    assert_eq!(turn.unwrap().instance().url(), URLS[0]);
}

#[tokio::test(start_paused = true)]
async fn an_instance_that_fails_is_out_of_rotation_for_its_time_and_no_longer() {
    let client = with_local(&Backend::new(), 2).await;
    let mut changes = client.changes();
    assert!(matches!(item(&mut changes).await, Some(Change::Reset(all)) if all.len() == 2));
    for time in [5, 10, 20] {
        let start = Instant::now();
        fail(&client, URLS[0], 3);
        let Some(Change::Ejected(out)) = item(&mut changes).await else { panic!("not ejected") };
        assert_eq!(out.url(), URLS[0]);
        assert_eq!(urls_of(&client.ejected()), set(&URLS[..1]));
        assert_eq!(client.instances("mail").len(), 2);
        assert!((0..4).all(|_| client.pick("mail").unwrap().url() == URLS[1]));
        let Some(Change::Readmitted(back)) = item(&mut changes).await else { panic!("not back") };
        assert_eq!(back, out);
        let took = start.elapsed().as_secs_f64() / f64::from(time);
        assert!((1.0..=1.21).contains(&took), "{took} of {time} s");
        let picks: BTreeSet<_> =
            (0..4).map(|_| client.pick("mail").unwrap().url().to_owned()).collect();
        assert_eq!(picks, set(&URLS[..2]));
    }
    assert_eq!(client.stats().ejections, 3);
    assert_eq!((client.stats().added, client.stats().removed), (2, 0));
}

#[tokio::test(start_paused = true)]
async fn after_the_shutdown_no_instance_is_out_of_rotation() {
    let client = with_local(&Backend::new(), 2).await;
    fail(&client, URLS[0], 3);
    assert_eq!(client.ejected().len(), 1);
    client.shutdown().await.unwrap();
    assert_eq!(client.ejected(), []);
    fail(&client, URLS[0], 10);
    assert_eq!(client.ejected(), []);
}

#[tokio::test(start_paused = true)]
async fn a_drain_takes_an_instance_out_everywhere_until_it_ends() {
    for backend in [Backend::new(), Backend::polled()] {
        let mail =
            [backend.register("mail", URLS[0]).await, backend.register("mail", URLS[1]).await];
        let user = backend.discover().await;
        until_seen(&user, "mail", 2).await;
        let drain = Instance::drain_of(mail[0].id().unwrap());
        backend.memory.register(&drain, 10 * LEASE).await.unwrap();
        sleep(2 * INTERVAL).await;
        for client in [&user, &mail[0]] {
            assert_eq!(urls_of(&client.drained()), set(&URLS[..1]));
            assert!((0..4).all(|_| client.pick("mail").unwrap().url() == URLS[1]));
            assert_eq!(client.instances("mail").len(), 2);
            assert_eq!(client.services(), ["mail"]);
        }
        // No heartbeat of its owner ends the drain, but the lease of the drain does.
        sleep(8 * LEASE).await;
        assert_eq!(user.drained().len(), 1);
        sleep(4 * LEASE).await;
        assert_eq!(user.drained(), []);
        assert_eq!(
            urls_of(&(0..4).map(|_| user.pick("mail").unwrap()).collect::<Vec<_>>()),
            set(&URLS[..2])
        );
    }
}

#[tokio::test(start_paused = true)]
async fn where_changes_are_polled_a_drain_without_its_target_is_a_goodbye() {
    for says_so in [true, false] {
        let backend = Backend::polled();
        let gone = backend.put_for_long("mail", URLS[0]).await;
        let user = backend.discover().await;
        until_seen(&user, "mail", 1).await;
        if says_so {
            backend.memory.register(&Instance::drain_of(&gone), LEASE).await.unwrap();
        }
        backend.memory.deregister(&gone).await.unwrap();
        user.refresh().await.unwrap();
        assert_eq!(user.instances("mail").is_empty(), says_so);
    }
}

#[tokio::test(start_paused = true)]
async fn names_of_gosd_itself_are_not_registered() {
    let backend = Backend::new();
    let drain = Instance::drain_of(&"mail-1".into());
    let error = backend.builder().register_instance(drain).start().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
    let client = backend.discover().await;
    assert_eq!(client.add_local("gosd.drain", URLS[0]).unwrap_err().kind(), ErrorKind::Config);
}

#[tokio::test(start_paused = true)]
async fn a_lookup_that_finds_only_drained_instances_says_so() {
    let backend = Backend::new();
    let target = backend.put_for_long("mail", URLS[0]).await;
    backend.memory.register(&Instance::drain_of(&target), 10 * LEASE).await.unwrap();
    let client = backend.discover().await;
    let error = client.next("mail").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(error.to_string().contains("drained"), "{error}");
    // The lookup wakes as soon as the drain is over.
    let (found, ()) = tokio::join!(soon(client.next("mail")), async {
        sleep(SECOND).await;
        backend.memory.deregister(Instance::drain_of(&target).id()).await.unwrap();
    });
    assert_eq!(found.unwrap().url(), URLS[0]);
}

#[tokio::test(start_paused = true)]
async fn stats_count_what_happened() {
    let backend = Backend::new();
    let client = backend.register("mail", URLS[0]).await;
    let user = backend.discover().await;
    settle().await;
    let stats = user.stats();
    assert_eq!((stats.registered, stats.view_age), (false, Some(NO_TIME)));
    assert_eq!((stats.added, stats.watch_restarts), (1, 0));

    backend.put("mail", URLS[1], LEASE).await;
    let gone = backend.put_for_long("mail", URLS[2]).await;
    settle().await;
    backend.memory.deregister(&gone).await.unwrap();
    for _ in 0..7 {
        user.pick("mail");
    }
    user.refresh().await.unwrap();
    sleep(4 * LEASE).await;
    let stats = user.stats();
    assert_eq!((stats.added, stats.updated, stats.removed, stats.expired), (3, 0, 1, 1));
    assert!(stats.reads.ok >= 1 && stats.reads.failed == 0, "{stats:?}");
    let [mail] = &stats.services[..] else { panic!("{stats:?}") };
    assert_eq!((&*mail.name, mail.instances, mail.ejected, mail.picks), ("mail", 1, 0, 7));

    let before = client.stats();
    assert!(before.registered && before.heartbeats.ok > 10, "{before:?}");
    assert_eq!(before.heartbeats.failed, 0);
    backend.link.on_all(DOWN);
    sleep(LEASE).await;
    let stats = client.stats();
    assert!(!stats.registered && stats.heartbeats.failed > 0, "{stats:?}");
    assert!(stats.watch_restarts > 0 && stats.reads.failed > 0, "{stats:?}");
    assert!(stats.view_age.unwrap() > LEASE / 2, "{stats:?}");
    assert_eq!(stats.services[0].instances, 1);
}
