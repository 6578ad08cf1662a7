//! `gosd doctor` over real servers: each finding with its cause, and none where all is well.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::process::Command;
use std::thread;

use gosd_testservers::{RedisServer, WallClock};

use crate::doctor::{USUAL, examine, examined, is_well};
use crate::support::{Place, Process, fixed};

/// Sends a command to a Redis server, as an operator or another program does.
fn redis(server: &RedisServer, args: &[&str]) -> String {
    let mut command = Command::new("redis-cli");
    let output = command.args(["-p", &server.port().to_string()]).args(args).output().unwrap();
    assert!(output.status.success(), "{args:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[tokio::test]
async fn a_healthy_redis_has_no_findings() {
    let server = RedisServer::start(&["--maxmemory", "100mb"]).await;
    is_well(&Place::at(server.url())).await;
}

#[tokio::test]
async fn eviction_and_a_full_memory_are_findings() {
    let server = RedisServer::start(&["--maxmemory", "100mb"]).await;
    let place = Place::at(server.url());
    redis(&server, &["CONFIG", "SET", "maxmemory-policy", "allkeys-lru"]);
    let found = examine(&place);
    assert_eq!((found.ran.code, found.names()), (1, vec!["eviction"]));
    // gosd's own keys are never volatile.
    redis(&server, &["CONFIG", "SET", "maxmemory-policy", "volatile-lru"]);
    assert_eq!(examine(&place).ran.code, 0);

    redis(&server, &["CONFIG", "SET", "maxmemory", "1"]);
    let found = examine(&place);
    assert_eq!((found.ran.code, found.names()), (4, vec!["memory", "no-contact"]), "{found:?}");
    assert!(found.one("no-contact")["what"].as_str().unwrap().contains("OOM"), "{found:?}");
}

#[tokio::test]
async fn missing_rights_in_redis_are_a_finding() {
    let server = RedisServer::start(&[]).await;
    let reads = ["+@read", "+@connection", "+multi", "+exec", "+time"];
    let user = [&["ACL", "SETUSER", "reader", "on", ">sesame", "~*"][..], &reads].concat();
    redis(&server, &user);
    let place = Place::at(server.url().replace("//", "//reader:sesame@"));
    let found = examine(&place);
    assert_eq!((found.ran.code, found.names()), (1, vec!["read-only", "not-checked"]));
    redis(&server, &["ACL", "SETUSER", "reader", "+info"]);
    assert_eq!(examine(&place).names(), ["read-only"]);
    redis(&server, &["ACL", "SETUSER", "reader", "-@all"]);
    let found = examine(&place);
    assert_eq!((found.ran.code, found.names()), (1, vec!["no-rights"]));
}

#[tokio::test]
async fn a_redis_replica_is_a_finding() {
    let server = RedisServer::start(&[]).await;
    redis(&server, &["REPLICAOF", "127.0.0.1", "1"]);
    let found = examine(&Place::at(server.url()));
    assert_eq!((found.ran.code, found.names()), (1, vec!["no-writes"]));
}

#[tokio::test]
async fn records_of_other_software_in_redis_are_findings() {
    let server = RedisServer::start(&[]).await;
    let place = Place::at(server.url());
    let driver = place.driver().await;
    driver.register(&fixed("mail", 1, "http://10.0.0.7:25"), USUAL).await.unwrap();
    let of_go = "mail-20160315122936.17256541";
    redis(&server, &["HSET", "gosd", of_go, "http://10.0.0.8:25"]);
    redis(&server, &["HSET", "gosd", "bad-1", "http://10.0.0.9:25"]);
    redis(&server, &["HSET", "{gosd}:meta", "bad-1", "garbage"]);
    let found = examine(&place);
    assert_eq!((found.ran.code, found.names()), (1, vec!["unreadable", "no-lease"]));
    assert!(found.one("unreadable")["what"].as_str().unwrap().contains("bad-1"), "{found:?}");
    assert_eq!(found.one("no-lease")["ids"], serde_json::json!([of_go]));
    redis(&server, &["DEL", "gosd"]);
    redis(&server, &["SET", "gosd", "a key of another program"]);
    let found = examine(&place);
    assert_eq!((found.ran.code, found.names()), (1, vec!["unusable"]));
}

#[tokio::test]
async fn a_loopback_url_in_a_shared_database_is_a_finding() {
    let server = RedisServer::start(&[]).await;
    let here = Place::at(server.url());
    let driver = here.driver().await;
    driver.register(&fixed("mail", 1, "http://localhost:25"), USUAL).await.unwrap();
    driver.register(&fixed("mail", 2, "http://[::1]:25"), USUAL).await.unwrap();
    assert_eq!(examine(&here).ran.code, 0, "everybody is on this host");
    // 0.0.0.0 is an address of this host that every machine has and that is not on loopback.
    let shared = Place::at(server.url().replace("127.0.0.1", "0.0.0.0"));
    let found = examine(&shared);
    assert_eq!((found.ran.code, found.names()), (1, vec!["loopback-url", "loopback-url"]));
    let found = examined(shared.command(&[]).env("gosdAdvertise", "localhost"));
    assert!(found.one("loopback-url")["what"].as_str().unwrap().starts_with("::1"), "{found:?}");
}

#[tokio::test]
async fn leases_that_differ_in_redis_are_a_finding() {
    let server = RedisServer::start(&[]).await;
    let place = Place::at(server.url());
    let long = place.out(&["register", "mail", "http://10.0.0.7:25", "--for=1h"]);
    let mut short = place.command(&["register", "mail", "http://10.0.0.8:25", "--hold"]);
    let short = Process::start(short.env("gosdLeaseTTL", "4"));
    short.wait_for("registered, until Ctrl-C");
    let found = examine(&place);
    assert_eq!((found.ran.code, found.names()), (1, vec!["lease"]));
    let finding = found.one("lease");
    let what = finding["what"].as_str().unwrap();
    assert!(what.starts_with("2 instances have another lease than the 15s"), "{what}");
    assert!(finding["ids"].as_array().unwrap().contains(&long.trim().into()), "{finding}");
}

#[tokio::test]
async fn a_wrong_clock_of_redis_is_a_finding() {
    for seconds in [3_600, -3_600] {
        let clock = WallClock::ahead_by(seconds).await;
        let server = RedisServer::start_with_clock(&clock, &[]).await;
        let found = examine(&Place::at(server.url()));
        assert_eq!((found.ran.code, found.names()), (1, vec!["clock"]));
        let side = if seconds > 0 { "ahead of" } else { "behind" };
        let what = found.one("clock")["what"].as_str().unwrap();
        assert!(what.contains(side) && (what.contains("60m") || what.contains("59m")), "{what}");
    }
}

#[tokio::test]
async fn missing_rights_at_a_registry_server_are_a_finding() {
    let place = Place::sqlite();
    let [write, read] = ["sesame-that-writes", "sesame-that-reads"];
    for (name, token) in [("write", write), ("read", read)] {
        std::fs::write(place.directory.path().join(name), token).unwrap();
    }
    let files = ["--token-file", "write", "--read-only-token-file", "read"];
    let server = place.start(&[&["serve", "127.0.0.1:0"][..], &files].concat());
    let url = server.wait_for("http://");
    let bearing = |token: &str| Place::at(url.replace("//", &format!("//:{token}@")));
    is_well(&bearing(write)).await;
    let found = examine(&bearing(read));
    assert_eq!((found.ran.code, found.names()), (1, vec!["read-only"]));
    let found = examine(&bearing("sesame-of-nobody"));
    assert_eq!((found.ran.code, found.names()), (1, vec!["no-rights"]));
}

#[tokio::test]
async fn a_wrong_clock_of_a_registry_server_is_a_finding() {
    const LIST: &str = r#"{"instances":[{"id":1}]}"#;
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    // The thread lives as long as the test.
    thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let mut request = [0; 65_536];
            let _ = stream.read(&mut request);
            let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n\
                        Date: Sun, 09 Sep 2001 01:46:40 GMT\r\nContent-Length:";
            let _ = stream.write_all(format!("{head} {}\r\n\r\n{LIST}", LIST.len()).as_bytes());
        }
    });
    let found = examine(&Place::at(format!("http://127.0.0.1:{port}/?watch=off")));
    assert_eq!((found.ran.code, found.names()), (1, vec!["clock", "unreadable"]), "{found:?}");
}

#[cfg(feature = "etcd")]
mod etcd {
    use gosd_testservers::EtcdServer;

    use super::*;
    use crate::support::LEASE;

    #[tokio::test]
    async fn a_healthy_etcd_has_no_findings() {
        let server = EtcdServer::start(&[]).await;
        is_well(&Place::at(format!("etcd://127.0.0.1:{}", server.port()))).await;
    }

    #[tokio::test]
    async fn an_etcd_without_space_is_a_finding() {
        let server = EtcdServer::start(&["--quota-backend-bytes", "2000000"]).await;
        let large = "x".repeat(100_000);
        let mut number = 0;
        while server.try_ctl(&["put", &format!("/junk/{number}"), &large]).await.is_ok() {
            number += 1;
        }
        let found = examine(&Place::at(format!("etcd://127.0.0.1:{}", server.port())));
        assert_eq!((found.ran.code, found.names()), (1, vec!["no-writes", "no-space"]));
    }

    #[tokio::test]
    async fn records_of_other_software_in_etcd_are_findings() {
        let server = EtcdServer::start(&[]).await;
        let place = Place::at(format!("etcd://127.0.0.1:{}", server.port()));
        let driver = place.driver().await;
        let long = fixed("mail", 1, "http://10.0.0.7:25");
        driver.register(&long, LEASE).await.unwrap();
        let by_hand = fixed("mail", 2, "http://10.0.0.8:25");
        let key = |id: &str| format!("/gosd/instances/{id}");
        server.ctl(&["put", &key(by_hand.id().as_str()), &by_hand.to_json()]).await;
        server.ctl(&["put", &key("bad-1"), "garbage"]).await;
        let found = examine(&place);
        assert_eq!((found.ran.code, found.names()), (1, vec!["unreadable", "no-lease", "lease"]));
        assert_eq!(found.one("no-lease")["ids"], serde_json::json!([by_hand.id().as_str()]));
        assert_eq!(found.one("lease")["ids"], serde_json::json!([long.id().as_str()]));
    }

    #[tokio::test]
    async fn missing_rights_in_etcd_are_a_finding() {
        let mut server = EtcdServer::start(&[]).await;
        server.ctl(&["role", "add", "reader"]).await;
        let range = ["role", "grant-permission", "reader", "read", "--prefix=true"];
        server.ctl(&[&range[..], &["/gosd/instances/"]].concat()).await;
        server.ctl(&["user", "add", "reader:sesame"]).await;
        server.ctl(&["user", "grant-role", "reader", "reader"]).await;
        server.enable_auth("/gosd/instances/").await;
        let url = format!("etcd://reader:sesame@127.0.0.1:{}", server.port());
        let found = examine(&Place::at(url));
        assert_eq!(found.ran.code, 1, "{found:?}");
        assert_eq!(found.names()[0], "read-only", "{found:?}");
        let well = format!("etcd://gosd:p%40ss@127.0.0.1:{}", server.port());
        is_well(&Place::at(well)).await;
    }
}
