//! The content of the file, read and written by plain clients.

mod support;

use std::path::Path;
use std::process::Command;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use gosd_core::{ErrorKind, Event, Instance, InstanceId};

use tokio::time::interval;

use support::{LONG_LEASE, Place, instance, next};

/// The output of the `sqlite3` shell for a statement.
fn shell(path: &Path, sql: &str) -> String {
    let mut command = Command::new("sqlite3");
    command.args(["-batch", "-bail", "-cmd", ".timeout 10000"]).arg(path).arg(sql);
    let output = command.output().expect("the package sqlite3 is needed");
    assert!(output.status.success(), "{sql}: {output:?}");
    String::from_utf8(output.stdout).expect("UTF-8")
}

/// In ms since 1970.
fn after_now(duration: Duration) -> u128 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    (now + duration).as_millis()
}

fn insert(id: &str, expires_at: u128) -> String {
    format!(
        "INSERT INTO instances (id, service, url, metadata, expires_at)
         VALUES ('{id}', 'mail', 'http://10.0.0.8:25', '{{\"zone\":\"b\"}}', {expires_at})"
    )
}

fn inserted(id: &str, url: &str) -> Instance {
    let metadata = [("zone".to_owned(), "b".to_owned())].into();
    Instance::from_parts(InstanceId::from(id), "mail", url, metadata)
}

#[tokio::test]
async fn the_shell_reads_what_is_registered() {
    let place = Place::new();
    let before = after_now(LONG_LEASE);
    let mail = instance("mail").with_metadata("zone", "a");
    place.driver("staging").await.register(&mail, LONG_LEASE).await.unwrap();
    let row = shell(
        &place.path(),
        "SELECT namespace, id, service, url, metadata, lease_ms FROM instances",
    );
    let (id, url, lease) = (mail.id(), mail.url(), LONG_LEASE.as_millis());
    assert_eq!(row.trim(), format!("staging|{id}|mail|{url}|{{\"zone\":\"a\"}}|{lease}"));
    let expires_at = shell(&place.path(), "SELECT expires_at FROM instances");
    let expires_at = expires_at.trim().parse::<u128>().unwrap();
    assert!((before..=after_now(LONG_LEASE)).contains(&expires_at), "{before} {expires_at}");
    let pragmas = "PRAGMA user_version; PRAGMA application_id; PRAGMA journal_mode";
    assert_eq!(shell(&place.path(), pragmas), format!("1\n{}\ndelete\n", 0x676f_7364));
}

#[tokio::test]
async fn a_watcher_sees_changes_by_the_shell() {
    let place = Place::new();
    let driver = place.driver("gosd").await;
    let mut watch = driver.watch().unwrap();
    assert_eq!(next(&mut watch).await.unwrap(), Event::Reset(vec![]));
    let path = place.path();
    let old = inserted("mail-1", "http://10.0.0.8:25");
    shell(&path, &insert("mail-1", after_now(LONG_LEASE)));
    assert_eq!(next(&mut watch).await.unwrap(), Event::Put(old.clone()));
    assert_eq!(driver.list().await.unwrap(), [old]);
    shell(&path, "UPDATE instances SET url = 'http://h:1'");
    assert_eq!(next(&mut watch).await.unwrap(), Event::Put(inserted("mail-1", "http://h:1")));
    shell(&path, "DELETE FROM instances");
    assert_eq!(next(&mut watch).await.unwrap(), Event::Remove("mail-1".into()));
    shell(&path, &insert("mail-2", after_now(LONG_LEASE)));
    assert!(matches!(next(&mut watch).await.unwrap(), Event::Put(_)));
    shell(&path, "UPDATE instances SET expires_at = 0");
    assert_eq!(next(&mut watch).await.unwrap(), Event::Expire("mail-2".into()));
    assert_eq!(shell(&path, "SELECT count(*) FROM instances"), "0\n");
}

/// A clock that is early would take an expiry in this very millisecond for a goodbye.
#[tokio::test]
async fn the_clock_of_the_triggers_is_never_early() {
    let place = Place::new();
    place.driver("gosd").await.list().await.unwrap();
    let db = place.plain();
    let before: Vec<_> = (0..200)
        .map(|i| {
            let now = after_now(Duration::ZERO);
            db.execute(&insert(&format!("mail-{i}"), now + 600_000), []).unwrap();
            now
        })
        .collect();
    let mut at = db.prepare("SELECT at FROM changes WHERE op = 'put' ORDER BY seq").unwrap();
    let at: Vec<i64> = at.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
    assert_eq!(at.len(), before.len());
    for (at, before) in at.into_iter().zip(before) {
        assert!(i128::from(at) >= before as i128, "{at} is before {before}");
    }
}

#[tokio::test]
async fn a_renewal_is_no_change() {
    let place = Place::new();
    let driver = place.driver("gosd").await;
    let mail = instance("mail");
    let log = "SELECT op FROM changes ORDER BY seq";
    for _ in 0..3 {
        driver.register(&mail, LONG_LEASE).await.unwrap();
        assert_eq!(shell(&place.path(), log), "start\nput\n");
    }
    // Watchers may have seen its expiry by now.
    shell(&place.path(), "UPDATE instances SET expires_at = 0");
    driver.register(&mail, LONG_LEASE).await.unwrap();
    assert_eq!(shell(&place.path(), log), "start\nput\nput\n");
}

#[tokio::test]
async fn a_watcher_resumes_at_its_entry() {
    let place = Place::new();
    let driver = place.driver("gosd").await;
    let mail = instance("mail");
    driver.register(&mail, LONG_LEASE).await.unwrap();
    let mut watch = driver.watch().unwrap();
    assert_eq!(next(&mut watch).await.unwrap(), Event::Reset(vec![mail]));
    place.take_away();
    next(&mut watch).await.unwrap_err();
    place.plain_away().execute(&insert("mail-1", after_now(LONG_LEASE)), []).unwrap();
    place.put_back();
    assert_eq!(next(&mut watch).await.unwrap(), Event::Resumed);
    let there = inserted("mail-1", "http://10.0.0.8:25");
    assert_eq!(next(&mut watch).await.unwrap(), Event::Put(there));
}

#[tokio::test]
async fn a_watcher_whose_entry_is_gone_begins_again() {
    for (case, sql) in [
        ("trimmed", "DELETE FROM changes WHERE seq < (SELECT max(seq) FROM changes)"),
        ("another's", "UPDATE changes SET id = 'of-another-history' WHERE op = 'put'"),
        ("overtaken", "UPDATE changes SET at = at + 1 WHERE op = 'put'"),
        ("emptied", "DELETE FROM changes"),
    ] {
        let place = Place::new();
        let driver = place.driver("gosd").await;
        let [first, second] = [instance("mail"), instance("mail")];
        driver.register(&first, LONG_LEASE).await.unwrap();
        let mut watch = driver.watch().unwrap();
        next(&mut watch).await.unwrap();
        let db = place.plain();
        let row = insert("mail-1", after_now(LONG_LEASE));
        db.execute_batch(&format!("BEGIN; {row}; {sql}; COMMIT")).unwrap();
        // The file may be a backup, so an instance that it lacks is not gone.
        assert_eq!(next(&mut watch).await.unwrap_err().kind(), ErrorKind::Unavailable, "{case}");
        let Event::Reset(all) = next(&mut watch).await.unwrap() else { panic!("{case}") };
        assert_eq!(all.len(), 2, "{case}");
        driver.register(&second, LONG_LEASE).await.unwrap();
        match next(&mut watch).await {
            Ok(event) => assert_eq!(event, Event::Put(second), "{case}"),
            // Without an entry, a watcher cannot continue either.
            Err(_) => assert_eq!(case, "emptied"),
        }
    }
}

#[tokio::test]
async fn the_log_is_trimmed() {
    let place = Place::new();
    let driver = place.driver("gosd").await;
    driver.list().await.unwrap();
    place
        .plain()
        .execute_batch(
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20000)
             INSERT INTO changes (at, namespace, op, id) SELECT 0, 'other', 'remove', i FROM n",
        )
        .unwrap();
    // A process that has just started does not trim.
    let mut pause = interval(Duration::from_millis(50));
    while shell(&place.path(), "SELECT count(*), max(seq) FROM changes") != "10000|20001\n" {
        driver.list().await.unwrap();
        pause.tick().await;
    }
}

#[tokio::test]
async fn a_row_of_odd_types_stops_no_watch() {
    let place = Place::new();
    let driver = place.driver("gosd").await;
    let mut watch = driver.watch().unwrap();
    next(&mut watch).await.unwrap();
    let odd = "INSERT INTO instances VALUES
        ('gosd', x'ff', 'mail', 'http://h', '{}', 9e12, NULL),
        ('gosd', 'mail-1', 7, x'00', '[]', 'soon', 'long')";
    place.plain().execute(odd, []).unwrap();
    let mail = instance("mail");
    driver.register(&mail, LONG_LEASE).await.unwrap();
    assert_eq!(next(&mut watch).await.unwrap(), Event::Put(mail.clone()));
    assert_eq!(driver.list().await.unwrap(), [mail]);
}

#[tokio::test]
async fn a_lease_from_a_clock_that_ran_ahead_is_cut() {
    let place = Place::new();
    let driver = place.driver("gosd").await;
    let mut watch = driver.watch().unwrap();
    next(&mut watch).await.unwrap();
    let hour = after_now(Duration::from_secs(3600));
    // A plain client does not write the length of its lease, so the lease counts as it is.
    shell(&place.path(), &insert("plain-1", hour + 1));
    shell(&place.path(), &insert("mail-1", hour));
    for _ in 0..2 {
        assert!(matches!(next(&mut watch).await.unwrap(), Event::Put(_)));
    }
    shell(&place.path(), "UPDATE instances SET lease_ms = 1000 WHERE id = 'mail-1'");
    assert_eq!(next(&mut watch).await.unwrap(), Event::Expire("mail-1".into()));
    let left = "SELECT id, expires_at FROM instances";
    assert_eq!(shell(&place.path(), left), format!("plain-1|{}\n", hour + 1));
}

#[tokio::test]
async fn what_expires_is_removed_once_however_many_watch() {
    const MANY: usize = 1200;
    let place = Place::new();
    let mut drivers = Vec::new();
    for _ in 0..4 {
        drivers.push(place.driver("gosd").await);
    }
    let mut watches: Vec<_> = drivers.iter().map(|driver| driver.watch().unwrap()).collect();
    for watch in &mut watches {
        assert_eq!(next(watch).await.unwrap(), Event::Reset(vec![]));
    }
    let db = place.plain();
    db.execute_batch("BEGIN").unwrap();
    for i in 0..MANY {
        db.execute(&insert(&format!("mail-{i}"), 0), []).unwrap();
    }
    db.execute_batch("COMMIT").unwrap();
    let expired = watches.iter_mut().map(async |watch| {
        let mut expired = 0;
        while expired < MANY {
            expired += usize::from(matches!(next(watch).await.unwrap(), Event::Expire(_)));
        }
    });
    futures_util::future::join_all(expired).await;
    let log = "SELECT count(*), count(DISTINCT id) FROM changes WHERE op = 'expire'";
    assert_eq!(shell(&place.path(), log), format!("{MANY}|{MANY}\n"));
}
