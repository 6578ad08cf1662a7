//! Servers that cannot be used, and servers that cannot be used yet.

use std::time::Duration;

use gosd_core::{Client, ErrorKind, Event, Registration, Result, Settings};
use gosd_testservers::{
    Certificates, Cutter, RedisCluster, RedisServer, Watch, free_port, tls_cases,
};
use redis::AsyncCommands;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::support::{LONG_LEASE, instance, open};

/// Starts a client that registers, with only one attempt.
async fn start(url: &str) -> Result<Client> {
    let settings = Settings::default().try_refresh_amount(1).lease_ttl(Duration::from_secs(3));
    let client = Client::builder(open(url).await).settings(settings);
    client.register("mail", "http://10.0.0.7:25").start().await
}

/// Requires `start` to fail with a server that can never be used.
async fn refused(url: &str, kind: ErrorKind, hints: &[&str]) {
    let error = start(url).await.map(|_| ()).expect_err(url);
    assert_eq!(error.kind(), kind, "{error}");
    assert_eq!(error.driver(), Some("redis"));
    assert!(error.operation().is_some());
    for hint in hints {
        assert!(error.to_string().contains(hint), "no {hint:?} in: {error}");
    }
    assert!(!format!("{error} {error:?}").contains("sesame"), "{error:?}");
}

/// Requires `start` to succeed in spite of a temporary fault, and the status to name the fault.
async fn outwaited(url: &str, hint: &str) -> Client {
    let client = start(url).await.expect(url);
    match client.status().registration {
        Registration::Standalone { error, .. } => {
            assert!(error.is_retryable(), "{error}");
            assert!(error.to_string().contains(hint), "no {hint:?} in: {error}");
        }
        other => panic!("{url}: {other:?}"),
    }
    client
}

#[tokio::test]
async fn another_type_at_the_key() {
    let server = RedisServer::start(&[]).await;
    let mut redis = server.connect(None).await;
    redis.set::<_, _, ()>("gosd", "x").await.unwrap();
    refused(&server.url(), ErrorKind::Data, &["WRONGTYPE", "choose another"]).await;
    for key in ["{other}:leases", "{other}:meta", "{other}:events"] {
        redis.set::<_, _, ()>(key, "x").await.unwrap();
        let url = format!("{}?namespace=other", server.url());
        refused(&url, ErrorKind::Data, &["WRONGTYPE"]).await;
        assert_eq!(redis.exists("other").await, Ok(false), "half a change, with {key}");
        redis.del::<_, ()>(key).await.unwrap();
    }
}

#[tokio::test]
async fn wrong_and_missing_passwords() {
    let server = RedisServer::start(&["--requirepass", "secret"]).await;
    let host = format!("127.0.0.1:{}", server.port());
    refused(&format!("redis://{host}"), ErrorKind::Denied, &[&host, "password"]).await;
    refused(&format!("redis://:sesame@{host}"), ErrorKind::Denied, &["WRONGPASS"]).await;
    refused(&format!("redis://me:sesame@{host}"), ErrorKind::Denied, &["WRONGPASS"]).await;
    let open = RedisServer::start(&[]).await;
    let url = format!("redis://:sesame@127.0.0.1:{}", open.port());
    refused(&url, ErrorKind::Denied, &["take the password out"]).await;
}

#[tokio::test]
async fn missing_permissions_are_named() {
    let server = RedisServer::start(&[]).await;
    let mut redis = server.connect(None).await;
    let url = format!("redis://gosd:sesame@127.0.0.1:{}", server.port());
    for (rules, hint) in [
        (vec!["~*", "+@all", "-evalsha"], "'evalsha'"),
        (vec!["~*", "+@all", "-xread"], "'xread'"),
        (vec!["~*", "+@all", "-zadd"], "zadd"),
        (vec!["~other", "+@all"], "keys"),
    ] {
        let mut user = redis::cmd("ACL");
        user.arg("SETUSER").arg("gosd").arg("reset").arg("on").arg(">sesame").arg(rules);
        user.exec_async(&mut redis).await.unwrap();
        refused(&url, ErrorKind::Denied, &[hint, "ACL SETUSER"]).await;
    }
}

#[tokio::test]
async fn tls_where_there_is_none_and_the_reverse() {
    let certificates = Certificates::new();
    let ca = certificates.text("ca.pem");
    let plain = RedisServer::start(&[]).await;
    let url = format!("rediss://127.0.0.1:{}?ca={ca}", plain.port());
    refused(&url, ErrorKind::Config, &["does not speak TLS"]).await;

    let tls = RedisServer::start_tls(&certificates, true).await;
    let host = format!("127.0.0.1:{}", tls.port());
    refused(&format!("redis://{host}"), ErrorKind::Config, &["speaks TLS", "rediss"]).await;
}

#[tokio::test]
async fn certificates() {
    let (ours, theirs) = (Certificates::new(), Certificates::new());
    let server = RedisServer::start_tls(&ours, true).await;
    for case in tls_cases(&ours, &theirs) {
        let url = format!("rediss://127.0.0.1:{}?{}", server.port(), case.query);
        let listed = open(&url).await.list().await;
        let Some(kind) = case.kind else {
            assert_eq!(listed.unwrap(), [], "{case:?}");
            continue;
        };
        let error = listed.expect_err(&case.query);
        assert_eq!(format!("{:?}", error.kind()), kind, "{case:?}: {error}");
        assert!(error.to_string().contains(&case.says), "{case:?}: {error}");
    }
}

#[tokio::test]
async fn a_database_out_of_range() {
    let server = RedisServer::start(&[]).await;
    refused(&format!("{}/16", server.url()), ErrorKind::Config, &["out of range", "URL"]).await;
    let driver = open(&format!("{}/15", server.url())).await;
    driver.register(&instance("mail"), LONG_LEASE).await.unwrap();
    assert_eq!(open(&server.url()).await.list().await.unwrap(), []);
}

#[tokio::test]
async fn a_server_too_old_or_without_scripts() {
    for command in ["EVALSHA", "XREAD", "XADD"] {
        let server = RedisServer::start(&["--rename-command", command, ""]).await;
        refused(&server.url(), ErrorKind::Unsupported, &["Redis 5.0", "Lua"]).await;
    }
}

#[tokio::test]
async fn a_cluster() {
    // The node has no slots yet.
    let bus = free_port().to_string();
    let node = RedisServer::start(&["--cluster-enabled", "yes", "--cluster-port", &bus]).await;
    drop(outwaited(&node.url(), "CLUSTERDOWN").await);
    drop(outwaited(&format!("redis+cluster://127.0.0.1:{}", node.port()), "CLUSTERDOWN").await);

    let cluster = RedisCluster::start().await;
    for node in cluster.nodes() {
        // The one that has the slot would do.
        if node.connect(None).await.exists::<_, bool>("gosd").await.is_err() {
            refused(&node.url(), ErrorKind::Config, &["redis+cluster://"]).await;
        }
    }
}

#[tokio::test]
async fn nobody_listens() {
    let port = free_port();
    let client = outwaited(&format!("redis://127.0.0.1:{port}"), "refused").await;
    let server = RedisServer::start_at(port, &[]).await;
    registers(&client).await;
    drop(server);
}

#[tokio::test]
async fn a_server_that_accepts_and_never_answers() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = silent.local_addr().unwrap().port();
    drop(outwaited(&format!("redis://127.0.0.1:{port}"), "no answer").await);
    drop(outwaited(&format!("rediss://127.0.0.1:{port}"), "no answer").await);
}

#[tokio::test]
async fn a_replica() {
    let nobody = free_port().to_string();
    let mut args = vec!["--replicaof", "127.0.0.1", &nobody];
    let replica = RedisServer::start(&args).await;
    drop(outwaited(&replica.url(), "READONLY").await);
    args.extend(["--replica-serve-stale-data", "no"]);
    let stale = RedisServer::start(&args).await;
    drop(outwaited(&stale.url(), "MASTERDOWN").await);
}

#[tokio::test]
async fn no_memory_left() {
    let server = RedisServer::start(&["--maxmemory", "1mb"]).await;
    let client = outwaited(&server.url(), "maxmemory").await;
    let mut redis = server.connect(None).await;
    let mut more = redis::cmd("CONFIG");
    more.arg("SET").arg("maxmemory").arg("100mb").exec_async(&mut redis).await.unwrap();
    registers(&client).await;
    // A goodbye frees memory, so it works even then.
    let mut less = redis::cmd("CONFIG");
    less.arg("SET").arg("maxmemory").arg("1mb").exec_async(&mut redis).await.unwrap();
    client.shutdown().await.unwrap();
    assert_eq!(redis.exists("gosd").await, Ok(false));
}

#[tokio::test]
async fn leases_that_run_out_while_nobody_can_renew() {
    let server = RedisServer::start(&["--maxmemory-policy", "noeviction"]).await;
    let driver = open(&server.url()).await;
    let mail = instance("mail");
    driver.register(&mail, Duration::from_secs(2)).await.unwrap();
    let (mut watch, _) = Watch::start(&*driver).await;
    let mut redis = server.connect(None).await;
    let mut set = async |memory| {
        let mut set = redis::cmd("CONFIG");
        set.arg("SET").arg("maxmemory").arg(memory).exec_async(&mut redis).await.unwrap();
    };
    set("1mb").await;
    for _ in 0..2 {
        let error = watch.next().await.unwrap_err();
        assert!(error.to_string().contains("OOM"), "{error}");
    }
    let error = driver.list().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    set("0").await;
    assert_eq!(watch.event().await, Event::Resumed);
    assert_eq!(watch.event().await, Event::Expire(mail.id().clone()));
    assert_eq!(driver.list().await.unwrap(), []);
}

#[tokio::test]
async fn a_server_busy_with_a_script() {
    let server = RedisServer::start(&["--busy-reply-threshold", "1"]).await;
    let mut busy = server.connect(None).await;
    let endless = tokio::spawn(async move {
        redis::cmd("EVAL").arg("while true do end").arg(0).query_async::<()>(&mut busy).await
    });
    let mut redis = server.connect(None).await;
    while redis.exists::<_, bool>("x").await.is_ok() {
        tokio::task::yield_now().await;
    }
    let client = outwaited(&server.url(), "BUSY").await;
    redis::cmd("SCRIPT").arg("KILL").exec_async(&mut redis).await.unwrap();
    assert!(endless.await.unwrap().is_err());
    registers(&client).await;
}

#[tokio::test]
async fn a_server_that_loads_its_data() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = tokio::spawn(async move {
        loop {
            let (mut client, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                while client.read(&mut [0; 1024]).await.is_ok_and(|count| count > 0) {
                    let answer = b"-LOADING Redis is loading the dataset in memory\r\n";
                    client.write_all(answer).await.unwrap();
                }
            });
        }
    });
    drop(outwaited(&format!("redis://127.0.0.1:{port}"), "LOADING").await);
    server.abort();
}

#[tokio::test]
async fn a_consumer_may_only_read() {
    let rules = ["~*", "+@read", "+@connection", "+multi", "+exec", "+time"];
    let user = [&["--user", "reader", "on", ">secret"], rules.as_slice()].concat();
    let server = RedisServer::start(&user).await;
    let writer = open(&server.url()).await;
    let [dies, lives] = [instance("dies"), instance("lives")];
    writer.register(&dies, Duration::from_secs(1)).await.unwrap();
    let reader = open(&format!("redis://reader:secret@127.0.0.1:{}", server.port())).await;
    let (mut watch, snapshot) = Watch::start(&*reader).await;
    assert_eq!(snapshot, std::slice::from_ref(&dies));
    // Another process that watches purges for all.
    let (mut other, _) = Watch::start(&*writer).await;
    assert_eq!(other.event().await, Event::Expire(dies.id().clone()));
    assert_eq!(watch.event().await, Event::Expire(dies.id().clone()));
    writer.register(&lives, LONG_LEASE).await.unwrap();
    assert_eq!(watch.event().await, Event::Put(lives.clone()));
    assert_eq!(reader.list().await.unwrap(), [lives]);
    let error = reader.register(&dies, LONG_LEASE).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Denied);
}

/// The process cannot know why no lease is renewed, unless others renew theirs.
#[tokio::test]
async fn a_consumer_that_may_only_read_goes_by_the_renewals_of_others() {
    let rules = ["~*", "+@read", "+@connection", "+multi", "+exec", "+time"];
    let user = [&["--user", "reader", "on", ">secret"], rules.as_slice()].concat();
    let server = RedisServer::start(&user).await;
    let writer = open(&server.url()).await;
    let [dies, lives] = [instance("dies"), instance("lives")];
    writer.register(&dies, Duration::from_secs(1)).await.unwrap();
    let reader = open(&format!("redis://reader:secret@127.0.0.1:{}", server.port())).await;
    let (mut watch, _) = Watch::start(&*reader).await;
    // No lease is renewed, so perhaps none can be.
    let quiet = tokio::time::timeout(Duration::from_secs(8), watch.next()).await;
    assert!(quiet.is_err(), "{quiet:?}");
    assert_eq!(reader.list().await.unwrap(), std::slice::from_ref(&dies));

    let renewals = async {
        loop {
            writer.register(&lives, LONG_LEASE).await.unwrap();
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    let told = async {
        assert_eq!(watch.event().await, Event::Put(lives.clone()));
        assert_eq!(watch.event().await, Event::Expire(dies.id().clone()));
        assert_eq!(reader.list().await.unwrap(), std::slice::from_ref(&lives));
    };
    tokio::select! {
        () = renewals => {}
        () = told => {}
    }
}

/// Redis and proxies close idle connections, which must not cause a failure.
#[tokio::test]
async fn connections_that_are_closed_are_replaced_in_silence() {
    let server = RedisServer::start(&[]).await;
    let driver = open(&server.url()).await;
    let [before, after] = [instance("a"), instance("b")];
    driver.register(&before, LONG_LEASE).await.unwrap();
    let (mut watch, _) = Watch::start(&*driver).await;
    let mut redis = server.connect(None).await;
    for round in 0..3 {
        let mut kill = redis::cmd("CLIENT");
        kill.arg("KILL").arg("TYPE").arg("normal").arg("SKIPME").arg("yes");
        let killed: usize = kill.query_async(&mut redis).await.unwrap();
        assert_eq!(killed, 2, "that of the watch, and the one that all else shares");
        let moved = gosd_core::Instance::from_parts(
            after.id().clone(),
            "b",
            &format!("http://10.0.0.{round}"),
            [].into(),
        );
        driver.register(&moved, LONG_LEASE).await.unwrap();
        assert_eq!(watch.event().await, Event::Put(moved));
    }
    driver.list().await.unwrap();
    driver.deregister(before.id()).await.unwrap();
    assert_eq!(watch.event().await, Event::Remove(before.id().clone()));
}

/// A proxy or a script that closes each connection of a watch as soon as that waits for changes.
#[tokio::test]
async fn connections_that_are_closed_again_and_again_are_a_lost_contact() {
    let server = RedisServer::start(&[]).await;
    let cutter = Cutter::at("BLOCK", Duration::ZERO, server.port()).await;
    let driver = open(&format!("redis://127.0.0.1:{}", cutter.port())).await;
    let (mut watch, _) = Watch::start(&*driver).await;
    let told = tokio::time::timeout(Duration::from_secs(10), watch.next()).await;
    let count = cutter.accepted();
    let error = told.unwrap_or_else(|_| panic!("{count} connections in silence")).unwrap_err();
    assert!(error.is_retryable(), "{error}");
    // That of the snapshot is one of them.
    assert!(count <= 5, "{count}");
    // Core, which paces a watch that fails, hears of each from then on.
    for _ in 0..3 {
        assert_eq!(watch.event().await, Event::Resumed);
        assert!(watch.next().await.is_err());
    }
    assert_eq!(cutter.accepted(), count + 3);
}

/// Waits until a client has registered.
async fn registers(client: &Client) {
    use futures_util::StreamExt;
    let mut changes = client.status_changes();
    let waiting = async {
        while !matches!(client.status().registration, Registration::Registered) {
            changes.next().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), waiting).await.expect("it registers in the end");
}
