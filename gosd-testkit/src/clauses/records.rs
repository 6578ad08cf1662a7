//! Clauses 1, 2, 3 and 5: records that are written, written again, removed and lost.

use std::collections::BTreeMap;

use gosd_core::{Instance, InstanceId};

use crate::case::{Case, LONG_LEASE, difference, instance, moved, view_of};
use crate::{Fixture, Violation};

/// Clause 1: registering an instance again replaces the whole record, metadata included.
pub async fn clause_01_twice_is_once(fixture: &dyn Fixture) -> Result<(), Violation> {
    let case = Case::new(1, fixture);
    let client = case.client().await?;
    let plain = instance("mail");
    let rich = moved(&plain, "http://10.0.0.8:25").with_metadata("zone", "b");
    let other = moved(&plain, rich.url()).with_metadata("rack", "7");
    let (id, metadata) = (plain.id().clone(), other.metadata().clone());
    let post = Instance::from_parts(id, "post", other.url(), metadata);
    for (when, now) in [
        ("after the first `register`", &plain),
        ("after the same again", &plain),
        ("after `register` with another URL and metadata", &rich),
        ("after the same with metadata again", &rich),
        ("after `register` with other metadata alone", &other),
        ("after `register` with another service", &post),
        ("after `register` without metadata again", &plain),
    ] {
        client.register(now, LONG_LEASE).await?;
        client.expect(when, &[now]).await?;
        let list = client.list().await?;
        if list.len() > 1 {
            return case.fail(format!("{when}: one record"), format!("{list:?}"));
        }
    }
    Ok(())
}

/// Clause 2: an instance that one client registered is in the very next `list` of every client.
pub async fn clause_02_register_is_visible_at_once(fixture: &dyn Fixture) -> Result<(), Violation> {
    const ROUNDS: usize = 20;
    let case = Case::new(2, fixture);
    let clients = [case.client().await?, case.client().await?];
    let mut registered: Vec<Instance> = Vec::new();
    for round in 0..ROUNDS {
        let (writer, reader) = (&clients[round % 2], &clients[(round + 1) % 2]);
        let new = instance("mail");
        writer.register(&new, LONG_LEASE).await?;
        registered.push(new);
        reader.expect("right after `register` by another client", &refs(&registered)).await?;
        let changed = moved(&registered[0], &format!("http://10.0.0.7:{}", 9_000 + round));
        reader.register(&changed, LONG_LEASE).await?;
        registered[0] = changed;
        writer.expect("right after a change by another client", &refs(&registered)).await?;
    }
    let newcomer = case.client().await?;
    newcomer.expect("in the first `list` of a new client", &refs(&registered)).await
}

fn refs(instances: &[Instance]) -> Vec<&Instance> {
    instances.iter().collect()
}

/// Clause 3: `deregister` removes the record with that id, whichever client wrote it, and no other record.
pub async fn clause_03_deregister_removes_one(fixture: &dyn Fixture) -> Result<(), Violation> {
    let case = Case::new(3, fixture);
    let (client, other) = (case.client().await?, case.client().await?);
    let leaves = instance("mail");
    let twin = instance("mail");
    let longer = with_id(&format!("{}0", leaves.id()));
    let shorter = with_id(&leaves.id().as_str()[..leaves.id().as_str().len() - 1]);
    let neighbour = instance("mail-2");
    let stay = [&twin, &longer, &shorter, &neighbour];
    client.register(&leaves, LONG_LEASE).await?;
    for instance in stay {
        client.register(instance, LONG_LEASE).await?;
    }
    client.deregister(leaves.id()).await?;
    client.expect("after `deregister` of one of five", &stay).await?;
    other.expect("after `deregister` by another client", &stay).await?;
    other.deregister(twin.id()).await?;
    client.expect("after `deregister` of what another wrote", &stay[1..]).await?;
    client.register(&leaves, LONG_LEASE).await?;
    let back = [&leaves, &longer, &shorter, &neighbour];
    client.expect("after `register` of what had been deregistered", &back).await
}

/// Clause 3: `deregister` of an absent id succeeds, and changes nothing.
pub async fn clause_03_absent_is_success(fixture: &dyn Fixture) -> Result<(), Violation> {
    let case = Case::new(3, fixture);
    let client = case.client().await?;
    let gone = instance("mail");
    client.deregister(gone.id()).await?;
    client.register(&gone, LONG_LEASE).await?;
    client.deregister(gone.id()).await?;
    client.deregister(gone.id()).await?;
    let stays = instance("mail");
    client.register(&stays, LONG_LEASE).await?;
    // Ids that match registered ones if a driver treats them as a pattern or as a prefix.
    for id in ["mail", "mail-", "*", "mail-*", "%", "mail-%", "mail-_", "?", "."] {
        client.deregister(&InstanceId::from(id)).await?;
        client.expect(&format!("after `deregister` of the absent {id:?}"), &[&stays]).await?;
    }
    Ok(())
}

/// Clause 5: the next renewal restores a record that somebody else removed.
pub async fn clause_05_renewal_restores_what_was_removed(
    fixture: &dyn Fixture,
) -> Result<(), Violation> {
    let case = Case::new(5, fixture);
    let (owner, other) = (case.client().await?, case.client().await?);
    let instance = instance("mail").with_metadata("zone", "b");
    owner.register(&instance, LONG_LEASE).await?;
    other.deregister(instance.id()).await?;
    other.expect("after `deregister` by another client", &[]).await?;
    owner.register(&instance, LONG_LEASE).await?;
    other.expect("after the next renewal", &[&instance]).await
}

/// Clause 5: the next renewal restores a record that the backend lost. Needs the hook `wipe`.
pub async fn clause_05_renewal_restores_what_was_lost(
    fixture: &dyn Fixture,
) -> Result<(), Violation> {
    let case = Case::new(5, fixture);
    let (owner, other) = (case.client().await?, case.client().await?);
    let instances = [instance("mail").with_metadata("zone", "b"), instance("user")];
    for instance in &instances {
        owner.register(instance, LONG_LEASE).await?;
    }
    other.expect("before the wipe", &refs(&instances)).await?;
    case.wipe().await?;
    // A driver may have to reopen a connection or a file, and one call may fail because of that.
    let list = other.retry("list", || other.driver.list()).await?;
    if !list.is_empty() {
        return case.fail("the fixture's `wipe` to leave nothing", format!("{list:?}"));
    }
    for instance in &instances {
        owner.retry("register", || owner.driver.register(instance, LONG_LEASE)).await?;
    }
    match difference(&view_of(instances), &other.view().await?) {
        None => Ok(()),
        Some(came) => case.fail("a renewal after a loss to restore the whole record", came),
    }
}

fn with_id(id: &str) -> Instance {
    Instance::from_parts(id.into(), "mail", "http://10.0.0.9:25", BTreeMap::new())
}
