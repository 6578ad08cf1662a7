//! A registered client that is dropped without a goodbye logs a warning.

mod log;

use std::sync::Arc;

use gosd_core::{Client, Memory};
use log::Log;

#[tokio::test(start_paused = true)]
async fn one_warning_is_logged_for_a_registered_client_that_is_forgotten() {
    let log = Log::default();
    let _logging = tracing::subscriber::set_default(log.clone());
    let builder = || Client::builder(Arc::new(Memory::new())).handle_signals(true);
    let forgotten = builder().register("mail", "http://10.0.0.7").start().await.unwrap();
    let clone = forgotten.clone();
    drop(forgotten);
    assert_eq!(log.warnings("goodbye").len(), 0, "there is another clone");
    let id = clone.id().unwrap().to_string();
    drop(clone);
    let warnings = log.warnings("goodbye");
    assert!(warnings.len() == 1 && warnings[0].contains(&id), "{warnings:?}");

    // No warning for a client that only discovers, that has left, or that does not handle signals.
    drop(builder().start().await.unwrap());
    let left = builder().register("mail", "http://10.0.0.7").start().await.unwrap();
    left.leave().await.unwrap();
    drop(left);
    let ended = builder().register("mail", "http://10.0.0.7").start().await.unwrap();
    ended.shutdown().await.unwrap();
    drop(ended);
    let built = Client::builder(Arc::new(Memory::new())).register("mail", "http://10.0.0.7");
    drop(built.start().await.unwrap());
    assert_eq!(log.warnings("goodbye").len(), 1);
}
