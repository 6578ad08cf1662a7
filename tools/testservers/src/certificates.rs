//! TLS certificates for tests: an authority, a server's, and clients' good and bad ones.

use std::fs;
use std::path::PathBuf;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, date_time_ymd};
use tempfile::TempDir;

/// An authority, and certificates that it has signed for a server on the loopback interface and for a client.
#[derive(Debug)]
pub struct Certificates {
    directory: TempDir,
}

impl Certificates {
    /// Makes new certificates, in a directory that is removed on drop.
    #[expect(clippy::new_without_default, reason = "it does more than a default should")]
    pub fn new() -> Self {
        let certificates = Self { directory: TempDir::new().expect("a directory can be made") };
        certificates.renew();
        certificates
    }

    /// Replaces all files by certificates of a new authority.
    pub fn renew(&self) {
        let key = KeyPair::generate().expect("a key can be made");
        let mut params = CertificateParams::new(Vec::new()).expect("no names are good names");
        params.distinguished_name.push(DnType::CommonName, "authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = params.self_signed(&key).expect("the key fits");
        self.write("ca.pem", &authority.pem());
        let issuer = Issuer::new(params, key);
        for name in ["server", "client", "expired"] {
            let key = KeyPair::generate().expect("a key can be made");
            let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
            let mut params = CertificateParams::new(names).expect("the names are good");
            params.distinguished_name.push(DnType::CommonName, name);
            if name == "expired" {
                params.not_after = date_time_ymd(2020, 1, 1);
            }
            let certificate = params.signed_by(&key, &issuer).expect("the keys fit");
            self.write(&format!("{name}.pem"), &certificate.pem());
            self.write(&format!("{name}.key"), &key.serialize_pem());
        }
        // Two damaged roots in front of a good one: no certificate at all, and one that is cut off.
        let none = "-----BEGIN CERTIFICATE-----\nMAMCAQE=\n-----END CERTIFICATE-----\n";
        let cut = "-----BEGIN CERTIFICATE-----\n!!!!\n-----END CERTIFICATE-----\n";
        self.write("bundle.pem", &format!("{none}{cut}{}", authority.pem()));
        self.write("empty.pem", "");
    }

    /// The path of a file: `ca.pem`; `server.pem` and `.key`; `client.pem` and `.key`; `expired.pem` and
    /// `.key`, of a client whose certificate has expired; `bundle.pem`, the authority among damaged ones; and
    /// `empty.pem`.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// The path as text, for arguments and URLs.
    pub fn text(&self, name: &str) -> String {
        self.path(name).to_str().expect("the path is UTF-8").to_owned()
    }

    fn write(&self, name: &str, pem: &str) {
        fs::write(self.path(name), pem).expect("the directory can be written");
    }
}
