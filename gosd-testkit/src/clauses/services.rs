//! Clause 16: a watch of some services, which a driver need not have.

use std::collections::BTreeSet;

use futures_util::future::try_join;
use gosd_core::Instance;
use tokio::sync::oneshot;
use tokio::task::yield_now;
use tokio::time::Instant;

use crate::case::{
    Case, GRACE, LONG_LEASE, Result, SLACK, difference, instance, instances, moved, view_of,
};
use crate::follower::{Follower, shown};
use crate::{Fixture, Violation};

fn services(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

/// The same instance as one of another service.
fn of(service: &str, instance: &Instance) -> Instance {
    let metadata = instance.metadata().clone();
    Instance::from_parts(instance.id().clone(), service, instance.url(), metadata)
}

/// Clause 16: the first item is a `Reset` with all instances of the services, of each of them, and
/// `list_services` has the same. Needs a watch of services.
pub async fn clause_16_snapshot_of_services_comes_first(
    fixture: &dyn Fixture,
) -> Result<(), Violation> {
    let case = Case::new(16, fixture);
    let (writer, watcher) = (case.client().await?, case.client().await?);
    let asked = services(&["mail", "user", "nobody"]);
    let empty = Follower::start_with(&watcher, &asked).await?;
    if !empty.view.is_empty() {
        return case.fail("an empty `Reset` where nothing is registered", shown(&empty.view));
    }
    let wanted = [
        instance("mail").with_metadata("zone", "b"),
        instance("mail"),
        moved(&instance("user"), "http://[::1]:80/x"),
    ];
    // Names that begin alike are different services.
    let others = [instance("mail2"), instance("mai"), instance("other")];
    for instance in wanted.iter().chain(&others) {
        writer.register(instance, LONG_LEASE).await?;
    }
    let expected = view_of(wanted);
    let follower = Follower::start_with(&watcher, &asked).await?;
    if let Some(came) = difference(&expected, &follower.view) {
        return case.fail("a `Reset` with exactly what is registered of the services", came);
    }
    match difference(&expected, &watcher.view_of_services(&asked).await?) {
        None => Ok(()),
        Some(came) => case.fail("`list_services` to hold what is registered of them", came),
    }
}

/// Clause 16: a new, a changed and a removed instance of each service reach the watch, and so does one that
/// comes from another service or goes to one. Needs a watch of services.
pub async fn clause_16_changes_of_services_follow(fixture: &dyn Fixture) -> Result<(), Violation> {
    let case = Case::new(16, fixture);
    let (writer, watcher) = (case.client().await?, case.client().await?);
    let asked = services(&["mail", "user"]);
    let mut follower = Follower::start_with(&watcher, &asked).await?;
    for service in ["mail", "user"] {
        let plain = instance(service);
        for now in [&plain, &moved(&plain, "http://10.0.0.8:25"), &plain] {
            writer.register(now, LONG_LEASE).await?;
            follower.until_put(now).await?;
        }
        // What happens to others changes nothing.
        let other = instance("other");
        writer.register(&other, LONG_LEASE).await?;
        writer.deregister(other.id()).await?;
        // From one service of the watch to another, out of it, and back.
        for service in ["user", "mail"] {
            let now = of(service, &plain);
            writer.register(&now, LONG_LEASE).await?;
            follower.until_put(&now).await?;
        }
        writer.register(&of("other", &plain), LONG_LEASE).await?;
        follower.until_gone(plain.id(), Instant::now() + SLACK).await?;
        writer.register(&plain, LONG_LEASE).await?;
        follower.until_put(&plain).await?;
        writer.deregister(plain.id()).await?;
        follower.until_gone(plain.id(), Instant::now() + SLACK).await?;
    }
    Ok(())
}

/// Clause 16: the end of a lease reaches the watch, as an expiry. Needs a watch of services.
pub async fn clause_16_expiry_reaches_watchers_of_services(
    fixture: &dyn Fixture,
) -> Result<(), Violation> {
    let case = Case::new(16, fixture);
    let watcher = case.client().await?;
    let lease = case.lease();
    let [stays, before, after, other] =
        [instance("mail"), instance("mail"), instance("user"), instance("other")];
    case.in_a_process_that_ends(async |owner| {
        owner.register(&stays, LONG_LEASE).await?;
        owner.register(&before, lease * 2).await
    })
    .await?;
    let mut follower = Follower::start_with(&watcher, &services(&["mail", "user"])).await?;
    follower.must_keep([&stays]);
    case.in_a_process_that_ends(async |owner| {
        // The leases end one after the other, so that none of the expiries is behind another.
        owner.register(&after, lease * 3).await?;
        owner.register(&other, lease).await
    })
    .await?;
    follower.until_put(&after).await?;
    let latest = Instant::now() + lease * 3 + GRACE + SLACK;
    for id in [before.id(), after.id()] {
        follower.until_expired(id, latest).await?;
    }
    Ok(())
}

/// Clause 16: of changes that happen while a second watch is opened, with more services, beside a first one,
/// both have all of their services. Needs a watch of services.
pub async fn clause_16_no_gap_between_two_watches(fixture: &dyn Fixture) -> Result<(), Violation> {
    const ROUNDS: usize = 5;
    let case = Case::new(16, fixture);
    let (writer, watcher) = (case.client().await?, case.client().await?);
    for round in 0..ROUNDS {
        let fewer = services(&["mail"]);
        let mut first = Follower::start_with(&watcher, &fewer).await?;
        let (mail, user) = (instances(20, "mail"), instances(20, "user"));
        let open_after = round * 4;
        let (begin, begun) = oneshot::channel();
        let writes = async {
            let mut begin = Some(begin);
            for (n, (mail, user)) in mail.iter().zip(&user).enumerate() {
                if n == open_after {
                    begin.take().map(|begin| begin.send(()));
                }
                for instance in [mail, user] {
                    writer.register(instance, LONG_LEASE).await?;
                    yield_now().await;
                    if n % 2 == 1 {
                        writer.deregister(instance.id()).await?;
                    }
                }
            }
            Ok(())
        };
        let more = services(&["mail", "user"]);
        let open = async {
            // An error here means that the writes have failed, and the writer reports that failure.
            let _ = begun.await;
            Follower::start_with(&watcher, &more).await
        };
        let ((), mut second) = try_join(writes, open).await?;
        second.settle(&writer, SLACK * 2).await?;
        first.settle(&writer, SLACK * 2).await?;
    }
    Ok(())
}
