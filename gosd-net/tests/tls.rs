//! TLS between a client and a server, with certificates that are good, bad and renewed.

use std::sync::Arc;

use gosd_core::DriverUrl;
use gosd_net::{ServerTls, Tls, tls};
use gosd_testservers::{Certificates, free_port, strict_tls, tls_cases};
use rustls::ServerConfig;
use rustls::crypto::ring;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

const HOST: &str = "127.0.0.1";

/// Goes by the query of a URL, as drivers do.
fn client(query: &str) -> Tls {
    // A process that has a default: that is the one that counts. Only the first call can succeed.
    let _ = ring::default_provider().install_default();
    let url = DriverUrl::parse(&format!("x://h?{query}")).unwrap();
    Tls::new(url.tls_files().unwrap(), &[]).unwrap()
}

/// Says `x` to each who connects, for as long as the set lives.
async fn serve<F>(config: impl Fn() -> F + Send + 'static) -> (u16, JoinSet<()>)
where
    F: Future<Output = Arc<ServerConfig>> + Send,
{
    let listener = TcpListener::bind((HOST, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        loop {
            let (socket, _) = listener.accept().await.unwrap();
            if let Ok(mut socket) = TlsAcceptor::from(config().await).accept(socket).await {
                // The client may be gone.
                let _ = socket.write_all(b"x").await;
                let _ = socket.shutdown().await;
            }
        }
    });
    (port, tasks)
}

/// A server that asks for certificates of the authority.
async fn strict(certificates: &Certificates) -> (u16, JoinSet<()>) {
    let config = strict_tls(certificates);
    serve(move || std::future::ready(config.clone())).await
}

async fn hears(tls: &Tls, port: u16) -> Result<u8, gosd_core::Error> {
    let mut socket = tls.connect(HOST, port).await?;
    socket.read_u8().await.map_err(|error| gosd_net::connection_error(&error))
}

#[tokio::test]
async fn one_verdict_for_each_kind_of_certificate() {
    let (ours, theirs) = (Certificates::new(), Certificates::new());
    let (port, _server) = strict(&ours).await;
    for case in tls_cases(&ours, &theirs) {
        let tls = client(&case.query);
        let (heard, refusal) = (hears(&tls, port).await, tls.refusal(HOST, port).await);
        let Some(kind) = case.kind else {
            assert_eq!(heard.unwrap(), b'x', "{case:?}");
            assert!(refusal.is_none(), "{case:?}: {refusal:?}");
            continue;
        };
        for error in [heard.err(), refusal] {
            let error = error.unwrap_or_else(|| panic!("nothing is said: {case:?}"));
            assert_eq!(format!("{:?}", error.kind()), kind, "{case:?}: {error}");
            assert!(error.to_string().contains(&case.says), "{case:?}: {error}");
        }
    }
}

#[tokio::test]
async fn renewed_files_count_for_the_next_connection() {
    let certificates = Certificates::new();
    let tls = client(&format!("ca={}", certificates.text("ca.pem")));
    let make = |certificates: &Certificates| {
        ServerTls::new(certificates.path("server.pem"), certificates.path("server.key")).unwrap()
    };
    let server = Arc::new(make(&certificates));
    let of_server = server.clone();
    let (port, _server) = serve(move || {
        let server = of_server.clone();
        async move { server.config().await.unwrap() }
    })
    .await;
    assert_eq!(hears(&tls, port).await.unwrap(), b'x');
    let before = tls.config().await.unwrap();
    assert!(Arc::ptr_eq(&before, &tls.config().await.unwrap()), "made anew for nothing");

    certificates.renew();
    assert!(!Arc::ptr_eq(&before, &tls.config().await.unwrap()), "not made anew");
    // The server looks once a second.
    let all = async {
        while hears(&tls, port).await.is_err() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(60), all).await.expect("they meet again");
}

#[tokio::test]
async fn who_speaks_tls() {
    let certificates = Certificates::new();
    let (secure, _server) = strict(&certificates).await;
    assert!(tls::is_spoken_by(HOST, secure).await);
    assert!(!tls::is_spoken_by(HOST, free_port()).await);
    let plain = TcpListener::bind((HOST, 0)).await.unwrap();
    let port = plain.local_addr().unwrap().port();
    let greets = async {
        let (mut socket, _) = plain.accept().await.unwrap();
        socket.write_all(b"-ERR\r\n").await.unwrap();
        std::future::pending::<()>().await;
    };
    tokio::select! {
        is_spoken = tls::is_spoken_by(HOST, port) => assert!(!is_spoken),
        () = greets => {}
    }
}
