//! `gosd migrate status`, and the other commands while services are in two databases.

use crate::support::{LEASE, Place, Ran, fixed, ran};

/// The old database has two services; the new one has some of them, and one that the old one lacks.
async fn halfway(old: &Place, new: &Place) {
    let [one, two, late] = [1, 2, 3].map(|n| fixed("mail", n, &format!("http://10.0.0.{n}:25")));
    let (old, new) = (old.driver().await, new.driver().await);
    for (driver, instance) in [(&old, &one), (&old, &two), (&new, &one), (&new, &late)] {
        driver.register(instance, LEASE).await.unwrap();
    }
    // A drain is no registration, so it need not be in the new database.
    let drain = gosd::Instance::drain_of(two.id());
    old.register(&drain, LEASE).await.unwrap();
}

fn status(old: &Place, new: &Place, more: &[&str]) -> Ran {
    old.run(&[&["migrate", "status", &old.url, &new.url][..], more].concat())
}

#[tokio::test]
async fn instances_that_are_only_in_the_old_database_are_listed() {
    let (old, new) = (Place::sqlite(), Place::redis().await);
    halfway(&old, &new).await;
    let half = status(&old, &new, &[]);
    assert_eq!(half.code, 1, "{half:?}");
    assert!(
        half.out.starts_with("SERVICE ") && half.out.contains("http://10.0.0.2:25"),
        "{half:?}"
    );
    assert!(!half.out.contains("10.0.0.1") && !half.out.contains("10.0.0.3"), "{half:?}");
    assert!(half.err.contains("1 of the 2 in "), "{half:?}");

    let lines = status(&old, &new, &["--json"]);
    assert_eq!(lines.code, 1, "{lines:?}");
    assert_eq!(lines.out, include_str!("../golden/migrate_status.jsonl"));

    let two = fixed("mail", 2, "http://10.0.0.2:25");
    new.driver().await.register(&two, LEASE).await.unwrap();
    for more in [&[][..], &["--json"]] {
        let done = status(&old, &new, more);
        assert!(done.code == 0 && done.out.is_empty(), "{done:?}");
        assert!(done.err.contains("all 2 that are in "), "{done:?}");
    }
    // The way back is checked separately.
    assert_eq!(status(&new, &old, &[]).code, 1);
}

#[tokio::test]
async fn an_empty_old_database_is_done() {
    let (old, new) = (Place::sqlite(), Place::sqlite());
    let done = status(&old, &new, &[]);
    assert!(done.code == 0 && done.err.contains("nobody is registered in "), "{done:?}");
}

#[tokio::test]
async fn without_urls_the_variables_name_the_databases() {
    let (old, new) = (Place::sqlite(), Place::sqlite());
    halfway(&old, &new).await;
    let alone = old.run(&["migrate", "status"]);
    assert!(alone.code == 2 && alone.err.contains("gosdDriverAlso"), "{alone:?}");
    let mut both = old.command(&["migrate", "status"]);
    let both = ran(both.env("gosdDriverAlso", &new.url));
    assert!(both.code == 1 && both.err.contains("1 of the 2 in "), "{both:?}");
}

#[test]
fn one_url_is_a_usage_error_and_so_is_one_twice() {
    let place = Place::sqlite();
    assert_eq!(place.run(&["migrate", "status", &place.url]).code, 2);
    let twice = status(&place, &place, &[]);
    assert!(twice.code == 2 && twice.err.contains("are the same database"), "{twice:?}");
}

#[test]
fn a_database_that_is_down_is_exit_code_four() {
    let place = Place::sqlite();
    let port = gosd_testservers::free_port();
    let ran = place.run(&["migrate", "status", &place.url, &format!("redis://127.0.0.1:{port}")]);
    assert!(ran.code == 4 && ran.err.contains("gosdDriverAlso"), "{ran:?}");
}

#[tokio::test]
async fn every_command_uses_both_databases_and_a_flag_means_one() {
    let (old, new) = (Place::sqlite(), Place::redis().await);
    halfway(&old, &new).await;
    let run = |args: &[&str]| ran(old.command(args).env("gosdDriverAlso", &new.url));
    let urls = run(&["ls", "mail", "-o", "url"]).out;
    assert_eq!(urls.lines().count(), 3, "{urls}");
    let of_one = run(&["ls", "mail", "-o", "url", "-d", &new.url]).out;
    assert_eq!(of_one.lines().count(), 2, "{of_one}");

    let id = run(&["register", "user", "http://10.0.0.9:80"]).out;
    for place in [&old, &new] {
        assert_eq!(
            place.driver().await.list().await.unwrap().len(),
            if place.url == old.url { 4 } else { 3 }
        );
    }
    assert_eq!(run(&["deregister", id.trim()]).code, 0);
    assert_eq!(new.run(&["ls", "user"]).code, 3);
    assert_eq!(old.run(&["ls", "user"]).code, 3);
}
