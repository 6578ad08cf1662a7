//! A runtime that lacks a component: the error says what to enable, and nothing is printed to standard error.

use std::panic;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use gosd::{Client, Drivers, ErrorKind, Memory};
use tempfile::TempDir;
use tokio::runtime::Builder;

/// This is the only test in the file, because it counts every panic of the process.
#[test]
fn a_missing_component_of_the_runtime_is_an_error_and_no_panic() {
    static PANICS: AtomicUsize = AtomicUsize::new(0);
    panic::set_hook(Box::new(|panic| {
        PANICS.fetch_add(1, Ordering::SeqCst);
        eprintln!("{panic}");
    }));
    let folder = TempDir::new().unwrap();
    let sqlite = format!("sqlite:{}", folder.path().join("gosd.db").display());
    let kinds: [fn() -> Builder; 2] = [Builder::new_current_thread, Builder::new_multi_thread];
    for mut runtime in kinds.map(|make| make().enable_io().build().unwrap()) {
        let error = runtime.block_on(async {
            let driver = Drivers::compiled().open(&sqlite).await.unwrap();
            Client::builder(driver)
                .register("mail", "http://10.0.0.7:25")
                .start()
                .await
                .unwrap_err()
        });
        assert_eq!(error.kind(), ErrorKind::Config);
        assert!(error.to_string().contains("enable_time()"), "{error}");

        runtime = Builder::new_current_thread().enable_time().build().unwrap();
        for url in [
            "redis://127.0.0.1:1",
            "postgres://127.0.0.1:1",
            "etcd://127.0.0.1:1",
            "http://127.0.0.1:1",
        ] {
            let opened = runtime.block_on(Drivers::compiled().open(url));
            let error = opened.err().expect("it can never connect");
            assert_eq!(error.kind(), ErrorKind::Config);
            assert!(error.to_string().contains("enable_io()"), "{error}");
        }
        // These drivers do not need the runtime's I/O.
        runtime.block_on(async {
            for driver in
                [Drivers::compiled().open(&sqlite).await.unwrap(), Arc::new(Memory::new())]
            {
                let client = Client::builder(driver).register("mail", "http://10.0.0.7:25");
                client.start().await.unwrap().shutdown().await.unwrap();
            }
        });
    }
    assert_eq!(PANICS.load(Ordering::SeqCst), 0);
    // Other panics are printed as before.
    assert!(panic::catch_unwind(|| panic!("as usual")).is_err());
    assert_eq!(PANICS.load(Ordering::SeqCst), 1);
}
