//! The errors of a driver that cannot work.

use std::net::TcpListener;
use std::slice::from_ref;
use std::time::Duration;

use gosd_core::{Error, ErrorKind};
use gosd_testservers::{Certificates, EtcdServer, Watch, free_port, tls_cases};

use super::support::{LONG_LEASE, instance, open};

async fn failure(url: &str) -> Error {
    open(url).await.list().await.expect_err(url)
}

/// Requires an error of this kind whose message contains these texts.
async fn expect(url: &str, kind: ErrorKind, said: &[&str]) {
    let error = failure(url).await;
    assert_eq!(error.kind(), kind, "{url}: {error}");
    for text in said {
        assert!(error.to_string().contains(text), "{url}: {error} does not say {text:?}");
    }
    assert!(!format!("{error:?}").contains("sesame"), "{error:?}");
}

#[tokio::test]
async fn a_server_that_is_down_is_unavailable() {
    let (one, two) = (free_port(), free_port());
    let error = failure(&format!("etcd://127.0.0.1:{one},127.0.0.1:{two}")).await.to_string();
    for port in [one, two] {
        assert!(error.contains(&format!("127.0.0.1:{port}: ")), "{error}");
    }
    assert!(error.contains("refused") && error.contains("does etcd run there?"), "{error}");
}

#[tokio::test]
async fn a_dead_member_is_passed_over() {
    let etcd = EtcdServer::start(&[]).await;
    // The member accepts connections and never answers, which costs the most time.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let silent = silent.local_addr().unwrap();
    let url = format!("etcd://127.0.0.1:{},{silent},127.0.0.1:{}", free_port(), etcd.port());
    // Each driver begins with a random member.
    for _ in 0..10 {
        let driver = open(&url).await;
        let list = tokio::time::timeout(Duration::from_secs(5), driver.list());
        list.await.expect("it takes less than core allows").expect("one member is alive");
    }
    let driver = open(&url).await;
    Watch::start(&*driver).await;
}

#[tokio::test]
async fn silence_is_bounded() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("etcd://{}", silent.local_addr().unwrap());
    expect(&url, ErrorKind::Unavailable, &["no answer within 2s"]).await;
}

/// Paused time runs ahead whenever there is nothing else to do, which is the case with silent members.
#[tokio::test(start_paused = true)]
async fn the_silence_of_several_is_bounded() {
    let silent: Vec<TcpListener> =
        (0..5).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
    let hosts: Vec<String> = silent.iter().map(|it| it.local_addr().unwrap().to_string()).collect();
    let driver = open(&format!("etcd://{}", hosts.join(","))).await;
    // The bound of a watch that begins.
    let listed = tokio::time::timeout(Duration::from_secs(8), driver.list()).await;
    let error = listed.expect("it ends").unwrap_err();
    assert_eq!(error.to_string().matches("no answer within 2s").count(), hosts.len(), "{error}");
}

#[tokio::test]
async fn credentials_and_permissions() {
    use ErrorKind::Denied;
    let mut etcd = EtcdServer::start(&[]).await;
    let host = format!("127.0.0.1:{}", etcd.port());
    expect(&format!("etcd://u:sesame@{host}"), Denied, &["not enabled", "take user:password@"])
        .await;

    etcd.enable_auth("/mine/instances/").await;
    expect(&format!("etcd://{host}"), Denied, &["put user:password@"]).await;
    let wrong = ["correct the user or the password"];
    expect(&format!("etcd://gosd:sesame@{host}"), Denied, &wrong).await;
    expect(&format!("etcd://nobody:sesame@{host}"), Denied, &wrong).await;

    let allowed = open(&format!("etcd://gosd:p%40ss@{host}?namespace=mine")).await;
    allowed.register(&instance("mail"), LONG_LEASE).await.expect("it may");
    let other = open(&format!("etcd://gosd:p%40ss@{host}?namespace=other")).await;
    let mut watch = other.watch().expect("the driver has a watch");
    let watched = futures_util::StreamExt::next(&mut watch).await.expect("the watch does not end");
    for error in [
        other.list().await.expect_err("it may not"),
        other.register(&instance("mail"), LONG_LEASE).await.expect_err("it may not"),
        other.deregister(instance("mail").id()).await.expect_err("it may not"),
        watched.expect_err("it may not"),
    ] {
        assert_eq!(error.kind(), Denied, "{error}");
        for text in ["gosd may not", "/other/instances/", "grant-permission"] {
            assert!(error.to_string().contains(text), "{error}");
        }
    }
}

#[tokio::test]
async fn to_discover_a_permission_to_read_will_do() {
    let mut etcd = EtcdServer::start(&[]).await;
    etcd.ctl(&["role", "add", "reader"]).await;
    let grant = "role grant-permission reader read --prefix=true /gosd/instances/";
    etcd.ctl(&grant.split(' ').collect::<Vec<_>>()).await;
    etcd.ctl(&["user", "add", "reader:secret"]).await;
    etcd.ctl(&["user", "grant-role", "reader", "reader"]).await;
    etcd.enable_auth("/gosd/instances/").await;
    let host = format!("127.0.0.1:{}", etcd.port());
    let mail = instance("mail");
    open(&format!("etcd://gosd:p%40ss@{host}"))
        .await
        .register(&mail, LONG_LEASE)
        .await
        .expect("it may");
    let reader = open(&format!("etcd://reader:secret@{host}")).await;
    assert_eq!(reader.list().await.expect("it may"), from_ref(&mail));
    assert_eq!(Watch::start(&*reader).await.1, from_ref(&mail));
    for refused in [reader.register(&mail, LONG_LEASE).await, reader.deregister(mail.id()).await] {
        assert_eq!(refused.expect_err("it may not").kind(), ErrorKind::Denied);
    }
}

#[tokio::test]
async fn certificates() {
    let (ours, theirs) = (Certificates::new(), Certificates::new());
    let etcd = EtcdServer::start_tls(&ours, true).await;
    let host = format!("127.0.0.1:{}", etcd.port());
    for case in tls_cases(&ours, &theirs) {
        let listed = open(&format!("etcds://{host}?{}", case.query)).await.list().await;
        let Some(kind) = case.kind else {
            assert_eq!(listed.unwrap(), [], "{case:?}");
            continue;
        };
        let error = listed.expect_err(&case.query);
        assert_eq!(format!("{:?}", error.kind()), kind, "{case:?}: {error}");
        assert!(error.to_string().contains(&case.says), "{case:?}: {error}");
    }
    expect(&format!("etcd://{host}"), ErrorKind::Config, &["speaks TLS", "etcds"]).await;
}

#[tokio::test]
async fn tls_where_there_is_none() {
    let etcd = EtcdServer::start(&[]).await;
    let url = format!("etcds://u:sesame@127.0.0.1:{}", etcd.port());
    expect(&url, ErrorKind::Config, &["does not speak TLS", "etcd"]).await;
}
