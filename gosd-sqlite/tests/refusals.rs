//! While the database refuses writes no instance can renew, so none counts as dead.
#![cfg(unix)]

mod support;

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use gosd_core::{Driver, ErrorKind, Event, Instance};
use tokio::time::interval;

use support::process::{act, again, block_on, fill, mounted, succeed};
use support::{LATE, Place, instance, next, open};

const LEASE: Duration = Duration::from_secs(3);

/// Makes writes fail for longer than a lease, for a driver that has written.
async fn cannot_renew(driver: &dyn Driver, says: &str, hinder: impl Fn(), release: impl Fn()) {
    let mut watch = driver.watch().unwrap();
    next(&mut watch).await.unwrap();
    let mail = instance("mail");
    driver.register(&mail, LEASE).await.unwrap();
    let end = Instant::now() + LEASE;
    assert_eq!(next(&mut watch).await.unwrap(), Event::Put(mail.clone()));
    hinder();
    let refused = driver.register(&mail, LEASE).await.unwrap_err();
    let watched = next(&mut watch).await.unwrap_err();
    let mut listed = driver.list().await.unwrap_err();
    let mut pause = interval(Duration::from_millis(100));
    while Instant::now() < end {
        pause.tick().await;
        listed = driver.list().await.unwrap_err();
    }
    for error in [refused, watched, listed] {
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
        assert!(error.to_string().contains(says), "{error}");
    }
    let released = Instant::now();
    release();
    until_expired(driver, &mail).await;
    // Half a lease in which living instances can renew.
    assert!(released.elapsed() >= LEASE / 2, "after {:?}", released.elapsed());
}

/// Follows a new watch until an instance has gone, which has to be in the snapshot.
async fn until_expired(driver: &dyn Driver, gone: &Instance) {
    let mut watch = driver.watch().unwrap();
    loop {
        match next(&mut watch).await {
            Ok(Event::Reset(all)) => assert_eq!(all, std::slice::from_ref(gone)),
            Ok(Event::Put(instance)) => assert_eq!(instance, *gone),
            Ok(Event::Expire(id)) => return assert_eq!(id, *gone.id()),
            Ok(event) => panic!("{event:?}"),
            Err(error) => assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}"),
        }
    }
}

#[tokio::test]
async fn during_a_lock_no_instance_dies() {
    let place = Place::new();
    let driver = place.driver("gosd").await;
    driver.list().await.unwrap();
    let other = place.plain();
    let lock = || other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let release = || other.execute_batch("COMMIT").unwrap();
    cannot_renew(&*driver, "locked", lock, release).await;
}

#[test]
fn on_a_full_disk_no_instance_dies() {
    act(|folder| {
        let filler = folder.join("filler");
        block_on(async {
            let driver = open(&folder.join("gosd.db"), "gosd").await;
            let clear = || fs::remove_file(&filler).unwrap();
            cannot_renew(&*driver, "full", || fill(&filler), clear).await;
        });
    });
    let place = Place::new();
    succeed(mounted(
        "on_a_full_disk_no_instance_dies",
        &place.folder(),
        "-t tmpfs -o size=512k none",
    ));
}

/// Runs without root's capabilities, because permissions do not bind root.
const UNPRIVILEGED: [&str; 3] = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"];

fn permit(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

/// As when the kernel makes a file system read-only: the file is open, and no journal can be created.
#[test]
fn without_the_permission_to_write_no_instance_dies() {
    act(|folder| {
        block_on(async {
            let driver = open(&folder.join("gosd.db"), "gosd").await;
            driver.list().await.unwrap();
            let [hinder, release] = [0o555, 0o755].map(|mode| move || permit(folder, mode));
            cannot_renew(&*driver, "chmod u+w", hinder, release).await;
        });
    });
    let place = Place::new();
    succeed(again(
        "without_the_permission_to_write_no_instance_dies",
        &place.folder(),
        &UNPRIVILEGED,
    ));
}

/// A user who may only read takes no instance for dead that could not have renewed.
#[test]
fn to_a_user_who_may_only_read_no_instance_dies() {
    act(|folder| {
        let path = folder.join("gosd.db");
        block_on(async {
            let reader = open(&path, "gosd").await;
            let mut watch = reader.watch().unwrap();
            let Ok(Event::Reset(all)) = next(&mut watch).await else { panic!("a Reset") };
            assert_eq!(all.len(), 2, "{all:?}");
            support::process::tell("read");
            support::process::listen();
            // Long after the end of both leases no instance has renewed.
            for _ in 0..2 {
                assert_eq!(reader.list().await.unwrap().len(), 2);
            }
            support::process::tell("kept");
            support::process::listen();
            let mut pause = interval(Duration::from_millis(50));
            while reader.list().await.unwrap().len() > 1 {
                pause.tick().await;
            }
            support::process::tell("dropped");
        });
    });
    let place = Place::new();
    let [dead, alive] = [instance("mail"), instance("mail")];
    block_on(async {
        let driver = place.driver("gosd").await;
        for instance in [&dead, &alive] {
            driver.register(instance, Duration::from_secs(2)).await.unwrap();
        }
    });
    permit(&place.path(), 0o444);
    permit(&place.folder(), 0o555);
    let mut reader = support::process::Process::start(again(
        "to_a_user_who_may_only_read_no_instance_dies",
        &place.folder(),
        &UNPRIVILEGED,
    ));
    reader.hear("read");
    let expired =
        "SELECT min(expires_at) <= CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER)
                   FROM instances";
    let db = rusqlite::Connection::open_with_flags(
        place.path(),
        rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY,
    )
    .unwrap();
    let end = Instant::now() + LATE;
    while !db.query_row(expired, [], |row| row.get::<_, bool>(0)).unwrap() {
        assert!(Instant::now() < end);
        std::thread::park_timeout(Duration::from_millis(100));
    }
    std::thread::park_timeout(Duration::from_secs(2));
    reader.say("go on");
    reader.hear("kept");
    permit(&place.folder(), 0o755);
    permit(&place.path(), 0o644);
    // The write of another process that renews, of which there are many.
    let renew = "UPDATE instances SET expires_at = lease_ms
        + CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER) WHERE id = ?1";
    let alive = alive.id().as_str();
    assert_eq!(place.plain().execute(renew, [alive]).unwrap(), 1);
    reader.say("go on");
    reader.hear("dropped");
}
