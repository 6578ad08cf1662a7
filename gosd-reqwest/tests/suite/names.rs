//! Certificates for service names, and which name is resolved.

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::StreamExt;
use gosd::{Client, Driver, Instance, Memory, Settings};
use gosd_reqwest::{Resolver, SendBy};
use rcgen::{CertifiedKey, generate_simple_self_signed};
use reqwest::tls::Certificate;
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::PrivateKeyDer;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

use crate::server::{Reply, Server, serve};
use crate::support::{http, knowing, nobody, with_settings};

/// A server with a certificate for one name.
struct TlsServer {
    port: u16,
    certificate: Certificate,
    received: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl TlsServer {
    async fn start(name: &str) -> Self {
        let CertifiedKey { cert, signing_key } =
            generate_simple_self_signed([name.to_owned()]).unwrap();
        let key = PrivateKeyDer::try_from(signing_key.serialize_der()).unwrap();
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![cert.der().clone()], key)
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let received = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&received);
        let task = tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                if let Ok(socket) = acceptor.accept(socket).await {
                    serve(socket, Reply::Status(200), Arc::clone(&count)).await;
                }
            }
        });
        let certificate = Certificate::from_der(cert.der()).unwrap();
        Self { port, certificate, received, task }
    }

    fn client(&self) -> reqwest::ClientBuilder {
        // Without a pool, because the server serves one connection at a time.
        let builder = reqwest::Client::builder().no_proxy().pool_max_idle_per_host(0);
        builder.tls_certs_only([self.certificate.clone()])
    }
}

impl Drop for TlsServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[tokio::test]
async fn a_certificate_may_name_the_service() {
    let server = TlsServer::start("orders").await;
    let gosd = knowing([format!("https://127.0.0.1:{}", server.port)]).await;
    let named = server.client().dns_resolver(Resolver::new(gosd.clone())).build().unwrap();
    named.get("https://orders/7").send().await.unwrap();
    assert_eq!(server.received.load(Ordering::SeqCst), 1);

    // At the instance's own address the same certificate is refused, and no request arrives.
    let error = server.client().build().unwrap().get("gosd://orders/7").send_by(&gosd).await;
    error.unwrap_err();
    assert_eq!(server.received.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_certificate_may_name_the_host() {
    let server = TlsServer::start("localhost").await;
    let gosd = knowing([format!("https://localhost:{}/api", server.port)]).await;
    let http = server.client().build().unwrap();
    http.get("gosd://orders/7").send_by(&gosd).await.unwrap();
    assert_eq!(server.received.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn connections_by_the_resolver_go_in_turn_and_pass_dead_instances() {
    let servers =
        [Server::start(Reply::Status(200)).await, Server::start(Reply::Status(200)).await];
    let gosd = knowing(servers.iter().map(Server::url).chain([nobody()])).await;
    let http = reqwest::Client::builder()
        .no_proxy()
        .pool_max_idle_per_host(0)
        .dns_resolver(Resolver::new(gosd))
        .build()
        .unwrap();
    for _ in 0..30 {
        http.get("http://orders/7").send().await.unwrap();
    }
    let mut received = servers.each_ref().map(Server::received);
    received.sort_unstable();
    // The dead instance's share goes to the one after it.
    assert_eq!(received, [10, 20]);
}

#[tokio::test]
async fn no_connection_by_the_resolver_goes_to_a_drained_instance() {
    let [drained, live] =
        [Server::start(Reply::Status(200)).await, Server::start(Reply::Status(200)).await];
    let memory = Arc::new(Memory::new());
    let gosd = Client::builder(Arc::clone(&memory) as _).start().await.unwrap();
    let target = gosd.add_local("orders", &drained.url()).unwrap();
    let dead = gosd.add_local("orders", &nobody()).unwrap();
    let last = gosd.add_local("orders", &live.url()).unwrap();
    let mut changes = gosd.changes();
    memory.register(&Instance::drain_of(&target), Duration::from_secs(600)).await.unwrap();
    while gosd.drained().is_empty() {
        changes.next().await;
    }
    let http = reqwest::Client::builder()
        .no_proxy()
        .pool_max_idle_per_host(0)
        .dns_resolver(Resolver::new(gosd.clone()))
        .build()
        .unwrap();
    // While it is the turn of the dead instance, the live one is the next, and not the drained one.
    for _ in 0..10 {
        http.get("http://orders/7").send().await.unwrap();
    }
    assert_eq!((drained.received(), live.received()), (0, 10));

    // Nor does a connection go there if there is no other way: whoever drains an instance wants none there.
    assert!(gosd.remove_local(&last));
    http.get("http://orders/7").send().await.unwrap_err();
    assert!(gosd.remove_local(&dead));
    assert_eq!(drained.received(), 0);
}

#[tokio::test]
async fn a_client_that_takes_https_alone_passes_other_instances_over() {
    let (tls, plain) =
        (TlsServer::start("localhost").await, Server::start(Reply::Status(200)).await);
    let settings = Settings::default().eject_after(0);
    let urls = [format!("https://localhost:{}", tls.port), plain.url()];
    let gosd = with_settings(settings, urls).await;
    let http = tls.client().https_only(true).build().unwrap();
    for _ in 0..4 {
        http.post("gosd://orders/7").send_by(&gosd).await.unwrap();
    }
    assert_eq!((tls.received.load(Ordering::SeqCst), plain.received()), (4, 0));
}

#[tokio::test]
async fn the_resolver_resolves_services_only() {
    let gosd = knowing([nobody()]).await;
    let settings = Settings::default().try_find_service_amount(0);
    let nobody = with_settings(settings, []).await;
    drop(gosd);
    let http =
        reqwest::Client::builder().no_proxy().dns_resolver(Resolver::new(nobody)).build().unwrap();
    let error = http.get("http://localhost/").send().await.unwrap_err();
    assert!(format!("{error:?}").contains("no instance of"), "{error:?}");
}

/// The variable that is set in the child process of the next test, which has a proxy in its environment.
const IN_CHILD: &str = "GOSD_REQWEST_TEST_PROXIED";

#[tokio::test]
#[expect(clippy::disallowed_methods, reason = "the child is told so by its environment")]
async fn no_proxy_is_asked() {
    let proxy = Server::start(Reply::Status(200)).await;
    if let Ok(url) = std::env::var(IN_CHILD) {
        let gosd = knowing([url.clone()]).await;
        http().get("gosd://orders/7").send_by(&gosd).await.unwrap();
        let by_name =
            reqwest::Client::builder().no_proxy().dns_resolver(Resolver::new(gosd.clone()));
        by_name.build().unwrap().get("http://orders/7").send().await.unwrap();
        // A client without `no_proxy` asks the proxy.
        reqwest::Client::new().get("gosd://orders/7").send_by(&gosd).await.unwrap();
        return;
    }
    let server = Server::start(Reply::Status(200)).await;
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.args(["--exact", "names::no_proxy_is_asked"]).env(IN_CHILD, server.url());
    for name in ["HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"] {
        child.env(name, proxy.url());
    }
    child.env_remove("NO_PROXY").env_remove("no_proxy");
    let ended = tokio::task::spawn_blocking(move || child.output().unwrap()).await.unwrap();
    assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stdout));
    assert_eq!((server.received(), proxy.received()), (2, 1));
}
