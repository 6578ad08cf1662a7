//! Mistakes with certificates, so that every driver is tested with the same ones.

use crate::Certificates;

/// The query of a driver URL, and what the driver has to report when the server asks for a client certificate
/// of `ours`.
#[derive(Debug)]
pub struct TlsCase {
    /// For example `ca=/tmp/x/ca.pem&cert=..&key=..`.
    pub query: String,
    /// The name of the expected kind of error; `None` if the call succeeds.
    pub kind: Option<&'static str>,
    /// A text that the error has to contain.
    pub says: String,
}

/// The cases for a server with the certificates `ours`. `theirs` are of another authority.
pub fn tls_cases(ours: &Certificates, theirs: &Certificates) -> Vec<TlsCase> {
    let file = |name| ours.text(name);
    let identity = |of: &Certificates, cert: &str, key: &str| {
        format!("cert={}&key={}", of.text(cert), of.text(key))
    };
    let (ca, client) =
        (format!("ca={}", file("ca.pem")), identity(ours, "client.pem", "client.key"));
    let refused = "refused the client's certificate";
    let none = "there is no certificate in it";
    let mut cases = Vec::new();
    let mut case = |query: String, kind, says: &str| {
        cases.push(TlsCase { query, kind, says: says.to_owned() });
    };

    case(format!("{ca}&{client}"), None, "");
    // A damaged root does not invalidate the good ones.
    case(format!("ca={}&{client}", file("bundle.pem")), None, "");

    case(ca.clone(), Some("Denied"), refused);
    let expired = identity(ours, "expired.pem", "expired.key");
    case(format!("{ca}&{expired}"), Some("Denied"), refused);
    let foreign = identity(theirs, "client.pem", "client.key");
    case(format!("{ca}&{foreign}"), Some("Denied"), refused);

    let untrusted = "the server's certificate is not trusted";
    case(format!("ca={}&{client}", theirs.text("ca.pem")), Some("Config"), untrusted);
    // The system does not trust this authority.
    case(client.clone(), Some("Config"), untrusted);

    for no_certificate in ["empty.pem", "client.key"] {
        case(format!("ca={}&{client}", file(no_certificate)), Some("Config"), none);
        let identity = identity(ours, no_certificate, "client.key");
        case(format!("{ca}&{identity}"), Some("Config"), none);
    }
    let no_key = identity(ours, "client.pem", "empty.pem");
    case(format!("{ca}&{no_key}"), Some("Config"), "empty.pem");
    let unfit = format!("cert={}&key={}", file("client.pem"), theirs.text("client.key"));
    case(format!("{ca}&{unfit}"), Some("Config"), "do not fit");
    case(format!("ca=/missing/ca.pem&{client}"), Some("Config"), "/missing/ca.pem");
    cases
}
