//! A server on a Unix socket.
#![cfg(unix)]

use std::sync::Arc;

use futures_util::StreamExt;
use gosd_core::{ErrorKind, Event, Memory};
use gosd_server::{Settings, serve_unix};

use super::support::{LEASE, instance, open};

#[tokio::test]
async fn a_server_is_reached_by_its_path() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("gosd.sock");
    let driver = open(&format!("http+unix://{}?namespace=n", path.display())).await;
    let error = driver.list().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    assert!(error.to_string().contains("gosd.sock"), "{error}");

    let settings = Settings::new().namespace("n", Arc::new(Memory::new())).unwrap();
    let server = serve_unix(&path, settings).await.unwrap();
    let mail = instance("mail");
    driver.register(&mail, LEASE).await.unwrap();
    assert_eq!(driver.list().await.unwrap(), std::slice::from_ref(&mail));
    let mut watch = driver.watch().unwrap();
    assert_eq!(watch.next().await.unwrap().unwrap(), Event::Reset(vec![mail.clone()]));
    driver.deregister(mail.id()).await.unwrap();
    assert_eq!(watch.next().await.unwrap().unwrap(), Event::Remove(mail.id().clone()));
    server.shutdown().await;
    assert_eq!(watch.next().await.unwrap().unwrap_err().kind(), ErrorKind::Unavailable);
}
