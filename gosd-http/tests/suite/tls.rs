//! An API behind a proxy that asks for client certificates.

use gosd_server::Settings;
use gosd_testservers::{Certificates, TlsFront, tls_cases};

use super::support::{memory, open};

#[tokio::test]
async fn certificates() {
    let (ours, theirs) = (Certificates::new(), Certificates::new());
    let server = memory(Settings::new()).await;
    let front = TlsFront::strict(&ours, server.address().port()).await;
    for case in tls_cases(&ours, &theirs) {
        let url = format!("https://127.0.0.1:{}?{}", front.port(), case.query);
        let listed = open(&url).await.list().await;
        let Some(kind) = case.kind else {
            assert_eq!(listed.unwrap(), [], "{case:?}");
            continue;
        };
        let error = listed.expect_err(&case.query);
        assert_eq!(format!("{:?}", error.kind()), kind, "{case:?}: {error}");
        assert!(error.to_string().contains(&case.says), "{case:?}: {error}");
    }
}
