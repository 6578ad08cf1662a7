//! The effect of each command on the registry, as a service beside it sees it.

use futures_util::StreamExt;
use gosd::{Change, Client};

use crate::support::{LEASE, Place, fixed};

#[tokio::test]
async fn an_instance_registered_by_hand_is_found_and_removed() {
    for place in Place::of_each_kind().await {
        let id = place.out(&["register", "mail", "http://10.0.0.7:25", "-m", "zone=b", "--for=1h"]);
        let id = id.trim();
        assert_eq!(place.out(&["get", "mail", "-l", "zone=b"]), "http://10.0.0.7:25\n");
        assert_eq!(place.out(&["ls", "-o", "id"]).trim(), id);
        assert_eq!(place.out(&["deregister", id]).trim(), id);
        assert_eq!(place.run(&["deregister", id]).code, 3);
        assert_eq!(place.run(&["ls"]).code, 3);
    }
}

#[tokio::test]
async fn every_orphan_at_a_url_is_removed() {
    let place = Place::sqlite();
    let driver = place.driver().await;
    for (number, url) in
        [(1, "http://10.0.0.7:25"), (2, "http://10.0.0.7:25/"), (3, "http://other")]
    {
        driver.register(&fixed("mail", number, url), LEASE).await.unwrap();
    }
    let removed = place.out(&["deregister", "--url", "http://10.0.0.7:25"]);
    assert_eq!(removed.lines().count(), 2, "{removed}");
    assert_eq!(place.out(&["ls", "mail", "-o", "url"]), "http://other\n");
}

#[tokio::test]
async fn a_drained_instance_is_out_of_every_rotation_until_the_drain_ends() {
    for place in Place::of_each_kind().await {
        let driver = place.driver().await;
        let [one, two] = [1, 2].map(|n| fixed("mail", n, &format!("http://10.0.0.{n}:25")));
        for instance in [&one, &two] {
            driver.register(instance, LEASE).await.unwrap();
        }
        let client = Client::builder(driver).start().await.unwrap();
        let mut changes = client.changes();

        place.out(&["drain", one.id().as_str(), "--for", "10m"]);
        while !matches!(changes.next().await.unwrap(), Change::Drained(it) if *it == one) {}
        for _ in 0..4 {
            assert_eq!(*client.pick("mail").unwrap(), two);
            assert_eq!(place.out(&["get", "mail"]).trim(), two.url());
        }
        let last = place.run(&["drain", two.id().as_str()]);
        assert!(last.err.contains("nobody is left in the rotation of mail"), "{last:?}");
        let none = place.run(&["get", "mail"]);
        assert!(none.code == 3 && none.err.contains("all of them are drained"), "{none:?}");

        place.out(&["undrain", one.id().as_str()]);
        while !matches!(changes.next().await.unwrap(), Change::Readmitted(it) if *it == one) {}
        assert_eq!(place.run(&["undrain", one.id().as_str()]).code, 3);
        assert_eq!(place.run(&["drain", "mail-of-nobody"]).code, 3);
        client.shutdown().await.unwrap();
    }
}

#[tokio::test]
async fn a_wait_ends_with_the_first_instance() {
    let place = Place::sqlite();
    let waiting = place.start(&["get", "mail", "--wait", "10m"]);
    waiting.wait_for("waiting for mail");
    place.out(&["register", "mail", "http://10.0.0.7:25"]);
    waiting.wait_for("http://10.0.0.7:25");
    assert!(waiting.end().0.success());
}

#[test]
fn a_wait_too_short_for_a_read_finds_what_is_there() {
    let place = Place::sqlite();
    place.out(&["register", "mail", "http://10.0.0.7:25"]);
    assert_eq!(place.out(&["get", "mail", "--wait", "0s"]), "http://10.0.0.7:25\n");
    assert_eq!(place.run(&["get", "other", "--wait", "0s"]).code, 3);
}

#[test]
fn the_flag_for_the_namespace_separates_registries() {
    let place = Place::sqlite();
    place.out(&["-n", "blue", "register", "mail", "http://10.0.0.7:25"]);
    assert_eq!(place.run(&["ls"]).code, 3);
    assert_eq!(place.out(&["ls", "--namespace=blue", "-o", "url"]), "http://10.0.0.7:25\n");
}

#[test]
fn completions_and_the_manual_page_are_printed() {
    let place = Place::sqlite();
    for shell in ["bash", "zsh", "fish"] {
        assert!(place.out(&["completions", shell]).contains("deregister"), "{shell}");
    }
    let manual = place.out(&["man"]);
    assert!(manual.contains("Exit codes") && manual.contains(".SH GOSD DRAIN\n"), "{manual}");
    assert_eq!(manual.matches("instead of gosdNamespace").count(), 1, "{manual}");
}
