//! `Client::changes`: the snapshot, what follows, and slow readers.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::{FutureExt, StreamExt};
use gosd_core::{Change, Driver, Instance, Outcome};
use gosd_testkit::Operation;

use crate::support::{Backend, DOWN, LEASE, SECOND, item, settle, soon, until_seen};

#[tokio::test(start_paused = true)]
async fn changes_begin_with_the_whole_view_and_go_on_with_what_follows() {
    let backend = Backend::new();
    let mail = Instance::new("mail", "http://10.0.0.1").unwrap();
    backend.memory.register(&mail, 100 * LEASE).await.unwrap();
    let client = backend.discover().await;
    let local = client.add_local("mail", "http://10.0.0.2").unwrap();
    let mut changes = client.changes();
    let Some(Change::Reset(all)) = item(&mut changes).await else { panic!("no reset") };
    assert_eq!(all.len(), 2);

    let mail = mail.with_metadata("zone", "b");
    backend.memory.register(&mail, 100 * LEASE).await.unwrap();
    let Some(Change::Updated(updated)) = item(&mut changes).await else { panic!() };
    assert_eq!(*updated, mail);
    client.remove_local(&local);
    let Some(Change::Removed(removed)) = item(&mut changes).await else { panic!() };
    assert_eq!(*removed.id(), local);
    let id = backend.put_for_long("web", "http://10.0.0.3").await;
    let Some(Change::Added(added)) = item(&mut changes).await else { panic!() };
    assert_eq!(*added.id(), id);
    client.refresh().await.unwrap();
    backend.link.on(Operation::List, DOWN);
    assert!(soon(client.refresh()).await.is_err());
    assert!(changes.next().now_or_never().is_none(), "there is nothing new");
}

#[tokio::test(start_paused = true)]
async fn who_is_out_of_rotation_is_told_right_behind_the_whole_view() {
    let backend = Backend::new();
    let client = backend.discover().await;
    let mut early = client.changes();
    let [drained, ejected, _] =
        [1, 2, 3].map(|n| client.add_local("mail", &format!("http://10.0.0.{n}")).unwrap());
    let drain = Instance::drain_of(&drained);
    backend.memory.register(&drain, 100 * LEASE).await.unwrap();
    for _ in 0..3 {
        client.report(&ejected, Outcome::Unreachable);
    }
    while client.drained().is_empty() {
        item(&mut early).await.unwrap();
    }
    let mut late = client.changes();
    let Some(Change::Reset(all)) = item(&mut late).await else { panic!("no reset") };
    assert_eq!(all.len(), 3);
    let mut out = [item(&mut late).await.unwrap(), item(&mut late).await.unwrap()];
    out.sort_by_key(|change| matches!(change, Change::Ejected(_)));
    let [Change::Drained(first), Change::Ejected(second)] = out else { panic!("{out:?}") };
    assert_eq!((first.id(), second.id()), (&drained, &ejected));
    assert!(late.next().now_or_never().is_none(), "nothing is told twice");
    client.report(&ejected, Outcome::Answered);
    assert_eq!(item(&mut late).await, Some(Change::Readmitted(second)));
    backend.memory.deregister(drain.id()).await.unwrap();
    assert_eq!(item(&mut late).await, Some(Change::Readmitted(first)));
}

#[tokio::test(start_paused = true)]
async fn a_slow_reader_begins_again_and_ends_up_with_the_view() {
    let backend = Backend::new();
    let client = backend.discover().await;
    let mut changes = client.changes();
    assert_eq!(item(&mut changes).await, Some(Change::Reset(Vec::new())));
    let mut ids = Vec::new();
    for i in 0..3_000 {
        ids.push(backend.put_for_long("mail", &format!("http://10.0.0.7/{i}")).await);
        if i % 100 == 0 {
            settle().await;
        }
        if i == 1_200 {
            // The reader misses that, too.
            let drain = Instance::drain_of(&ids[1_100]);
            backend.memory.register(&drain, 1_000 * LEASE).await.unwrap();
        }
    }
    for id in &ids[..1_000] {
        backend.memory.deregister(id).await.unwrap();
    }
    until_seen(&client, "mail", 2_000).await;
    let (mut view, mut out, mut resets) = (BTreeMap::new(), BTreeSet::new(), 0);
    while let Some(change) = changes.next().now_or_never() {
        match change.unwrap() {
            Change::Reset(all) => {
                resets += 1;
                view = all.into_iter().map(|it| (it.id().clone(), it)).collect();
                out.clear();
            }
            Change::Drained(it) => drop(out.insert(it.id().clone())),
            Change::Added(it) | Change::Updated(it) => drop(view.insert(it.id().clone(), it)),
            Change::Removed(it) => drop(view.remove(it.id())),
            other => panic!("{other:?}"),
        }
    }
    assert!(resets > 0);
    // The clock may be set back meanwhile, so the ids are not always in the order in which they were made.
    let expected: BTreeSet<_> = ids[1_000..].iter().collect();
    assert!(view.keys().eq(expected), "{} are there", view.len());
    assert!(out.iter().eq(&ids[1_100..=1_100]), "{out:?} are drained");
}

#[tokio::test(start_paused = true)]
async fn changes_end_with_the_client() {
    let backend = Backend::new();
    backend.put_for_long("mail", "http://10.0.0.1").await;
    let client = backend.discover().await;
    let mut streams = [client.changes(), client.clone().changes()];
    for changes in &mut streams {
        assert!(matches!(item(changes).await, Some(Change::Reset(_))));
    }
    let mut statuses = client.status_changes();
    assert!(item(&mut statuses).await.is_some());
    client.shutdown().await.unwrap();
    for changes in &mut streams {
        assert_eq!(item(changes).await, None);
        assert_eq!(item(changes).await, None, "whoever asks again is told the same");
    }
    assert!(item(&mut statuses).await.is_some(), "the last status");
    for _ in 0..2 {
        assert!(item(&mut statuses).await.is_none());
    }
    let late: Vec<_> = soon(client.changes().collect()).await;
    assert!(matches!(&late[..], [Change::Reset(all)] if all.len() == 1), "{late:?}");
    let late: Vec<_> = soon(client.status_changes().collect()).await;
    assert_eq!(late.len(), 1);

    let client = backend.discover().await;
    let (changes, statuses) = (client.changes(), client.status_changes());
    tokio::time::sleep(SECOND).await;
    drop(client);
    soon(changes.collect::<Vec<_>>()).await;
    soon(statuses.collect::<Vec<_>>()).await;
}
