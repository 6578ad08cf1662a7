//! Clause 15: a backend that refuses writes for a while.

use std::time::Duration;

use futures_util::future::join;
use gosd_core::Instance;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use crate::case::{
    CALL, Case, Client, GRACE, LONG_LEASE, PACE, Result, SLACK, instance, is_outage, view_of,
};
use crate::follower::Follower;
use crate::{Fixture, Violation};

/// Within this time watchers have to learn that writes are refused, or accepted again.
const NOTICED: Duration = Duration::from_secs(10);

/// Clause 15: while the backend refuses writes, `list` fails, or still has the instances whose leases ran out
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
        // A client that knows nothing of the time before the refusal.
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

/// Clause 15: while the backend refuses writes, `watch` yields an `Err` within 10 s and reports nobody as
/// gone. Once writes are accepted again, an instance that registers within half a lease is never reported as
/// gone, and one that does not is reported in the end. Needs a watch and the hook `refuse_writes`.
///
/// During that half lease, `list` may lack instances that had expired: core does not take that for a death.
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
            // If the machine stands still for a lease, living instances do expire from here on.
            follower.must_keep([]);
            return until_dead(&mut follower, &owner, &living, &dead, lease).await;
        }
    }
    too_slow(&case)
}

/// The leases to run a test with, one after another, until one is long enough for the machine.
fn leases(case: &Case<'_>) -> impl Iterator<Item = Duration> + use<> {
    const TRIES: u32 = 5;
    let least = case.lease();
    (1..=TRIES).map(move |n| least * 2_u32.pow(n))
}

fn too_slow<T>(case: &Case<'_>) -> Result<T> {
    case.fail("calls and hooks that are faster than half a lease", "slower ones, each time")
}

/// When a lease is certainly over, with all that the contract lets a backend add.
fn beyond(lease: Duration) -> Duration {
    lease + GRACE + Duration::from_millis(500)
}

/// Registers instances and has the backend refuse writes. Returns `false`, with writes accepted again, if the
/// leases may already be over.
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

/// Tries to renew, as a living instance does, and requires the renewal to fail.
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

/// Reads the watch until the leases have run out and an `Err` has come, while a client tries to renew.
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

/// Registers the living instances again, one after another, while the watch is read. Returns `false` if that
/// took longer than half a lease, because the clause then promises nothing.
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
    // Slightly longer than half a lease, because a driver may remove the instances just then.
    let watch = follower.read_until(accepted_at + lease * 6 / 10);
    let (in_time, seen) = join(renewals, watch).await;
    Ok(in_time? && seen.map(|()| true)?)
}

/// Renews the living instances until the dead one has gone.
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
    let latest = Instant::now() + NOTICED + lease * 2 + GRACE + SLACK;
    tokio::select! {
        gone = follower.until_expired(dead.id(), latest) => gone?,
        ended = renewals => return ended,
    }
    for instance in living {
        owner.register(instance, LONG_LEASE).await?;
    }
    follower.settle(owner, SLACK).await
}
