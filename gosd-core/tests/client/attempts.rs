//! `Attempts`: which requests are sent again, how often, and to which instances.

use std::cell::RefCell;
use std::collections::BTreeSet;

use gosd_core::{
    Attempts, Client, Driver, Failure, Instance, InstanceId, Outcome, Resend, Settings,
};

use crate::support::{Backend, LEASE, settle};

const REQUESTS: usize = 1_000;

async fn client(instances: usize) -> Client {
    let client = Backend::new().discover_with(Settings::default().eject_after(0)).await;
    for host in 0..instances {
        client.add_local("mail", &format!("http://10.0.0.{host}")).unwrap();
    }
    client
}

/// A client that has ejected one of its instances.
async fn with_one_ejected(backend: &Backend, instances: usize) -> (Client, InstanceId) {
    let client = backend.discover().await;
    let add = |host| client.add_local("mail", &format!("http://10.0.0.{host}")).unwrap();
    let ids: Vec<_> = (0..instances).map(add).collect();
    (0..3).for_each(|_| client.report(&ids[0], Outcome::Unreachable));
    assert_eq!(client.ejected().iter().map(|it| it.id()).collect::<Vec<_>>(), [&ids[0]]);
    (client, ids[0].clone())
}

async fn begin(client: &Client, resend: Resend) -> Attempts {
    Attempts::new(client.turn("mail").await.unwrap(), resend)
}

/// How many instances a request tries, if its attempts fail in these ways and the last way repeats.
async fn walk(client: &Client, resend: Resend, failures: &[Failure]) -> usize {
    let mut failures = failures.iter().copied().chain(std::iter::repeat(*failures.last().unwrap()));
    let mut attempts = Some(begin(client, resend).await);
    let mut tried = Vec::new();
    while let Some(now) = attempts {
        assert_eq!(now.resends() as usize, tried.len());
        tried.push(now.instance().url().to_owned());
        attempts = now.failed(failures.next().unwrap());
    }
    let count = tried.len();
    tried.sort();
    tried.dedup();
    assert_eq!(tried.len(), count, "nobody is asked twice");
    count
}

#[tokio::test(start_paused = true)]
async fn a_request_that_may_be_sent_again_goes_to_other_instances() {
    use Failure::{Refused, Unanswered, Unsent};
    let client = client(4).await;
    let table: [(Resend, &[Failure], usize); 10] = [
        (Resend::Never, &[Unsent], 1),
        (Resend::Never, &[Unanswered], 1),
        (Resend::IfUnsent, &[Unsent], 4),
        (Resend::IfUnsent, &[Unanswered], 1),
        (Resend::IfUnsent, &[Unsent, Refused], 2),
        (Resend::Once, &[Unsent], 4),
        (Resend::Once, &[Unanswered], 2),
        (Resend::Once, &[Refused], 2),
        (Resend::Once, &[Refused, Unsent], 4),
        (Resend::Once, &[Unsent, Refused, Unanswered], 3),
    ];
    for (resend, failures, tried) in table {
        let walked = walk(&client, resend, failures).await;
        assert_eq!(walked, tried, "{resend:?} of which the attempts come to {failures:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn when_everybody_refuses_a_fifth_of_the_requests_is_repeated() {
    let client = client(3).await;
    let mut sent = 0;
    for _ in 0..REQUESTS {
        sent += walk(&client, Resend::Once, &[Failure::Refused]).await;
    }
    assert_eq!(sent, REQUESTS + REQUESTS / 5 + 10);
    // A request that was never sent costs nobody anything, so the budget does not limit it.
    assert_eq!(walk(&client, Resend::Once, &[Failure::Unsent]).await, 3);
}

#[tokio::test(start_paused = true)]
async fn each_service_has_its_own_budget_of_repetitions() {
    let client = client(2).await;
    for host in [8, 9] {
        client.add_local("orders", &format!("http://10.0.0.{host}")).unwrap();
    }
    while walk(&client, Resend::Once, &[Failure::Refused]).await > 1 {}
    let turn = client.turn("orders").await.unwrap();
    assert!(Attempts::new(turn, Resend::Once).failed(Failure::Refused).is_some());
}

#[tokio::test(start_paused = true)]
async fn the_selections_of_a_service_share_its_budget() {
    let client = client(2).await;
    let mut repeated = 0;
    for _ in 0..2 {
        let mut selection = client.service_where("mail", |_| true);
        for _ in 0..20 {
            let attempts = Attempts::new(selection.turn().unwrap(), Resend::Once);
            repeated += usize::from(attempts.failed(Failure::Refused).is_some());
        }
    }
    assert_eq!(repeated, 10 + 40 / 5);
}

#[tokio::test(start_paused = true)]
async fn the_budget_outlives_a_change_of_the_instances() {
    let client = client(2).await;
    while walk(&client, Resend::Once, &[Failure::Refused]).await > 1 {}
    client.add_local("mail", "http://10.0.0.9").unwrap();
    assert_eq!(walk(&client, Resend::Once, &[Failure::Refused]).await, 1);
}

#[tokio::test(start_paused = true)]
async fn attempts_are_reported() {
    let client = Backend::new().discover().await;
    for host in 0..3 {
        client.add_local("mail", &format!("http://10.0.0.{host}")).unwrap();
    }
    let dead = begin(&client, Resend::Never).await.instance().clone();
    for _ in 0..9 {
        let attempts = begin(&client, Resend::Never).await;
        match attempts.instance().id() == dead.id() {
            true => drop(attempts.failed(Failure::Unsent)),
            false => attempts.succeeded(),
        }
    }
    assert_eq!(client.ejected(), [dead]);
}

#[tokio::test(start_paused = true)]
async fn what_was_not_sent_goes_to_an_ejected_instance_last_and_to_no_drained_one() {
    let backend = Backend::new();
    let (client, ejected) = with_one_ejected(&backend, 2).await;
    let attempts = begin(&client, Resend::IfUnsent).await;
    let living = attempts.instance().id().clone();
    let next = attempts.failed(Failure::Unsent).unwrap();
    assert_eq!(*next.instance().id(), ejected);
    next.succeeded();
    assert_eq!(client.ejected(), []);

    client.report(&living, Outcome::Answered);
    backend.memory.register(&Instance::drain_of(&ejected), LEASE).await.unwrap();
    settle().await;
    assert_eq!(client.drained().len(), 1);
    let attempts = begin(&client, Resend::IfUnsent).await;
    assert_eq!(*attempts.instance().id(), living);
    assert!(attempts.failed(Failure::Unsent).is_none());
}

#[tokio::test(start_paused = true)]
async fn once_a_request_was_refused_the_ejected_are_left_alone() {
    use Failure::{Refused, Unsent};
    let table: [(&[Failure], usize); 4] =
        [(&[Unsent], 3), (&[Refused], 2), (&[Refused, Unsent], 2), (&[Unsent, Refused], 2)];
    for (failures, tried) in table {
        let (client, _) = with_one_ejected(&Backend::new(), 3).await;
        assert_eq!(walk(&client, Resend::Once, failures).await, tried, "{failures:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn who_no_request_can_be_made_for_is_passed_over_and_reported() {
    const UNUSABLE: [&str; 2] = ["tcp://10.0.0.1:1", "tcp://10.0.0.2:1"];
    let prepare = |it: &Instance| match it.url().starts_with("tcp:") {
        true => Err(it.url().to_owned()),
        false => Ok(it.url_with("/7")),
    };
    let client = Backend::new().discover().await;
    for url in UNUSABLE.iter().chain(&["http://10.0.0.3"]) {
        client.add_local("mail", url).unwrap();
    }
    for _ in 0..12 {
        let attempts = begin(&client, Resend::Never).await;
        let (attempts, url) = attempts.prepared(prepare).unwrap();
        assert_eq!((&*url, attempts.resends()), ("http://10.0.0.3/7", 0));
        attempts.succeeded();
    }
    let ejected: BTreeSet<_> = client.ejected().iter().map(|it| it.url().to_owned()).collect();
    assert_eq!(ejected, UNUSABLE.map(str::to_owned).into());
}

#[tokio::test(start_paused = true)]
async fn if_no_request_can_be_made_the_error_is_that_of_the_last() {
    let client = client(3).await;
    let attempts = begin(&client, Resend::Once).await.failed(Failure::Unanswered).unwrap();
    let prepared = RefCell::new(Vec::new());
    let error = attempts.prepared(|it| {
        prepared.borrow_mut().push(it.id().clone());
        Err::<(), _>(it.id().clone())
    });
    let prepared = prepared.into_inner();
    assert_eq!((prepared.len(), prepared.last()), (2, error.err().as_ref()));
}
