//! Clauses 13 and 14: namespaces do not see each other, and unreadable records hide no readable ones.

use gosd_core::Event;
use tokio::time::Instant;

use crate::case::{Case, Client, LONG_LEASE, Result, SLACK, instance, moved};
use crate::follower::{Follower, Item, shown};
use crate::{Fixture, Violation};

/// Clause 13: what is registered in one namespace is listed and removed only there.
pub async fn clause_13_namespaces_are_apart(fixture: &dyn Fixture) -> Result<(), Violation> {
    let case = Case::new(13, fixture);
    let client = case.client().await?;
    let shared = instance("mail");
    client.register(&shared, LONG_LEASE).await?;
    for (n, (name, other)) in others(&case).await?.into_iter().enumerate() {
        let when = format!("in namespace {name:?} beside {:?}", case.namespace);
        other.expect(&when, &[]).await?;
        other.deregister(shared.id()).await?;
        client.expect("after `deregister` in another namespace", &[&shared]).await?;
        // The same id may be registered in both namespaces.
        let same_id = moved(&shared, &format!("http://10.0.1.{n}:25"));
        other.register(&same_id, LONG_LEASE).await?;
        client.expect("after `register` of the same id in another", &[&shared]).await?;
        client.register(&shared, LONG_LEASE).await?;
        other.expect(&when, &[&same_id]).await?;
        client.deregister(shared.id()).await?;
        other.expect(&when, &[&same_id]).await?;
        client.register(&shared, LONG_LEASE).await?;
    }
    client.expect("after all of the others were used", &[&shared]).await
}

/// Clause 13: `.` and `..` are ordinary namespaces, even where a namespace is part of a path.
pub async fn clause_13_dots_are_names(fixture: &dyn Fixture) -> Result<(), Violation> {
    let case = Case::new(13, fixture);
    let client = case.client().await?;
    client.register(&instance("mail"), LONG_LEASE).await?;
    for (name, others) in [(".", ["..", "..."]), ("..", [".", "..."])] {
        let dotted = case.client_of(name).await?;
        let own = instance("dots");
        dotted.register(&own, LONG_LEASE).await?;
        if !dotted.lists(own.id()).await? {
            return case.fail(format!("what is registered in namespace {name:?}"), "its absence");
        }
        for other in others.iter().copied().chain([case.namespace.as_str()]) {
            if case.client_of(other).await?.lists(own.id()).await? {
                return case.fail(format!("nothing of {name:?} in {other:?}"), shown(&own));
            }
        }
        dotted.deregister(own.id()).await?;
    }
    Ok(())
}

/// Clause 13: `watch` yields changes of its own namespace only. Needs a watch.
pub async fn clause_13_watches_are_apart(fixture: &dyn Fixture) -> Result<(), Violation> {
    let case = Case::new(13, fixture);
    let client = case.client().await?;
    let mut follower = Follower::start(&client).await?;
    for (name, other) in others(&case).await? {
        let foreign = instance("mail");
        other.register(&foreign, LONG_LEASE).await?;
        other.deregister(foreign.id()).await?;
        let own = instance("mail");
        client.register(&own, LONG_LEASE).await?;
        let deadline = Instant::now() + SLACK;
        while !follower.view.contains_key(own.id()) {
            match follower.next(deadline).await? {
                Some(Item::Event(event)) if speaks_of(&event, &foreign) => {
                    let expected = format!("nothing of namespace {name:?}");
                    return case.fail(expected, shown(&event));
                }
                Some(_) => {}
                None => return case.fail("the `Put` in its own namespace", "nothing in time"),
            }
        }
    }
    Ok(())
}

fn speaks_of(event: &Event, instance: &gosd_core::Instance) -> bool {
    match event {
        Event::Put(other) => other.id() == instance.id(),
        Event::Remove(id) | Event::Expire(id) => id == instance.id(),
        Event::Reset(all) => all.iter().any(|other| other.id() == instance.id()),
        _ => false,
    }
}

/// Clients of namespaces that a driver would confuse with the case's own if it compared by prefix, by pattern
/// or without regard to case.
async fn others(case: &Case<'_>) -> Result<Vec<(String, Client)>> {
    let own = &case.namespace;
    let longest = |end| format!("{own}{}{end}", ".".repeat(63 - own.len()));
    let mut others = Vec::new();
    for name in [
        longest("a"),
        longest("b"),
        format!("{own}-1"),
        format!("{own}."),
        format!("{own}_meta"),
        own[..own.len() - 1].to_owned(),
        own.to_uppercase(),
        own.replacen('-', "_", 1),
        own.replacen('-', ".", 1),
    ] {
        let client = case.client_of(&name).await?;
        others.push((name, client));
    }
    Ok(others)
}

/// Clause 14: a record that cannot be read does not hide the others from `list`. Needs the hook
/// `write_unreadable`.
pub async fn clause_14_unreadable_hides_nothing(fixture: &dyn Fixture) -> Result<(), Violation> {
    let case = Case::new(14, fixture);
    let client = case.client().await?;
    let [before, after] = [instance("a"), instance("z").with_metadata("zone", "b")];
    let expires = instance("z");
    client.register(&before, LONG_LEASE).await?;
    case.write_unreadable().await?;
    require(&case, &client.view().await?, &[&before])?;
    client.register(&expires, case.lease()).await?;
    client.expect_expiry(expires.id(), Instant::now(), case.lease()).await?;
    client.register(&after, LONG_LEASE).await?;
    require(&case, &client.view().await?, &[&before, &after])?;
    client.deregister(before.id()).await?;
    require(&case, &case.client().await?.view().await?, &[&after])
}

/// Clause 14: a record that cannot be read does not end a `watch`, and hides no later change. Needs a watch
/// and the hook `write_unreadable`.
pub async fn clause_14_unreadable_stops_no_watch(fixture: &dyn Fixture) -> Result<(), Violation> {
    let case = Case::new(14, fixture);
    let (writer, watcher) = (case.client().await?, case.client().await?);
    let [before, after, expires] = ["a", "z", "z"].map(instance);
    writer.register(&before, LONG_LEASE).await?;
    let mut follower = Follower::start(&watcher).await?;
    case.write_unreadable().await?;
    writer.register(&after, LONG_LEASE).await?;
    writer.register(&expires, case.lease()).await?;
    follower.settle(&writer, SLACK).await?;
    writer.expect_expiry(expires.id(), Instant::now(), case.lease()).await?;
    follower.settle(&writer, SLACK).await?;
    require(&case, &follower.view, &[&before, &after])?;
    let snapshot = Follower::start(&watcher).await?;
    require(&case, &snapshot.view, &[&before, &after])
}

fn require(
    case: &Case<'_>,
    view: &crate::case::View,
    readable: &[&gosd_core::Instance],
) -> Result<()> {
    for instance in readable {
        if view.get(instance.id()) != Some(instance) {
            let expected = format!("{instance:?}, beside a record that cannot be read");
            return case.fail(expected, shown(&view));
        }
    }
    Ok(())
}
