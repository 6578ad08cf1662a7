//! TLS between a client and a server, with certificates that are good, bad and renewed.

use std::sync::Arc;

use gosd_core::{DriverUrl, ErrorKind};
use gosd_net::{ServerTls, Tls, tls};
use gosd_testservers::{Certificates, free_port};
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
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
    let _ = ring::default_provider().install_default();
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(certificates.path("ca.pem")).unwrap()).unwrap();
    let chain = vec![CertificateDer::from_pem_file(certificates.path("server.pem")).unwrap()];
    let key = PrivateKeyDer::from_pem_file(certificates.path("server.key")).unwrap();
    let verifier = WebPkiClientVerifier::builder(Arc::new(roots)).build().unwrap();
    let config = ServerConfig::builder().with_client_cert_verifier(verifier);
    let config = Arc::new(config.with_single_cert(chain, key).unwrap());
    serve(move || std::future::ready(config.clone())).await
}

async fn hears(tls: &Tls, port: u16) -> Result<u8, gosd_core::Error> {
    let mut socket = tls.connect(HOST, port).await?;
    socket.read_u8().await.map_err(|error| gosd_net::connection_error(&error))
}

#[tokio::test]
async fn one_verdict_for_each_kind_of_certificate() {
    use ErrorKind::{Config, Denied};
    let (ours, theirs) = (Certificates::new(), Certificates::new());
    let (port, _server) = strict(&ours).await;
    let file = |name| ours.text(name);
    let (ca, cert, key) = (file("ca.pem"), file("client.pem"), file("client.key"));
    let identity = format!("cert={cert}&key={key}");
    for ca in [&ca, &file("bundle.pem")] {
        let tls = client(&format!("ca={ca}&{identity}"));
        assert_eq!(hears(&tls, port).await.unwrap(), b'x', "{ca}");
        assert!(tls.refusal(HOST, port).await.is_none(), "{ca}");
    }
    for (query, kind, said) in [
        (format!("ca={ca}"), Denied, "refused the client's certificate"),
        (
            format!("ca={ca}&cert={}&key={}", file("expired.pem"), file("expired.key")),
            Denied,
            "refused the client's certificate",
        ),
        (
            format!("ca={ca}&cert={}&key={}", theirs.text("client.pem"), theirs.text("client.key")),
            Denied,
            "refused the client's certificate",
        ),
        (format!("ca={}&{identity}", theirs.text("ca.pem")), Config, "see ca in the URL"),
        // The system does not know our authority.
        (identity.clone(), Config, "see ca in the URL"),
        (format!("ca={}&{identity}", file("empty.pem")), Config, "no certificate in it"),
        (format!("ca={key}&{identity}"), Config, "no certificate in it"),
        (format!("ca={ca}&cert={cert}&key={}", theirs.text("client.key")), Config, "do not fit"),
        (format!("ca={ca}&cert={}&key={key}", file("empty.pem")), Config, "no certificate in it"),
        (format!("ca={ca}&cert={cert}&key={}", file("empty.pem")), Config, "empty.pem"),
        ("ca=/missing/ca.pem".to_owned(), Config, "/missing/ca.pem"),
    ] {
        let tls = client(&query);
        let error = hears(&tls, port).await.expect_err(&query);
        assert_eq!(error.kind(), kind, "{query}: {error}");
        assert!(error.to_string().contains(said), "{query}: {error}");
        let refusal = tls.refusal(HOST, port).await.expect(&query);
        assert_eq!(refusal.kind(), kind, "{query}: {refusal}");
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
