//! The API as a part of another application.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use futures_util::StreamExt;
use gosd_core::{ErrorKind, Memory};
use gosd_server::{Settings, Streams, router_and_streams};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::support::{LATE, LEASE, ask, http, instance, open};

const TOKEN: &str = "sesame-sesame-sesame";

/// An application that ends gracefully: its address, the signal to end, and its task.
struct Host {
    address: SocketAddr,
    streams: Streams,
    stop: oneshot::Sender<()>,
    ended: JoinHandle<std::io::Result<()>>,
}

async fn host(settings: Settings) -> Host {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
    let address = listener.local_addr().expect("it is bound");
    let (api, streams) = router_and_streams(settings);
    let app = Router::new().nest("/registry", api);
    let app = app.into_make_service_with_connect_info::<SocketAddr>();
    let (stop, stopped) = oneshot::channel();
    let ending = async { stopped.await.unwrap_or_default() };
    let server = axum::serve(listener, app).with_graceful_shutdown(ending);
    Host { address, streams, stop, ended: tokio::spawn(server.into_future()) }
}

fn settings() -> Settings {
    Settings::new().namespace("gosd", Arc::new(Memory::new())).expect("a good name")
}

#[tokio::test]
async fn the_driver_takes_the_prefix_from_its_url() {
    let host = host(settings().token(TOKEN).unwrap()).await;
    let driver = open(&format!("http://:{TOKEN}@{}/registry/", host.address)).await;
    let mail = instance("mail");
    driver.register(&mail, LEASE).await.unwrap();
    assert_eq!(driver.list().await.unwrap(), [mail]);
    let health = ask(http().get(format!("http://{}/registry/health", host.address))).await;
    assert_eq!(health.status, 200, "it needs no token here either");
    let error = open(&format!("http://{}/registry", host.address)).await.list().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Denied);
}

#[tokio::test]
async fn mounted_streams_end_with_the_application() {
    let host = host(settings()).await;
    let url = format!("http://{}/registry", host.address);
    let driver = open(&url).await;
    let mut watch = driver.watch().unwrap();
    assert!(watch.next().await.unwrap().is_ok());
    host.streams.end();
    assert!(timeout(LATE, watch.next()).await.unwrap().unwrap().is_err());
    // A client that connects again before the application has ended gets a 503.
    let events = ask(http().get(format!("{url}/v1/gosd/events"))).await;
    assert_eq!(events.status, 503);
    assert_eq!(driver.list().await.unwrap(), []);
    drop((driver.watch(), host.stop.send(())));
    timeout(LATE, host.ended).await.expect("nothing holds it up").unwrap().unwrap();
}
