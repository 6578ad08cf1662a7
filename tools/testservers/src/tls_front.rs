//! TLS in front of a server that has none; clients have to present a certificate too.

use std::sync::Arc;

use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use crate::Certificates;

/// A port with TLS that forwards to a server on the loopback interface.
#[derive(Debug)]
pub struct TlsFront {
    port: u16,
    _task: JoinSet<()>,
}

impl TlsFront {
    /// Starts a front that asks each client for a certificate of the authority.
    pub async fn strict(certificates: &Certificates, server: u16) -> Self {
        let acceptor = TlsAcceptor::from(strict_tls(certificates));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        let port = listener.local_addr().expect("it is bound").port();
        let mut task = JoinSet::new();
        task.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                let acceptor = acceptor.clone();
                connections.spawn(async move {
                    let client = acceptor.accept(client).await;
                    let server = TcpStream::connect(("127.0.0.1", server)).await;
                    if let (Ok(mut client), Ok(mut server)) = (client, server) {
                        // Either side may end the connection at any time.
                        let _ = copy_bidirectional(&mut client, &mut server).await;
                    }
                });
            }
        });
        Self { port, _task: task }
    }

    /// The port that it listens on.
    pub fn port(&self) -> u16 {
        self.port
    }
}

/// The TLS configuration of a server that asks for client certificates of the authority.
pub fn strict_tls(certificates: &Certificates) -> Arc<ServerConfig> {
    let file = |name| CertificateDer::from_pem_file(certificates.path(name)).expect("it is good");
    let mut roots = RootCertStore::empty();
    roots.add(file("ca.pem")).expect("it is an authority's");
    let key = PrivateKeyDer::from_pem_file(certificates.path("server.key")).expect("it is good");
    let provider = Arc::new(ring::default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider.clone());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("the provider has ciphers for each")
        .with_client_cert_verifier(verifier.build().expect("there is an authority"))
        .with_single_cert(vec![file("server.pem")], key)
        .expect("the key fits");
    Arc::new(config)
}
