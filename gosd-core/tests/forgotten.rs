//! A client that is dropped while it is registered: nobody says goodbye, and the log says so.

mod log;

use std::sync::Arc;

use gosd_core::{Client, Memory};
use log::Log;

#[tokio::test(start_paused = true)]
async fn a_registered_client_that_is_forgotten_is_warned_of_once() {
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

    // Who only discovers, has left, or builds a client that signals do not concern, forgot nothing.
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
