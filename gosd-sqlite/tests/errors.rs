//! Paths and files that cannot be used: the error says why, and the file stays unchanged.
#![cfg(unix)]

mod support;

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use gosd_core::{Error, ErrorKind};
use rusqlite::Connection;
use tokio::time::timeout;

use support::process::{act, again, block_on, fill, mounted, succeed};
use support::{LONG_LEASE, Place, instance, next, open};

/// The error of each method.
async fn errors(path: &Path) -> [Error; 4] {
    let driver = open(path, "gosd").await;
    let mail = instance("mail");
    [
        driver.list().await.unwrap_err(),
        driver.register(&mail, LONG_LEASE).await.unwrap_err(),
        driver.deregister(mail.id()).await.unwrap_err(),
        next(&mut driver.watch().unwrap()).await.unwrap_err(),
    ]
}

async fn expect(path: &Path, kind: ErrorKind, says: &str) {
    for error in errors(path).await {
        assert_eq!(error.kind(), kind, "{error}");
        let message = error.to_string();
        assert!(message.starts_with(&path.display().to_string()), "{message}");
        assert!(message.contains(says), "{message}");
    }
}

/// The names and contents of the readable files in a folder.
fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let files = fs::read_dir(folder).unwrap().filter_map(|file| {
        let file = file.unwrap();
        Some((file.file_name().into_string().unwrap(), fs::read(file.path()).ok()?))
    });
    files.collect()
}

#[tokio::test]
async fn no_database() {
    for content in ["hello", &"# Notes\n".repeat(4000)] {
        let place = Place::new();
        fs::write(place.path(), content).unwrap();
        expect(&place.path(), ErrorKind::Data, "it is no database: choose another path").await;
        assert_eq!(fs::read_to_string(place.path()).unwrap(), content);
        assert_eq!(files(&place.folder()).len(), 1);
    }
}

#[tokio::test]
async fn a_folder() {
    let place = Place::new();
    expect(&place.folder(), ErrorKind::Data, "it is a folder: name a file in it").await;
}

#[tokio::test]
async fn a_missing_folder() {
    let place = Place::new();
    let path = place.folder().join("missing/gosd.db");
    expect(&path, ErrorKind::Unavailable, "its folder does not exist: create it").await;
    assert!(!place.folder().join("missing").exists());
}

#[tokio::test]
async fn the_database_of_another_program() {
    for layout in [
        "CREATE TABLE mine (a)",
        "PRAGMA user_version = 1",
        "PRAGMA application_id = 7; PRAGMA user_version = 1; CREATE TABLE instances (id)",
        "PRAGMA journal_mode = WAL; CREATE TABLE mine (a)",
    ] {
        let place = Place::new();
        place.plain().execute_batch(layout).unwrap();
        let before = files(&place.folder());
        expect(&place.path(), ErrorKind::Data, "another program's database: choose another").await;
        let after = files(&place.folder());
        assert_eq!(after["gosd.db"], before["gosd.db"], "{layout}");
    }
}

/// What a killed program left in its write-ahead log stays there, for that program to recover.
#[tokio::test]
async fn the_log_of_another_program() {
    let (place, killed) = (Place::new(), Place::new());
    let other = killed.plain();
    other.execute_batch("PRAGMA journal_mode = WAL; CREATE TABLE mine (a)").unwrap();
    for name in ["gosd.db", "gosd.db-wal"] {
        fs::copy(killed.folder().join(name), place.folder().join(name)).unwrap();
    }
    let before = files(&place.folder());
    assert!(!before["gosd.db-wal"].is_empty());
    expect(&place.path(), ErrorKind::Data, "another program's database").await;
    let after = files(&place.folder());
    for name in ["gosd.db", "gosd.db-wal"] {
        assert!(after.get(name) == before.get(name), "{name} has changed");
    }
}

#[tokio::test]
async fn a_newer_layout() {
    let place = Place::new();
    place.driver("gosd").await.register(&instance("mail"), LONG_LEASE).await.unwrap();
    place.plain().pragma_update(None, "user_version", 2).unwrap();
    let before = fs::read(place.path()).unwrap();
    expect(&place.path(), ErrorKind::Unsupported, "has version 2, and this gosd knows 1").await;
    assert!(fs::read(place.path()).unwrap() == before);
}

/// Runs without root's capabilities, because permissions do not bind root.
const UNPRIVILEGED: [&str; 3] = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"];

#[test]
fn no_permission() {
    act(|folder| {
        block_on(async {
            for name in ["fixed/gosd.db", "locked/gosd.db", "secret.db"] {
                let says = "it cannot be opened: the f";
                expect(&folder.join(name), ErrorKind::Denied, says).await;
            }
            let driver = open(&folder.join("read-only.db"), "gosd").await;
            let error = driver.register(&instance("mail"), LONG_LEASE).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Denied, "{error}");
            let says = ["it cannot be written to", "(mode 444)", "runs as user", "chmod u+w"];
            assert!(says.iter().all(|says| error.to_string().contains(says)), "{error}");
            // After the permissions are corrected, the same driver works. SQLite gives its files the same
            // permissions as the database.
            for name in files(folder).into_keys().filter(|name| name.starts_with("read-only.db")) {
                fs::set_permissions(folder.join(name), Permissions::from_mode(0o644)).unwrap();
            }
            driver.register(&instance("mail"), LONG_LEASE).await.unwrap();
        });
    });
    let place = Place::new();
    let folder = place.folder();
    block_on(async { open(&folder.join("read-only.db"), "gosd").await.list().await }).unwrap();
    fs::write(folder.join("secret.db"), "").unwrap();
    for name in ["fixed", "locked"] {
        fs::create_dir(folder.join(name)).unwrap();
    }
    let modes =
        [("fixed", 0o555), ("locked", 0o000), ("secret.db", 0o000), ("read-only.db", 0o444)];
    let permit = |modes: &[(&str, u32)]| {
        for (name, mode) in modes {
            fs::set_permissions(folder.join(name), Permissions::from_mode(*mode)).unwrap();
        }
    };
    permit(&modes);
    let is_bound = fs::read(folder.join("secret.db")).is_err();
    let before = if is_bound { &[][..] } else { &UNPRIVILEGED };
    let command = again("no_permission", &folder, before);
    succeed(command);
    permit(&modes.map(|(name, _)| (name, 0o755)));
    assert_eq!(files(&folder.join("fixed")).len(), 0);
    assert_eq!(files(&folder.join("locked")).len(), 0);
}

#[test]
fn a_full_disk() {
    act(|folder| {
        let path = folder.join("gosd.db");
        let filler = folder.join("filler");
        let fill = || fill(&filler);
        block_on(async {
            fill();
            for error in errors(&path).await {
                assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
                assert!(error.to_string().contains("full"), "{error}");
            }
            fs::remove_file(&filler).unwrap();
            let driver = open(&path, "gosd").await;
            let first = instance("mail");
            driver.register(&first, LONG_LEASE).await.unwrap();

            fill();
            let mut there = vec![first];
            let error = loop {
                let mail = instance("mail").with_metadata("padding", &"x".repeat(4000));
                match driver.register(&mail, LONG_LEASE).await {
                    Ok(()) => there.push(mail),
                    Err(error) => break error,
                }
            };
            assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
            assert!(error.to_string().contains("full"), "{error}");
            let mut listed = driver.list().await.unwrap();
            there.sort_by(|a, b| a.id().cmp(b.id()));
            listed.sort_by(|a, b| a.id().cmp(b.id()));
            assert_eq!(listed, there);

            fs::remove_file(&filler).unwrap();
            let last = instance("mail");
            driver.register(&last, LONG_LEASE).await.unwrap();
            assert!(driver.list().await.unwrap().contains(&last));
        });
    });
    let place = Place::new();
    succeed(mounted("a_full_disk", &place.folder(), "-t tmpfs -o size=512k none"));
}

#[test]
fn a_read_only_file_system() {
    act(|folder| {
        block_on(async {
            expect(&folder.join("gosd.db"), ErrorKind::Denied, "is read-only").await;
        });
    });
    let place = Place::new();
    let mount = "-t tmpfs -o ro none";
    succeed(mounted("a_read_only_file_system", &place.folder(), mount));
}

#[tokio::test]
async fn a_locked_database_is_waited_for() {
    let place = Place::new();
    let driver = place.driver("gosd").await;
    let mail = instance("mail");
    driver.register(&mail, LONG_LEASE).await.unwrap();
    let mut watch = driver.watch().unwrap();
    next(&mut watch).await.unwrap();
    let other: Connection = place.plain();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    // Reads do not wait.
    assert_eq!(driver.list().await.unwrap(), [mail]);

    let waiting = instance("mail");
    let mut register = driver.register(&waiting, LONG_LEASE);
    timeout(Duration::from_millis(200), &mut register).await.expect_err("it waits");
    other.execute_batch("COMMIT").unwrap();
    register.await.unwrap();
    assert_eq!(driver.list().await.unwrap().len(), 2);

    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let error = driver.deregister(waiting.id()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    assert!(error.to_string().contains("another process keeps the database locked"), "{error}");
}
