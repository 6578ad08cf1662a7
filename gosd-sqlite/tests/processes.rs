//! Several processes over one file.
#![cfg(unix)]

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use gosd_core::{Client, Driver, Event, InstanceId, Settings};
use tokio::runtime::Runtime;
use tokio::time::{interval, timeout};

use support::process::{Process, act, again, listen, tell};
use support::{LATE, LONG_LEASE, Place, instance, next, open};

fn block_on<T>(future: impl Future<Output = T>) -> T {
    Runtime::new().expect("a runtime").block_on(future)
}

/// In a role: registers with several drivers at once, in each file that the test names.
fn pioneer() {
    block_on(async {
        loop {
            let path = listen();
            let path = Path::new(&path);
            let drivers = join_all((0..4).map(|_| open(path, "gosd"))).await;
            let mail = instance("mail");
            let registered = drivers.iter().map(|driver| driver.register(&mail, LONG_LEASE));
            for result in join_all(registered).await {
                tell(&format!("registered {:?}", result.map_err(|error| error.to_string())));
            }
        }
    });
}

#[test]
fn many_make_the_file_at_once() {
    act(|_| pioneer());
    let mut processes: Vec<Process> = (0..4)
        .map(|_| Process::start(again("many_make_the_file_at_once", Path::new("-"), &[])))
        .collect();
    for _ in 0..30 {
        let place = Place::new();
        let path = place.path();
        for process in &mut processes {
            process.say(path.to_str().expect("UTF-8"));
        }
        for process in processes.iter().flat_map(|process| [process; 4]) {
            assert_eq!(process.hear("registered "), "Ok(())");
        }
        let listed = block_on(async { place.driver("gosd").await.list().await.unwrap() });
        assert_eq!(listed.len(), processes.len());
    }
}

/// In a role: registers with a lease of so many seconds, and stays until told to leave.
fn member(path: &Path, lease: u64) {
    block_on(async {
        let settings = Settings::default().lease_ttl(Duration::from_secs(lease));
        let builder = Client::builder(open(path, "gosd").await).settings(settings);
        let client =
            builder.register("mail", "http://10.0.0.7:25").start().await.expect("a client");
        tell(&format!("joined {}", client.id().expect("it registers")));
        listen();
        client.shutdown().await.expect("a goodbye");
        tell("left");
    });
}

#[test]
fn an_instance_that_leaves_is_removed_and_a_killed_one_expires() {
    act(|path| member(path, 2));
    let place = Place::new();
    let start = || {
        let test = "an_instance_that_leaves_is_removed_and_a_killed_one_expires";
        let process = Process::start(again(test, &place.path(), &[]));
        let id = InstanceId::from(process.hear("joined "));
        (process, id)
    };
    block_on(async {
        let driver = place.driver("gosd").await;
        let mut watch = driver.watch().unwrap();
        assert_eq!(next(&mut watch).await.unwrap(), Event::Reset(vec![]));
        let (mut leaves, leaving) = start();
        let Event::Put(put) = next(&mut watch).await.unwrap() else { panic!("a Put") };
        assert_eq!(*put.id(), leaving);
        let (mut dies, dying) = start();
        let Event::Put(put) = next(&mut watch).await.unwrap() else { panic!("a Put") };
        assert_eq!(*put.id(), dying);

        leaves.say("leave");
        leaves.hear("left");
        assert_eq!(next(&mut watch).await.unwrap(), Event::Remove(leaving));
        dies.kill();
        assert_eq!(next(&mut watch).await.unwrap(), Event::Expire(dying));
        assert_eq!(driver.list().await.unwrap(), []);
    });
}

const HEARTBEAT: Duration = Duration::from_secs(20);

async fn until_all_are_there(driver: &Arc<dyn Driver>, ids: &BTreeSet<InstanceId>) {
    let mut pause = interval(Duration::from_millis(50));
    loop {
        pause.tick().await;
        // A database that is being created may be unavailable for a moment.
        let Ok(listed) = driver.list().await else { continue };
        if listed.iter().map(|instance| instance.id().clone()).collect::<BTreeSet<_>>() == *ids {
            return;
        }
    }
}

/// The lease is so long that a third of it covers the brief outage.
fn all_come_back(test: &str, remove: impl Fn(&Place)) {
    act(|path| member(path, 3 * HEARTBEAT.as_secs()));
    let place = Place::new();
    let start = || Process::start(again(test, &place.path(), &[]));
    let processes: Vec<Process> = (0..4).map(|_| start()).collect();
    let ids = processes.iter().map(|process| process.hear("joined ").into()).collect();
    block_on(async {
        let driver = place.driver("gosd").await;
        until_all_are_there(&driver, &ids).await;
        for _ in 0..3 {
            remove(&place);
            let removed = Instant::now();
            timeout(LATE, until_all_are_there(&driver, &ids)).await.expect("all come back");
            let took = removed.elapsed();
            assert!(took < HEARTBEAT, "after {took:?}, as if nobody had noticed");
        }
    });
}

#[test]
fn all_come_back_to_a_removed_file() {
    all_come_back("all_come_back_to_a_removed_file", Place::remove);
}

/// `rm gosd.db` does this: the files beside it stay.
#[test]
fn all_come_back_when_only_the_database_is_removed() {
    let remove = |place: &Place| fs::remove_file(place.path()).expect("the database");
    all_come_back("all_come_back_when_only_the_database_is_removed", remove);
}

/// In a separate process, in which nothing else opens files.
#[cfg(target_os = "linux")]
#[test]
fn a_dropped_driver_leaves_nothing_behind() {
    let test = "a_dropped_driver_leaves_nothing_behind";
    act(|path| {
        block_on(async {
            let driver = open(path, "gosd").await;
            driver.register(&instance("mail"), LONG_LEASE).await.unwrap();
            let mut watches = [driver.watch().unwrap(), driver.watch().unwrap()];
            for watch in &mut watches {
                next(watch).await.unwrap();
            }
            assert_ne!(left_open(), Vec::<String>::new());
            // This watch waits on a file that does not change.
            let [parked, _] = &mut watches;
            let silence = timeout(Duration::from_millis(50), next(parked)).await;
            assert!(silence.is_err(), "{silence:?}");
            drop(watches);
            drop(driver);
            let mut pause = interval(Duration::from_millis(20));
            while !left_open().is_empty() {
                pause.tick().await;
            }
        });
        tell("nothing is left");
    });
    let place = Place::new();
    Process::start(again(test, &place.path(), &[])).hear("nothing is left");
}

/// The open files of the database, and the threads that work on it.
#[cfg(target_os = "linux")]
fn left_open() -> Vec<String> {
    let entries = |folder: &str| fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let files = entries("/proc/self/fd").filter_map(|file| fs::read_link(file).ok());
    let files = files.map(|file| file.display().to_string());
    let threads =
        entries("/proc/self/task").filter_map(|task| fs::read_to_string(task.join("comm")).ok());
    let ours = ["gosd.db", "inotify", "gosd-sqlite", "notify-rs"];
    files.chain(threads).filter(|name| ours.iter().any(|our| name.contains(our))).collect()
}
