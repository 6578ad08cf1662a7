//! `gosd doctor` over an SQLite file: each finding with its cause, and none where all is well.

use std::fs::{self, Permissions};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use gosd_testservers::{RedisServer, free_port};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::{LEASE, Place, Ran, fixed, ran};

/// The default lease of clients.
pub(crate) const USUAL: Duration = Duration::from_secs(15);

/// The names of the findings, in order.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) ran: Ran,
    pub(crate) findings: Vec<Value>,
}

impl Found {
    pub(crate) fn names(&self) -> Vec<&str> {
        self.findings.iter().map(|it| it["finding"].as_str().unwrap()).collect()
    }

    /// The only finding with this name.
    pub(crate) fn one(&self, name: &str) -> &Value {
        let mut named = self.findings.iter().filter(|it| it["finding"] == name);
        let one = named.next().unwrap_or_else(|| panic!("no {name}: {self:?}"));
        assert!(named.next().is_none(), "{self:?}");
        one
    }
}

/// Runs the doctor over a database. Each finding has to contain advice.
pub(crate) fn examined(command: &mut Command) -> Found {
    examined_with(command, &[])
}

fn examined_with(command: &mut Command, flags: &[&str]) -> Found {
    let ran = ran(command.args(["doctor", "--json"]).args(flags));
    let findings: Vec<Value> =
        ran.out.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    for finding in &findings {
        let is_text = |name: &str| finding[name].as_str().is_some_and(|text| !text.is_empty());
        assert!(is_text("what") && is_text("advice") && finding["ids"].is_array(), "{finding}");
    }
    assert!(!ran.out.contains("sesame") && !ran.err.contains("sesame"), "{ran:?}");
    Found { ran, findings }
}

pub(crate) fn examine(place: &Place) -> Found {
    examined(&mut place.command(&[]))
}

/// Registers a valid instance, and requires the doctor to find nothing and to leave nothing behind.
pub(crate) async fn is_well(place: &Place) {
    let driver = place.driver().await;
    let well = [fixed("mail", 1, "http://10.0.0.7:25"), fixed("other", 1, "http://10.0.0.7:25")];
    for instance in &well {
        driver.register(instance, USUAL).await.unwrap();
    }
    let drain = gosd::Instance::drain_of(well[0].id());
    driver.register(&drain, LEASE).await.unwrap();
    let found = examine(place);
    assert!(found.ran.code == 0 && found.ran.out.is_empty(), "{found:?}");
    assert!(found.ran.err.contains("nothing is wrong"), "{found:?}");
    let left = driver.list().await.unwrap();
    assert!(left.iter().all(|it| it.service() != "gosd.doctor"), "{left:?}");
}

#[tokio::test]
async fn a_healthy_file_has_no_findings() {
    is_well(&Place::sqlite()).await;
}

#[tokio::test]
async fn the_lines_are_as_documented() {
    let place = Place::sqlite();
    let driver = place.driver().await;
    for (number, url) in [
        (1, "http://10.0.0.7:25"),
        (2, "http://10.0.0.7:25/"),
        (3, "http://0.0.0.0:25"),
        (4, "10.0.0.9:25"),
        // With a file all services are on this host, so this URL is fine.
        (5, "http://127.0.0.1:25"),
    ] {
        let lease = if number == 5 { LEASE } else { USUAL };
        driver.register(&fixed("mail", number, url), lease).await.unwrap();
    }
    let found = examined(place.command(&[]).env("gosdDriverr", "redis://:sesame@h"));
    assert_eq!(found.ran.out, include_str!("../golden/doctor.jsonl"));
    assert_eq!(found.ran.code, 1);
    // The output for people has the same findings, as text only.
    let told = place.run(&["doctor"]);
    assert!(told.code == 1 && told.out.starts_with("lease: 1 instance has another"), "{told:?}");
    assert!(
        told.out.contains("\n    give all clients of a namespace one gosdLeaseTTL"),
        "{told:?}"
    );
}

#[test]
fn a_default_driver_is_a_finding() {
    let place = Place::sqlite();
    place.out(&["register", "mail", "http://10.0.0.7:25"]);
    let unset = examined(place.command(&[]).env_remove("gosdDriver"));
    assert_eq!((unset.ran.code, unset.names()), (1, vec!["driver-unset"]));
    let what = unset.one("driver-unset")["what"].as_str().unwrap();
    assert!(what.contains("so gosd uses ") && what.contains("/gosd.db, namespace gosd"), "{what}");
    let flag = examined(place.command(&["-d", "sqlite:gosd.db"]).env_remove("gosdDriver"));
    assert_eq!(flag.ran.code, 0, "{flag:?}");
}

#[test]
fn invalid_settings_are_a_finding() {
    let place = Place::sqlite();
    for (name, value) in [("gosdLeaseTTL", "soon"), ("gosdDriver", "nats://:sesame@h")] {
        let found = examined(place.command(&[]).env(name, value));
        assert_eq!((found.ran.code, found.names()), (2, vec!["settings"]));
        assert!(found.one("settings")["what"].as_str().unwrap().contains(name), "{found:?}");
    }
}

#[test]
fn a_missing_file_is_a_finding_and_is_not_created() {
    let place = Place::sqlite();
    let found = examine(&place);
    assert_eq!((found.ran.code, found.names()), (1, vec!["no-file"]));
    assert_eq!(fs::read_dir(place.directory.path()).unwrap().count(), 0, "it was made");
}

#[test]
fn another_program_s_file_is_a_finding() {
    let place = Place::sqlite();
    fs::write(place.directory.path().join("gosd.db"), "of somebody else").unwrap();
    let found = examine(&place);
    assert_eq!((found.ran.code, found.names()), (1, vec!["unusable"]));
}

#[tokio::test]
async fn a_record_that_cannot_be_read_is_a_finding() {
    let place = Place::sqlite();
    let driver = place.driver().await;
    for number in [1, 2] {
        let instance = fixed("mail", number, &format!("http://10.0.0.{number}:25"));
        driver.register(&instance, USUAL).await.unwrap();
    }
    let path = place.directory.path().join("gosd.db");
    let spoil = "UPDATE instances SET metadata = '{' WHERE url LIKE '%10.0.0.1:%'";
    assert!(Command::new("sqlite3").arg(&path).arg(spoil).status().unwrap().success());
    let found = examine(&place);
    assert_eq!((found.ran.code, found.names()), (1, vec!["unreadable"]));
    let what = found.one("unreadable")["what"].as_str().unwrap();
    assert!(what.contains(fixed("mail", 1, "").id().as_str()), "{what}");
}

#[tokio::test]
async fn wrong_permissions_of_the_file_are_a_finding() {
    let place = Place::sqlite();
    let driver = place.driver().await;
    driver.register(&fixed("mail", 1, "http://10.0.0.7:25"), USUAL).await.unwrap();
    let path = place.directory.path().join("gosd.db");
    let folder = place.directory.path();
    let permit =
        |path: &Path, mode| fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    permit(&path, 0o666);
    assert_eq!(examine(&place).names(), ["file-rights"]);
    permit(&path, 0o644);
    permit(folder, 0o777);
    assert_eq!(examine(&place).names(), ["file-rights"]);

    // A user who only reads needs no right to write.
    permit(&path, 0o444);
    permit(folder, 0o555);
    // Without root's capabilities, because permissions do not bind root.
    let bare = place.command(&[]);
    let mut unprivileged = Command::new("setpriv");
    if rustix::process::geteuid().is_root() {
        unprivileged.args(["--bounding-set=-all", "--inh-caps=-all"]);
    }
    unprivileged.arg(bare.get_program()).env("gosdDriver", &place.url);
    let found = examined(&mut unprivileged);
    permit(folder, 0o755);
    assert_eq!((found.ran.code, found.names()), (1, vec!["read-only"]), "{found:?}");
    assert!(found.one("read-only")["what"].as_str().unwrap().contains("mode 444"), "{found:?}");
}

#[tokio::test]
async fn an_instance_that_refuses_connections_is_a_finding_with_dial() {
    let place = Place::sqlite();
    let driver = place.driver().await;
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (open, closed) = (listener.local_addr().unwrap().port(), free_port());
    for (number, port) in [(1, open), (2, closed)] {
        let url = format!("http://u:sesame@127.0.0.1:{port}/?token=sesame");
        driver.register(&fixed("mail", number, &url), USUAL).await.unwrap();
    }
    driver.register(&fixed("mail", 3, "amqp://h"), USUAL).await.unwrap();
    assert_eq!(examine(&place).ran.code, 0);
    let found = examined_with(&mut place.command(&[]), &["--dial"]);
    assert_eq!((found.ran.code, found.names()), (1, vec!["no-answer"]));
    let finding = found.one("no-answer");
    assert_eq!(finding["ids"][0], fixed("mail", 2, "").id().as_str());
    let what = finding["what"].as_str().unwrap();
    assert!(what.contains(&format!("127.0.0.1:{closed}")) && what.contains("refused"), "{what}");
    assert!(found.ran.err.contains("their URLs have no port: 1"), "{found:?}");
}

#[tokio::test]
async fn a_database_that_is_down_is_a_finding() {
    let place = Place::at(format!("redis://:sesame@127.0.0.1:{}", free_port()));
    let found = examined(place.command(&[]).env("gosd_namespace", "blue"));
    assert_eq!((found.ran.code, found.names()), (4, vec!["misspelt-variable", "no-contact"]));
}

/// A port in front of a server, which delays the answers.
async fn slowed(server: u16) -> u16 {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let server = TcpStream::connect(("127.0.0.1", server)).await.unwrap();
            let (mut asks, mut hears) = client.into_split();
            let (mut answers, mut asked) = server.into_split();
            tokio::spawn(async move { tokio::io::copy(&mut asks, &mut asked).await });
            tokio::spawn(async move {
                let mut bytes = vec![0; 65_536];
                while let Ok(size @ 1..) = answers.read(&mut bytes).await {
                    tokio::time::sleep(Duration::from_millis(250)).await;
                    if hears.write_all(&bytes[..size]).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    port
}

#[tokio::test]
async fn a_slow_database_is_a_finding() {
    let server = RedisServer::start(&[]).await;
    let place = Place::at(format!("redis://127.0.0.1:{}", slowed(server.port()).await));
    let found = tokio::task::spawn_blocking(move || examine(&place)).await.unwrap();
    // A list needs two answers at least, which take half a second, a tenth of the bound of a call.
    assert_eq!((found.ran.code, found.names()), (1, vec!["slow"]), "{found:?}");
}

/// One of two databases does not answer: the other one is examined all the same, and no file is made.
#[test]
fn one_of_two_is_away() {
    let place = Place::sqlite();
    let away = format!("redis://127.0.0.1:{}", free_port());
    let new = place.directory.path().join("new.db");
    let also = format!("sqlite:{}", new.display());
    let found = examined(place.command(&[]).env("gosdDriver", &away).env("gosdDriverAlso", &also));
    assert_eq!(found.names(), ["no-file"], "{found:?}");
    assert!(!new.exists());
}
