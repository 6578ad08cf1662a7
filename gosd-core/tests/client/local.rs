//! Local entries, which only one client has, and several clients in one process.

use std::collections::HashSet;

use gosd_core::{Driver, ErrorKind};
use gosd_testkit::Fault;
use tokio::time::sleep;

use crate::support::{Backend, DOWN, LEASE, is_stale, settle, until_seen, until_status, urls};

#[tokio::test(start_paused = true)]
async fn a_local_entry_is_in_the_rotation_and_outlives_everything() {
    let backend = Backend::new();
    backend.put_for_long("mail", "http://10.0.0.1").await;
    let client = backend.register("mail", "http://10.0.0.2").await;
    let local = client.add_local("mail", "http://10.0.0.3").unwrap();
    assert_eq!(client.add_local("mail", "http://10.0.0.3").unwrap(), local);
    assert_ne!(client.add_local("web", "http://10.0.0.3").unwrap(), local);
    assert_eq!(client.services(), ["mail", "web"]);
    let round: HashSet<_> = (0..3).map(|_| client.pick("mail").unwrap().id().clone()).collect();
    assert!(round.len() == 3 && round.contains(&local));

    sleep(10 * LEASE).await;
    client.refresh().await.unwrap();
    backend.memory.wipe();
    sleep(10 * LEASE).await;
    assert_eq!(urls(&client, "mail"), ["http://10.0.0.2", "http://10.0.0.3"]);
    backend.link.on_all(DOWN);
    until_status(&client, is_stale).await;
    assert_eq!(urls(&client, "web"), ["http://10.0.0.3"]);
    backend.link.clear_all();

    let other = backend.discover().await;
    assert_eq!(urls(&other, "mail"), ["http://10.0.0.2"], "it is nobody else's");
    assert!(!backend.holds(&local).await);
    assert!(client.remove_local(&local) && !client.remove_local(&local));
    assert!(!client.remove_local(client.id().unwrap()), "that one is not local");
    assert_eq!(urls(&client, "mail"), ["http://10.0.0.2"]);
    client.shutdown().await.unwrap();
    assert_eq!(client.next("web").await.unwrap().url(), "http://10.0.0.3");
}

#[tokio::test(start_paused = true)]
async fn a_local_entry_needs_no_backend() {
    let backend = Backend::new();
    backend.link.on_all(Fault::Hang);
    let client = backend.discover().await;
    client.add_local("mail", "http://10.0.0.3").unwrap();
    assert_eq!(client.next("mail").await.unwrap().url(), "http://10.0.0.3");
    for (service, url) in [("my mail", "http://10.0.0.3"), ("mail", "10.0.0.3")] {
        assert_eq!(client.add_local(service, url).unwrap_err().kind(), ErrorKind::Config);
    }
}

#[tokio::test(start_paused = true)]
async fn clients_of_one_process_share_no_local_entries() {
    let backend = Backend::new();
    let mail = backend.register("mail", "http://10.0.0.1").await;
    let web = backend.register("web", "http://10.0.0.2").await;
    assert_ne!(mail.id(), web.id());
    until_seen(&mail, "web", 1).await;
    assert_eq!(mail.services(), web.services());
    web.shutdown().await.unwrap();
    until_seen(&mail, "web", 0).await;
    sleep(3 * LEASE).await;
    assert!(backend.holds(mail.id().unwrap()).await);
    assert_eq!(backend.memory.list().await.unwrap().len(), 1);
    mail.shutdown().await.unwrap();
    settle().await;
    assert!(backend.memory.list().await.unwrap().is_empty());
}
