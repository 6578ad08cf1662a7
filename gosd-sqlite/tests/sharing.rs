//! Several users in one folder: users who may share the file, and hostile ones.
#![cfg(unix)]

mod support;

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::time::{Duration, Instant};

use gosd_core::{ErrorKind, Event};
use rustix::fs::{CWD, FileType, Mode, mknodat};
use tokio::time::timeout;

use support::process::{Process, act, again, block_on, listen, tell};
use support::{LATE, LONG_LEASE, Place, instance, next, open};

const KEYS: &str = "the keys of another service\n";

fn pipe(path: &Path) {
    mknodat(CWD, path, FileType::Fifo, Mode::RWXU, 0).unwrap();
}

/// Changes are still seen, once a second.
async fn works_without_a_bell(place: &Place) {
    let (driver, other) = (place.driver("gosd").await, place.driver("gosd").await);
    let mut watch = driver.watch().unwrap();
    let reset = timeout(LATE, next(&mut watch)).await.unwrap();
    assert_eq!(reset.unwrap(), Event::Reset(vec![]));
    let mail = instance("mail");
    timeout(LATE, other.register(&mail, LONG_LEASE)).await.unwrap().unwrap();
    assert_eq!(next(&mut watch).await.unwrap(), Event::Put(mail));
}

#[tokio::test]
async fn a_bell_that_is_a_link_is_left_alone() {
    for (link, content) in [(true, KEYS), (true, "1"), (false, KEYS), (false, "1")] {
        let place = Place::new();
        let victim = place.folder().join("authorized_keys");
        fs::write(&victim, content).unwrap();
        if link {
            symlink(&victim, place.bell()).unwrap();
        } else {
            fs::hard_link(&victim, place.bell()).unwrap();
        }
        works_without_a_bell(&place).await;
        assert_eq!(fs::read_to_string(&victim).unwrap(), content);
    }
}

/// Otherwise the file would be created wherever the link leads.
#[tokio::test]
async fn a_link_to_nothing_makes_no_file() {
    let place = Place::new();
    let victim = place.folder().join("crontab");
    symlink(&victim, place.bell()).unwrap();
    works_without_a_bell(&place).await;
    assert!(!victim.exists());

    let place = Place::new();
    symlink(&victim, place.path()).unwrap();
    for exists in [false, true] {
        if exists {
            fs::create_dir_all(victim.parent().unwrap()).unwrap();
            fs::write(&victim, "").unwrap();
        }
        let error = place.driver("gosd").await.list().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Denied, "{error}");
        assert!(error.to_string().contains("it is a link to nothing"), "{error}");
        assert_eq!(victim.metadata().map_or(0, |file| file.len()), 0);
    }
}

#[tokio::test]
async fn a_link_to_a_database_is_followed() {
    let (place, other) = (Place::new(), Place::new());
    let mail = instance("mail");
    other.driver("gosd").await.register(&mail, LONG_LEASE).await.unwrap();
    symlink(other.path(), place.path()).unwrap();
    assert_eq!(place.driver("gosd").await.list().await.unwrap(), [mail]);
}

/// Opening a pipe blocks until the other end is open.
#[tokio::test]
async fn a_pipe_blocks_no_driver() {
    let place = Place::new();
    pipe(&place.bell());
    works_without_a_bell(&place).await;

    for name in ["gosd.db", "gosd.db-journal"] {
        let place = Place::new();
        if name == "gosd.db-journal" {
            place.driver("gosd").await.list().await.unwrap();
        }
        pipe(&place.folder().join(name));
        let driver = place.driver("gosd").await;
        let error = timeout(LATE, driver.list()).await.expect("it is not waited for").unwrap_err();
        let says = error.to_string();
        assert!(says.contains(name) && says.contains("it is no"), "{error}");
        fs::remove_file(place.folder().join(name)).unwrap();
        driver.list().await.unwrap();
    }
}

#[tokio::test]
async fn the_bell_has_the_rights_of_the_database() {
    let place = Place::new();
    let driver = place.driver("gosd").await;
    driver.list().await.unwrap();
    for mode in [0o660, 0o664] {
        fs::set_permissions(place.path(), Permissions::from_mode(mode)).unwrap();
        place.driver("gosd").await.register(&instance("mail"), LONG_LEASE).await.unwrap();
        assert_eq!(place.bell().metadata().unwrap().mode() & 0o777, mode);
    }
}

/// In a role: registers, reports the result, and watches until another user comes.
fn user(path: &Path) {
    block_on(async {
        let driver = open(path, "gosd").await;
        let registered = driver.register(&instance("mail"), LONG_LEASE).await;
        tell(&format!("registered {:?}", registered.map_err(|error| error.to_string())));
        let Ok(Event::Reset(mut all)) = next(&mut driver.watch().unwrap()).await else {
            panic!("a Reset")
        };
        let begun = Instant::now();
        while all.len() < 2 && begun.elapsed() < LATE {
            tokio::time::sleep(Duration::from_millis(20)).await;
            all = driver.list().await.unwrap();
        }
        tell(&format!("sees {}", all.len()));
        listen();
    });
}

/// Needs root. Where the tests run without it, the users of a user namespace are used.
#[test]
fn users_of_one_group_share_the_file() {
    act(user);
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let place = Place::new();
    for folder in [place.folder(), place.folder().parent().unwrap().to_owned()] {
        fs::set_permissions(&folder, Permissions::from_mode(0o2775)).unwrap();
        std::os::unix::fs::chown(&folder, Some(10_001), Some(10_001)).unwrap();
    }
    let start = |user: &str, group: &str, umask: &str| {
        let script = format!(
            "umask {umask}; exec setpriv --reuid={user} --regid={group} \
                              --clear-groups \"$0\" \"$@\""
        );
        let before = ["sh", "-c", &script];
        let place = place.path();
        Process::start(again("users_of_one_group_share_the_file", &place, &before))
    };
    let first = start("10001", "10001", "002");
    assert_eq!(first.hear("registered "), "Ok(())");
    let second = start("10002", "10001", "002");
    assert_eq!(second.hear("registered "), "Ok(())");
    for user in [&first, &second] {
        assert_eq!(user.hear("sees "), "2");
    }
    let third = start("10003", "10003", "022");
    let refused = third.hear("registered ");
    for says in ["belongs to user 10001 and group 10001 (mode 664)", "runs as user 10003", "g+w"] {
        assert!(refused.contains(says), "{refused}");
    }
    assert_eq!(third.hear("sees "), "2");
}
