//! A file that is damaged, or overwritten in place, while it is in use.
#![cfg(unix)]

mod support;

use std::fs;
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

use gosd_core::{Driver, ErrorKind, Event, Instance};
use tokio::time::interval;

use support::{LATE, LONG_LEASE, Place, instance, next, open};

/// Registers repeatedly, as core does, until it succeeds. Returns the errors.
async fn until_registered(driver: &dyn Driver, instance: &Instance) -> Vec<gosd_core::Error> {
    let mut pause = interval(Duration::from_millis(50));
    let end = Instant::now() + LATE;
    let mut errors = Vec::new();
    while let Err(error) = driver.register(instance, LONG_LEASE).await {
        assert!(Instant::now() < end, "{error}");
        errors.push(error);
        pause.tick().await;
    }
    errors
}

/// Overwrites everything after the header, which says whose file it is, and marks the file as changed.
fn damage(place: &Place) {
    let file = fs::OpenOptions::new().read(true).write(true).open(place.path()).unwrap();
    let length = file.metadata().unwrap().len() - 100;
    file.write_all_at(&vec![0x55; usize::try_from(length).unwrap()], 100).unwrap();
    let mut changes = [0; 4];
    file.read_exact_at(&mut changes, 24).unwrap();
    let changes = u32::from_be_bytes(changes).wrapping_add(1);
    file.write_all_at(&changes.to_be_bytes(), 24).unwrap();
}

/// Requires the errors to name the file and its fate, and all instances to be back in a new file.
async fn comes_back(place: &Place, driver: &dyn Driver) {
    let mail = instance("mail");
    let errors = until_registered(driver, &mail).await;
    assert!(!errors.is_empty());
    for error in errors {
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
        let says =
            ["gosd.db: the database is damaged", "gosd.db-damaged", "all instances register again"];
        assert!(says.iter().all(|says| error.to_string().contains(says)), "{error}");
    }
    assert_eq!(driver.list().await.unwrap(), [mail]);
    assert!(place.folder().join("gosd.db-damaged").exists());
}

#[tokio::test]
async fn a_file_that_is_damaged_under_a_driver() {
    let place = Place::new();
    let driver = place.driver("gosd").await;
    driver.register(&instance("mail"), LONG_LEASE).await.unwrap();
    damage(&place);
    comes_back(&place, &*driver).await;
}

/// As after a loss of power. A client that starts waits for the end of the fault.
#[tokio::test]
async fn a_file_that_is_found_damaged() {
    let place = Place::new();
    place.driver("gosd").await.register(&instance("mail"), LONG_LEASE).await.unwrap();
    damage(&place);
    comes_back(&place, &*place.driver("gosd").await).await;
}

/// No statement fails, and some see rows that others do not.
#[tokio::test]
async fn an_index_that_lacks_a_row() {
    let place = Place::new();
    place.driver("gosd").await.register(&instance("mail"), LONG_LEASE).await.unwrap();
    place
        .plain()
        .execute_batch(
            "DROP INDEX instances_by_expiry;
             CREATE INDEX instances_by_expiry ON instances (namespace, expires_at) WHERE id IS NULL;
             PRAGMA writable_schema = ON;
             UPDATE sqlite_schema SET sql = replace(sql, ' WHERE id IS NULL', '')",
        )
        .unwrap();
    comes_back(&place, &*place.driver("gosd").await).await;
}

#[tokio::test]
async fn what_many_find_damaged_is_set_aside_once() {
    let place = Place::new();
    let mut drivers = Vec::new();
    for _ in 0..4 {
        let driver = place.driver("gosd").await;
        driver.register(&instance("mail"), LONG_LEASE).await.unwrap();
        drivers.push(driver);
    }
    for round in 0..3 {
        damage(&place);
        let mails: Vec<Instance> = drivers.iter().map(|_| instance("mail")).collect();
        let registered =
            drivers.iter().zip(&mails).map(|(driver, mail)| until_registered(&**driver, mail));
        futures_util::future::join_all(registered).await;
        // The first drivers may have registered in the damaged file.
        for (driver, mail) in drivers.iter().zip(&mails) {
            until_registered(&**driver, mail).await;
        }
        assert_eq!(drivers[0].list().await.unwrap().len(), mails.len(), "{round}");
    }
    let files = fs::read_dir(place.folder()).unwrap();
    let mut files: Vec<_> = files.map(|file| file.unwrap().file_name()).collect();
    files.sort();
    // A journal that could not be rolled back may be beside the damaged file.
    files.retain(|file| file != "gosd.db-damaged-journal");
    assert_eq!(files, ["gosd.db", "gosd.db-bell", "gosd.db-damaged"]);
}

/// As `cp` and `rsync --inplace` do it.
#[tokio::test]
async fn a_backup_that_is_copied_over_the_file() {
    let place = Place::new();
    let (driver, other) = (place.driver("gosd").await, place.driver("gosd").await);
    let [before, after] = [instance("mail"), instance("mail")];
    driver.register(&before, LONG_LEASE).await.unwrap();
    let backup = fs::read(place.path()).unwrap();
    driver.register(&after, LONG_LEASE).await.unwrap();
    let mut watch = other.watch().unwrap();
    next(&mut watch).await.unwrap();
    fs::write(place.path(), backup).unwrap();
    // This is a loss of contact: an instance that is not in the backup is not gone.
    assert_eq!(next(&mut watch).await.unwrap_err().kind(), ErrorKind::Unavailable);
    loop {
        match next(&mut watch).await {
            Ok(Event::Reset(all)) => break assert_eq!(all, std::slice::from_ref(&before)),
            Ok(event) => panic!("{event:?}"),
            Err(error) => assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}"),
        }
    }
    until_registered(&*driver, &after).await;
    assert_eq!(driver.list().await.unwrap().len(), 2);
    assert!(!place.folder().join("gosd.db-damaged").exists());
}

/// As `> gosd.db` does, or a copy that has just begun.
#[tokio::test]
async fn a_file_that_is_emptied() {
    let place = Place::new();
    let driver = place.driver("gosd").await;
    let mail = instance("mail");
    driver.register(&mail, LONG_LEASE).await.unwrap();
    let backup = fs::read(place.path()).unwrap();
    for goes_on in [true, false] {
        fs::write(place.path(), "").unwrap();
        let error = driver.list().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
        if goes_on {
            assert_eq!(place.path().metadata().unwrap().len(), 0, "nobody writes to it meanwhile");
            fs::write(place.path(), &backup).unwrap();
        }
        until_registered(&*driver, &mail).await;
        assert_eq!(driver.list().await.unwrap(), std::slice::from_ref(&mail));
    }
}

/// A file of another program is never moved, damaged or not.
#[tokio::test]
async fn the_damaged_file_of_another_program() {
    let place = Place::new();
    let db = place.plain();
    db.execute_batch(
        "PRAGMA application_id = 7; CREATE TABLE mine (a); INSERT INTO mine VALUES (1)",
    )
    .unwrap();
    damage(&place);
    let before = fs::read(place.path()).unwrap();
    let driver = open(&place.path(), "gosd").await;
    let begun = Instant::now();
    let mut pause = interval(Duration::from_millis(100));
    while begun.elapsed() < Duration::from_millis(1500) {
        let error = driver.list().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Data, "{error}");
        pause.tick().await;
    }
    assert!(fs::read(place.path()).unwrap() == before);
}

/// No file beside the database is mapped into memory, because cutting such a file short would end the
/// process.
#[tokio::test]
async fn no_shared_memory() {
    let place = Place::new();
    let driver = place.driver("gosd").await;
    driver.register(&instance("mail"), LONG_LEASE).await.unwrap();
    // Another program has the file open in another mode, which is reset.
    place.plain().execute_batch("PRAGMA journal_mode = WAL").unwrap();
    let mail = instance("mail");
    driver.register(&mail, LONG_LEASE).await.unwrap();
    driver.register(&mail, LONG_LEASE).await.unwrap();
    for end in ["-shm", "-wal"] {
        assert!(!place.folder().join(format!("gosd.db{end}")).exists(), "{end}");
    }
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    let folder = place.folder();
    assert!(!maps.contains(folder.to_str().unwrap()), "{maps}");
    assert_eq!(driver.list().await.unwrap().len(), 2);
}
