//! Clause 5: instances that are renewed before their lease runs out.

use std::time::Duration;

use futures_util::future::try_join3;
use gosd_core::Instance;
use tokio::time::{Instant, sleep};

use crate::case::{Case, Client, LONG_LEASE, PACE, Result, SLACK, instance, moved};
use crate::follower::{Follower, shown};
use crate::{Fixture, Violation};

/// Clause 5: an instance that is renewed every third of its lease stays listed.
pub async fn clause_05_renewed_stays(fixture: &dyn Fixture) -> Result<(), Violation> {
    let case = Case::new(5, fixture);
    let (owner, other) = (case.client().await?, case.client().await?);
    let instance = instance("mail");
    renew(&case, &owner, &instance, async || other.lists(instance.id()).await).await
}

/// Clause 5: `watch` does not take a renewed instance for an expired one. Needs a watch.
pub async fn clause_05_renewed_stays_for_watchers(fixture: &dyn Fixture) -> Result<(), Violation> {
    let case = Case::new(5, fixture);
    let (owner, other) = (case.client().await?, case.client().await?);
    let [instance, stays] = [instance("mail"), instance("mail")];
    owner.register(&stays, LONG_LEASE).await?;
    let mut follower = Follower::start(&other).await?;
    // This lease is so long that no slow machine excuses the loss of the instance.
    follower.must_keep([&stays]);
    let mut renewals = 0;
    renew(&case, &owner, &instance, async || {
        renewals += 1;
        owner.register(&stays, LONG_LEASE).await?;
        owner
            .register(&stays.clone().with_metadata("n", &renewals.to_string()), LONG_LEASE)
            .await?;
        while follower.next(Instant::now() + PACE).await?.is_some() {}
        Ok(follower.view.contains_key(instance.id()))
    })
    .await
}

/// Renews for more than two leases, and checks before each renewal that the instance is listed.
///
/// A check counts only if it ended before the lease did, because on a busy machine the lease may really have
/// run out between two renewals. So a slow machine cannot fail the test.
async fn renew(
    case: &Case<'_>,
    owner: &Client,
    instance: &Instance,
    mut look: impl AsyncFnMut() -> Result<bool>,
) -> Result<()> {
    const LOOKS: u32 = 8;
    let lease = case.lease();
    let give_up = Instant::now() + lease * 20;
    let mut seen = 0;
    while seen < LOOKS {
        let renewed_at = Instant::now();
        owner.register(instance, lease).await?;
        sleep(lease / 3).await;
        let there = look().await?;
        if renewed_at.elapsed() >= lease {
            seen = 0;
        } else if there {
            seen += 1;
        } else if seen > 0 {
            let came = format!("its absence {:?} after a renewal", renewed_at.elapsed());
            return case.fail(format!("an instance renewed within {lease:?} to stay"), came);
        }
        if Instant::now() > give_up {
            let came = "its absence, or calls so slow that its lease ran out, again and again";
            return case.fail("a renewed instance to be there", came);
        }
    }
    Ok(())
}

/// Clause 5: a client that lists during a renewal finds the instance, as it was before or as it is after.
pub async fn clause_05_renewal_hides_nothing(fixture: &dyn Fixture) -> Result<(), Violation> {
    let case = Case::new(5, fixture);
    let (owner, other) = (case.client().await?, case.client().await?);
    let [a, b] = versions();
    owner.register(&a, LONG_LEASE).await?;
    let reads = async |renewing: &Renewing| {
        while renewing.goes_on() {
            let view = other.view().await?;
            expect_version(&case, &[&a, &b], view.get(a.id()))?;
            sleep(Duration::from_millis(1)).await;
        }
        Ok(())
    };
    let renewing = Renewing::default();
    let renewals = renewing.run(&owner, [&a, &b]);
    try_join3(renewals, reads(&renewing), reads(&renewing)).await.map(|_| ())
}

/// Clause 5: during a renewal no item of `watch` removes the instance, or holds half of the new record. Needs
/// a watch.
pub async fn clause_05_renewal_hides_nothing_from_watchers(
    fixture: &dyn Fixture,
) -> Result<(), Violation> {
    let case = Case::new(5, fixture);
    let (owner, other) = (case.client().await?, case.client().await?);
    let [a, b] = versions();
    owner.register(&a, LONG_LEASE).await?;
    let mut follower = Follower::start(&other).await?;
    follower.must_keep([&a]);
    let renewing = Renewing::default();
    let watch = async {
        while renewing.goes_on() {
            follower.next(Instant::now() + PACE).await?;
            expect_version(&case, &[&a, &b], follower.view.get(a.id()))?;
        }
        Ok(())
    };
    futures_util::future::try_join(renewing.run(&owner, [&a, &b]), watch).await?;
    follower.settle(&owner, SLACK).await
}

/// Two versions of one instance that have nothing in common but the id.
fn versions() -> [Instance; 2] {
    let a = instance("mail").with_metadata("version", "a");
    let b = moved(&a, "http://10.0.0.8:25").with_metadata("version", "b");
    [a, b]
}

fn expect_version(case: &Case<'_>, versions: &[&Instance], came: Option<&Instance>) -> Result<()> {
    match came {
        Some(came) if versions.contains(&came) => Ok(()),
        came => case.fail("an instance that is renewed meanwhile, whole", shown(&came)),
    }
}

/// A series of renewals that other clients observe.
#[derive(Default)]
struct Renewing {
    is_over: std::cell::Cell<bool>,
}

impl Renewing {
    const ROUNDS: usize = 100;
    const LONGEST: Duration = Duration::from_secs(2);

    fn goes_on(&self) -> bool {
        !self.is_over.get()
    }

    /// Renews each version of the instance in turn.
    async fn run(&self, owner: &Client, versions: [&Instance; 2]) -> Result<()> {
        let end = Instant::now() + Self::LONGEST;
        for round in 0..Self::ROUNDS {
            for _ in 0..2 {
                owner.register(versions[round % 2], LONG_LEASE).await?;
                sleep(Duration::from_millis(1)).await;
            }
            if Instant::now() > end {
                break;
            }
        }
        self.is_over.set(true);
        Ok(())
    }
}
