//! `Both` and the snapshot file: a start while one of the two databases is away.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use gosd_core::{Client, Driver, ErrorKind, Settings, View};
use gosd_testkit::Fault;
use tokio::time::sleep;

use crate::support::{DOWN, LEASE, Place, SECOND, both, mail, named, places};

async fn client(one: &Place, other: &Place, settings: Settings) -> Client {
    let builder = Client::builder(Arc::new(both(one, other)));
    builder.settings(settings).start().await.unwrap()
}

/// Two databases, and settings with a file that an earlier client has written: `mail-1` was in the first
/// database alone, and `mail-2` in both.
async fn saved(dir: &Path) -> (Place, Place, Settings) {
    let (away, up) = places();
    away.put(&mail("mail-1")).await;
    for place in [&away, &up] {
        place.put(&mail("mail-2")).await;
    }
    let path = dir.join("view");
    let settings = Settings::default().snapshot_path(path.clone());
    let before = client(&away, &up, settings.clone()).await;
    while !path.exists() {
        sleep(SECOND).await;
    }
    before.shutdown().await.unwrap();
    (away, up, settings)
}

fn seen(client: &Client) -> Vec<String> {
    let mut seen: Vec<_> =
        client.instances("mail").iter().map(|it| format!("{} {}", it.id(), it.url())).collect();
    seen.sort();
    seen
}

const OLD_URL: &str = "http://10.0.0.7:25";
const NEW_URL: &str = "http://10.0.0.8:25";

#[tokio::test(start_paused = true)]
async fn whoever_was_only_in_the_one_that_is_away_is_found_in_the_file() {
    for fault in [DOWN, Fault::Hang] {
        let dir = tempfile::tempdir().unwrap();
        let (away, up, settings) = saved(dir.path()).await;
        away.link.on_all(fault);
        // What is heard counts, and not what the file has of it.
        for id in ["mail-2", "mail-3"] {
            up.put(&named(id, NEW_URL)).await;
        }
        let client = client(&away, &up, settings).await;
        let [one, two, three] = [("mail-1", OLD_URL), ("mail-2", NEW_URL), ("mail-3", NEW_URL)]
            .map(|(id, url)| format!("{id} {url}"));
        assert_eq!(seen(&client), [&*one, &*two, &*three], "{fault:?}");
        assert!(matches!(client.status().view, View::Stale { .. }));
        let error = client.next("user").await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");

        // Once both are heard, whoever is in neither has the time that anybody has who is missing.
        away.memory.deregister(mail("mail-1").id()).await.unwrap();
        away.memory.deregister(mail("mail-2").id()).await.unwrap();
        away.link.clear_all();
        while !matches!(client.status().view, View::Fresh) {
            sleep(SECOND / 10).await;
        }
        assert_eq!(seen(&client), [&*one, &*two, &*three], "{fault:?}");
        sleep(LEASE).await;
        assert_eq!(seen(&client), [&*two, &*three], "{fault:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_file_that_is_too_old_does_not_hide_what_is_heard() {
    let dir = tempfile::tempdir().unwrap();
    let (away, up, settings) = saved(dir.path()).await;
    let file = std::fs::OpenOptions::new().append(true).open(dir.path().join("view")).unwrap();
    file.set_modified(SystemTime::UNIX_EPOCH).unwrap();
    away.link.on_all(DOWN);
    let settings = settings.max_stale(Duration::from_secs(86_400));
    let client = client(&away, &up, settings).await;
    assert_eq!(client.next("mail").await.unwrap().id(), mail("mail-2").id());
    assert_eq!(client.instances("mail").len(), 1, "the rest of the file is too old");
}
