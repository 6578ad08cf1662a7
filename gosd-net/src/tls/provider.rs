//! Which cryptography TLS uses.

use std::sync::Arc;

use gosd_core::{Error, ErrorKind, Result};
use rustls::crypto::CryptoProvider;

/// The provider of the process if it has installed one, else the one that a feature has compiled in.
///
/// With both `tls-aws-lc` and `tls-ring` it is AWS-LC, which is what rustls itself prefers.
///
/// # Errors
///
/// [`Config`](ErrorKind::Config) if there is none, saying how to get one.
pub fn provider() -> Result<Arc<CryptoProvider>> {
    CryptoProvider::get_default().cloned().or_else(compiled_in).ok_or_else(|| {
        Error::new(
            ErrorKind::Config,
            "TLS needs a provider of cryptography, and none is compiled in: enable the feature \
             tls-aws-lc or tls-ring of gosd, or install one before with \
             rustls::crypto::CryptoProvider::install_default",
        )
    })
}

#[cfg(feature = "tls-aws-lc")]
fn compiled_in() -> Option<Arc<CryptoProvider>> {
    Some(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
}

#[cfg(all(feature = "tls-ring", not(feature = "tls-aws-lc")))]
fn compiled_in() -> Option<Arc<CryptoProvider>> {
    Some(Arc::new(rustls::crypto::ring::default_provider()))
}

#[cfg(not(any(feature = "tls-aws-lc", feature = "tls-ring")))]
fn compiled_in() -> Option<Arc<CryptoProvider>> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_one_with_a_feature_and_else_advice() {
        let has_one = cfg!(any(feature = "tls-aws-lc", feature = "tls-ring"));
        match provider() {
            Ok(_) => assert!(has_one),
            Err(error) => {
                assert!(!has_one);
                assert_eq!(error.kind(), ErrorKind::Config);
                for hint in ["tls-aws-lc", "tls-ring", "install_default"] {
                    assert!(error.to_string().contains(hint), "{error}");
                }
            }
        }
        // Whatever there is, it was not installed for the rest of the program.
        assert!(CryptoProvider::get_default().is_none());
    }
}
