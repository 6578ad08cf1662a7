//! Driver URLs as people write them: each opens the intended driver, or the error says what to write.

use gosd::{Drivers, ErrorKind};

#[tokio::test]
async fn a_url_opens_the_intended_driver() {
    for url in [
        "sqlite:",
        "sqlite",
        "sqlite:./a b.db",
        "sqlite:///var/lib/gosd.db",
        "redis:",
        "REDIS://localhost:6379/0",
        "redis://[::1]:6379/0",
        "redis+sentinel://a,b/mymaster/0",
        "postgres://user:password@a,b:5433/db?target_session_attrs=read-write",
        "postgresql://localhost/db?sslmode=disable",
        "etcd://a:2379,b:2379/",
        "http://localhost",
        "http+unix:///run/gosd.sock",
    ] {
        let opened = Drivers::compiled().open(url).await;
        assert!(opened.is_ok(), "{url:?}: {:?}", opened.err());
    }
}

#[tokio::test]
async fn the_error_of_a_wrong_url_says_what_to_write() {
    for (url, hint) in [
        ("redis+unix:///run/redis.sock", "write redis://127.0.0.1:6379"),
        ("unix:///run/redis.sock", "http+unix:///"),
        ("redis:///run/redis.sock", "write redis://127.0.0.1:6379"),
        ("redis://host:6379#x", "has a #"),
        ("redis://host:6379 ", "a port"),
        (" redis://host:6379", "begins with \" redis\""),
        ("redis: //host", "//"),
        ("etcd://a:2379, b:2379", "no host name has"),
        ("http+unix://%2Frun%2Fgosd.sock", "http+unix:///path"),
        ("http://h#x", "has a #"),
        ("etcd://h#x", "has a #"),
        ("sqlite: ", "space"),
        ("sqlite:gosd.db ", "space"),
        ("sqlite:/", "a file in that folder"),
        ("sqlite://data/gosd.db", "write sqlite:path"),
        ("sqlite3:gosd.db", "sqlite:/path"),
    ] {
        let error = Drivers::compiled().open(url).await.err();
        let error = error.unwrap_or_else(|| panic!("{url:?} is opened"));
        assert_eq!(error.kind(), ErrorKind::Config, "{url:?}: {error}");
        assert!(error.to_string().contains(hint), "{url:?}: {error}");
    }
}
