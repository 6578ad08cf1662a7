//! Servers without space, rights that are taken away, passwords whose check takes long, renewed certificates.

use std::slice::from_ref;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::future::join;
use gosd_core::{ErrorKind, Event};
use gosd_testservers::{Certificates, EtcdServer, Watch};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use super::support::{LONG_LEASE, PATIENCE, calls, instance, key, lease, leases, open, open_at};

/// Fills a server that was started with a small quota.
async fn use_up_the_space(etcd: &EtcdServer) {
    let large = "x".repeat(100_000);
    for n in 0..1_000 {
        if etcd.try_ctl(&["put", &format!("/junk/{n}"), &large]).await.is_err() {
            let alarms = etcd.ctl(&["alarm", "list"]).await;
            assert!(alarms.contains("NOSPACE"), "{alarms}");
            return;
        }
    }
    panic!("the space is not used up");
}

#[tokio::test]
async fn without_space_living_instances_stay_and_leaving_ones_go() {
    let etcd = EtcdServer::start(&["--quota-backend-bytes", "2000000"]).await;
    let driver = open_at(etcd.port()).await;
    let [stays, leaves] = [instance("a"), instance("b")];
    driver.register(&stays, LONG_LEASE).await.unwrap();
    driver.register(&leaves, LONG_LEASE).await.unwrap();
    let watcher = open_at(etcd.port()).await;
    let (mut watch, _) = Watch::start(&*watcher).await;
    use_up_the_space(&etcd).await;

    driver.register(&stays, LONG_LEASE).await.expect("a renewal needs no space");
    let refused = driver.register(&instance("c"), LONG_LEASE).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Unavailable, "{refused}");
    assert!(refused.to_string().contains("disarm the alarm"), "{refused}");

    driver.deregister(leaves.id()).await.expect("so does a goodbye");
    assert_eq!(watch.event().await, Event::Expire(leaves.id().clone()));
    // By a client that does not know the lease.
    watcher.deregister(stays.id()).await.expect("nor does it need to be one's own");
    assert_eq!(watch.event().await, Event::Expire(stays.id().clone()));
    assert_eq!(watcher.list().await.unwrap(), []);
    assert_eq!(leases(&etcd).await, 0);
}

#[tokio::test]
async fn a_right_that_is_taken_away_leaves_no_leases_behind() {
    let mut etcd = EtcdServer::start(&[]).await;
    etcd.enable_auth("/gosd/instances/").await;
    let driver = open(&format!("etcd://gosd:p%40ss@127.0.0.1:{}", etcd.port())).await;
    let mail = instance("mail");
    driver.register(&mail, LONG_LEASE).await.unwrap();
    let before = lease(&etcd, &mail).await;
    let end = "/gosd/instances0";
    etcd.ctl(&["role", "revoke-permission", "gosd", "/gosd/instances/", end]).await;
    etcd.ctl(&["role", "grant-permission", "gosd", "read", "/gosd/instances/", end]).await;
    driver.register(&mail, LONG_LEASE).await.expect("a renewal writes nothing");
    etcd.ctl(&["del", &key(&mail)]).await;
    let other = instance("other");
    for _ in 0..3 {
        for (instance, lease) in [(&mail, LONG_LEASE), (&other, LONG_LEASE)] {
            let error = driver.register(instance, lease).await.expect_err("it may not write");
            assert_eq!(error.kind(), ErrorKind::Denied, "{error}");
        }
    }
    assert_eq!(leases(&etcd).await, 2, "one for each");
    etcd.ctl(&["role", "grant-permission", "gosd", "readwrite", "/gosd/instances/", end]).await;
    driver.register(&mail, LONG_LEASE).await.expect("it may again");
    assert_eq!(lease(&etcd, &mail).await, before);
    driver.register(&mail, LONG_LEASE * 2).await.expect("it may");
    driver.register(&other, LONG_LEASE).await.expect("it may");
    assert_eq!(leases(&etcd).await, 2);
    for instance in [&mail, &other] {
        driver.deregister(instance.id()).await.expect("it may");
    }
    assert_eq!(leases(&etcd).await, 0);
}

#[tokio::test]
async fn the_check_of_a_password_outlives_the_call_that_asked_for_it() {
    // As expensive as a test allows.
    let mut etcd = EtcdServer::start(&["--bcrypt-cost", "11"]).await;
    etcd.enable_auth("/gosd/").await;
    let driver = open(&format!("etcd://gosd:p%40ss@127.0.0.1:{}", etcd.port())).await;
    let before = calls(etcd.port(), "started", "Authenticate").await;
    let mut given_up = 0;
    let registered = async {
        let mail = instance("mail");
        // On a busy machine a registration takes longer than the first of these, the check aside.
        let mut bound = Duration::from_millis(20);
        while timeout(bound, driver.register(&mail, LONG_LEASE)).await.is_err() {
            given_up += 1;
            bound *= 2;
        }
    };
    // A watch has its own connection, and uses the same token.
    let both = join(registered, Watch::start(&*driver));
    timeout(PATIENCE, both).await.expect("it is checked some time");
    assert!(given_up > 0, "the check took no time, so nothing was shown");
    assert_eq!(calls(etcd.port(), "started", "Authenticate").await - before, 1);
}

#[tokio::test]
async fn a_watch_outlives_its_token() {
    let mut etcd = EtcdServer::start(&["--auth-token-ttl", "1"]).await;
    etcd.enable_auth("/gosd/").await;
    let driver = open(&format!("etcd://gosd:p%40ss@127.0.0.1:{}", etcd.port())).await;
    let (mut watch, _) = Watch::start(&*driver).await;
    // Meanwhile the server is asked three times whether it is alive, and each time it has forgotten the token.
    let quiet = timeout(Duration::from_secs(10), watch.next()).await;
    assert!(quiet.is_err(), "{quiet:?}");
    let mail = instance("mail");
    driver.register(&mail, LONG_LEASE).await.unwrap();
    assert_eq!(watch.event().await, Event::Put(mail));
}

#[tokio::test]
async fn renewed_certificates_count_without_a_restart() {
    let certificates = Certificates::new();
    let mut etcd = EtcdServer::start_tls(&certificates, true).await;
    let file = |name| certificates.text(name);
    let query =
        format!("ca={}&cert={}&key={}", file("ca.pem"), file("client.pem"), file("client.key"));
    let url = format!("etcds://127.0.0.1:{}?{query}", etcd.port());
    let (driver, watcher) = (open(&url).await, open(&url).await);
    let mail = instance("mail");
    driver.register(&mail, LONG_LEASE).await.unwrap();
    let (mut watch, _) = Watch::start(&*watcher).await;

    certificates.renew();
    etcd.restart().await;
    // At once, and without an error for the caller.
    driver.register(&mail, LONG_LEASE).await.expect("the new ones count");
    assert_eq!(driver.list().await.unwrap(), from_ref(&mail));
    watch.next().await.expect_err("the server was restarted");
    assert_eq!(watch.event_after_errors().await, Event::Reset(from_ref(&mail).into()));
}

#[tokio::test]
async fn a_connection_closed_under_a_request_is_replaced_without_an_error() {
    let etcd = EtcdServer::start(&[]).await;
    let (port, is_armed) = closing(etcd.port()).await;
    let driver = open_at(port).await;
    let mail = instance("mail");
    for _ in 0..3 {
        driver.register(&mail, LONG_LEASE).await.expect("the server is well");
        is_armed.store(true, Ordering::SeqCst);
        assert_eq!(driver.list().await.expect("the server is well"), from_ref(&mail));
        assert!(!is_armed.load(Ordering::SeqCst), "no connection was closed");
    }
}

/// A port in front of a server. Once it is armed, it closes the next connection on which the client sends
/// something, as a server does whose patience with an idle connection ends at that moment.
async fn closing(server: u16) -> (u16, Arc<AtomicBool>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let is_armed = Arc::new(AtomicBool::new(false));
    let armed = is_armed.clone();
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let mut server = TcpStream::connect(("127.0.0.1", server)).await.unwrap();
            let armed = armed.clone();
            tokio::spawn(async move {
                let (mut requests, mut to_client) = client.split();
                let (mut replies, mut to_server) = server.split();
                let forward = async {
                    let mut buffer = [0; 4_096];
                    loop {
                        let read = requests.read(&mut buffer).await.unwrap_or(0);
                        if read == 0 || armed.swap(false, Ordering::SeqCst) {
                            return;
                        }
                        to_server.write_all(&buffer[..read]).await.unwrap();
                    }
                };
                tokio::select! {
                    () = forward => {}
                    _ = tokio::io::copy(&mut replies, &mut to_client) => {}
                }
            });
        }
    });
    (port, is_armed)
}
