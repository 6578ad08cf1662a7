//! Clause 15: a backend that takes no writes for a while.

use std::time::Duration;

use futures_util::future::join;
use gosd_core::{Event, Instance};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use crate::case::{
    CALL, Case, Client, GRACE, LONG_LEASE, PACE, Result, SLACK, instance, is_outage, view_of,
};
use crate::follower::{Follower, shown};
use crate::{Fixture, Violation};

/// How soon the watchers are to learn that writes are refused, and that they are taken again.
const NOTICED: Duration = Duration::from_secs(10);

/// Clause 15: while the backend takes no writes, `list` fails or has everybody whose lease ran out
/// meanwhile. Needs the hook `refuse_writes`.
pub async fn clause_15_refused_writes_are_no_deaths(
    fixture: &dyn Fixture,
) -> Result<(), Violation> {
    let case = Case::new(15, fixture);
    let (owner, other) = (case.client().await?, case.client().await?);
    let living: Vec<Instance> = (0..3).map(|_| instance("mail")).collect();
    for lease in leases(&case) {
        other.list().await?;
        if !refuse(&case, &owner, &living, lease).await? {
            continue;
        }
        // One that knows nothing of the time before.
        let late = case.client().await?;
        let end = Instant::now() + beyond(lease);
        while Instant::now() < end {
            expect_refusal(&case, &owner, &living[0], lease).await?;
            for reader in [&other, &late] {
                expect_all_or_failure(&case, reader, &living).await?;
            }
            sleep(PACE).await;
        }
        case.accept_writes().await?;
        for instance in &living {
            owner.retry("register", || owner.driver.register(instance, LONG_LEASE)).await?;
        }
        other.retry("list", || other.driver.list()).await?;
        let living: Vec<&Instance> = living.iter().collect();
        return other.expect("after the backend took writes again", &living).await;
    }
    too_slow(&case)
}

/// Clause 15: while the backend takes no writes, `watch` yields an `Err` within 10 s and reports
/// nobody as gone; once it takes them again, who registers within half a lease is never gone, and
/// who does not is in the end. Needs a watch and the hook `refuse_writes`.
///
/// A `list` of that half lease may lack what had expired: to core that is no death.
pub async fn clause_15_watchers_outlast_refused_writes(
    fixture: &dyn Fixture,
) -> Result<(), Violation> {
    let case = Case::new(15, fixture);
    let (owner, watcher) = (case.client().await?, case.client().await?);
    for lease in leases(&case) {
        let living: Vec<Instance> = (0..3).map(|_| instance("mail")).collect();
        let dead = instance("mail");
        let all: Vec<Instance> = living.iter().chain([&dead]).cloned().collect();
        for instance in &all {
            owner.register(instance, lease).await?;
        }
        let mut follower = Follower::start(&watcher).await?;
        if !refuse(&case, &owner, &all, lease).await? || !follower.has(&all) {
            case.accept_writes().await?;
            continue;
        }
        follower.expect_outage();
        follower.must_keep(&all);
        follow_refusal(&case, &mut follower, &owner, &all, lease).await?;
        follower.must_keep(&living);
        let accepted_at = Instant::now();
        case.accept_writes().await?;
        if return_within_half(&mut follower, &owner, &living, accepted_at, lease).await? {
            // A machine that stands still for a lease may indeed see the living end from here on.
            follower.must_keep([]);
            return until_dead(&mut follower, &owner, &living, &dead, lease).await;
        }
    }
    too_slow(&case)
}

/// The leases with which a test is tried until one is long enough for the machine.
fn leases(case: &Case<'_>) -> impl Iterator<Item = Duration> + use<> {
    const TRIES: u32 = 5;
    let least = case.lease();
    (1..=TRIES).map(move |n| least * 2_u32.pow(n))
}

fn too_slow<T>(case: &Case<'_>) -> Result<T> {
    case.fail("calls and hooks that are faster than half a lease", "slower ones, each time")
}

/// How long after a renewal its lease is over, whatever the backend grants beyond it.
fn beyond(lease: Duration) -> Duration {
    lease + GRACE + Duration::from_millis(500)
}

/// Registers instances and has the backend refuse writes; `false` if their leases may be over by
/// then, and writes are taken.
async fn refuse(
    case: &Case<'_>,
    owner: &Client,
    instances: &[Instance],
    lease: Duration,
) -> Result<bool> {
    let registered_at = Instant::now();
    for instance in instances {
        owner.register(instance, lease).await?;
    }
    case.refuse_writes().await?;
    let in_time = registered_at.elapsed() < lease / 2;
    if !in_time {
        case.accept_writes().await?;
        owner.retry("register", || owner.driver.register(&instances[0], lease)).await?;
    }
    Ok(in_time)
}

/// Tries to renew, as a living instance does, and requires it to fail.
async fn expect_refusal(
    case: &Case<'_>,
    owner: &Client,
    instance: &Instance,
    lease: Duration,
) -> Result<()> {
    match timeout(CALL, owner.driver.register(instance, lease)).await {
        Ok(Ok(())) => {
            case.fail("`register` to fail after the fixture's `refuse_writes`", "success")
        }
        _ => Ok(()),
    }
}

async fn expect_all_or_failure(
    case: &Case<'_>,
    reader: &Client,
    living: &[Instance],
) -> Result<()> {
    match timeout(CALL, reader.driver.list()).await {
        Err(_) => Ok(()),
        Ok(Err(error)) if is_outage(error.kind()) => Ok(()),
        Ok(Err(error)) => {
            let expected = "a `list` while writes are refused to fail as `Unavailable`";
            case.fail(expected, format!("{error:?}"))
        }
        Ok(Ok(list)) => {
            let view = view_of(list);
            match living.iter().find(|instance| !view.contains_key(instance.id())) {
                None => Ok(()),
                Some(lacking) => case.fail(
                    "`list` to fail while nobody can renew, or to have everybody",
                    format!("a `list` without {lacking:?}"),
                ),
            }
        }
    }
}

/// Follows until the leases have run out and an `Err` has come, while somebody tries to renew.
async fn follow_refusal(
    case: &Case<'_>,
    follower: &mut Follower<'_>,
    owner: &Client,
    all: &[Instance],
    lease: Duration,
) -> Result<()> {
    let end = Instant::now() + beyond(lease);
    let watch = async {
        let error = follower.until_lost(NOTICED + SLACK).await?;
        if !is_outage(error.kind()) {
            let expected = "the `Err` while writes are refused as `Unavailable`";
            return case.fail(expected, format!("{error:?}"));
        }
        follower.read_until(end).await
    };
    let renewals = async {
        loop {
            expect_refusal(case, owner, &all[0], lease).await?;
            sleep(lease / 3).await;
        }
    };
    tokio::select! {
        seen = watch => seen,
        ended = renewals => ended,
    }
}

/// Has the living register again, one after another, while the watcher looks; `false` if that took
/// longer than half a lease, so that nothing can be said.
async fn return_within_half(
    follower: &mut Follower<'_>,
    owner: &Client,
    living: &[Instance],
    accepted_at: Instant,
    lease: Duration,
) -> Result<bool> {
    let renewals = async {
        for (n, instance) in (1..).zip(living) {
            sleep_until(accepted_at + lease * n / 8).await;
            owner.retry("register", || owner.driver.register(instance, lease)).await?;
        }
        Ok::<_, Violation>(accepted_at.elapsed() < lease / 2)
    };
    // A moment longer, for a driver that takes them away just then.
    let watch = follower.read_until(accepted_at + lease * 6 / 10);
    let (in_time, seen) = join(renewals, watch).await;
    Ok(in_time? && seen.map(|()| true)?)
}

/// Renews the living until the dead one has gone.
async fn until_dead(
    follower: &mut Follower<'_>,
    owner: &Client,
    living: &[Instance],
    dead: &Instance,
    lease: Duration,
) -> Result<()> {
    let renewals = async {
        loop {
            for instance in living {
                owner.retry("register", || owner.driver.register(instance, lease)).await?;
            }
            sleep(lease / 3).await;
        }
    };
    if follower.has([dead]) {
        let latest = Instant::now() + NOTICED + lease * 2 + GRACE + SLACK;
        let gone = tokio::select! {
            gone = follower.until_gone(dead.id(), latest) => gone?,
            ended = renewals => return ended,
        };
        if !matches!(gone, Event::Expire(_) | Event::Reset(_)) {
            let expected = "the end of a lease as `Expire`, for `Remove` is a goodbye";
            return follower.fail(expected, shown(&gone));
        }
    }
    for instance in living {
        owner.register(instance, LONG_LEASE).await?;
    }
    follower.settle(owner, SLACK).await
}
