//! What a client needs of its runtime, and how it reports that the runtime fails to provide it.

use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};

use gosd_core::{Client, Driver, ErrorKind, Instance, Memory, Registration, Settings, View};
use tokio::runtime::Builder;

use crate::support::{LEASE, SECOND};

/// Awaits a future on a thread that has no runtime.
fn block_on<T>(future: impl Future<Output = T>) -> T {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(value) => return value,
            Poll::Pending => thread::park(),
        }
    }
}

#[test]
fn everything_may_be_awaited_outside_of_the_runtime() {
    let runtime = Builder::new_multi_thread().worker_threads(1).enable_time().build().unwrap();
    let memory = Memory::new();
    let other = Instance::new("web", "http://10.0.0.2").unwrap();
    runtime.block_on(memory.register(&other, LEASE)).unwrap();
    let client = runtime.block_on(Client::builder(Arc::new(memory)).start()).unwrap();
    block_on(async {
        client.refresh().await.unwrap();
        assert_eq!(client.next("web").await.unwrap().id(), other.id());
        assert_eq!(client.deregister_url("http://10.0.0.2").await.unwrap(), 1);
        client.shutdown().await.unwrap();
        let error = client.deregister_url("http://10.0.0.2").await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Closed);
    });
}

#[test]
#[expect(clippy::disallowed_methods, reason = "blocking the runtime is what is tested")]
fn the_status_shows_a_runtime_that_nobody_drives() {
    let memory = Memory::new();
    let runtime = Builder::new_current_thread().enable_time().build().unwrap();
    let settings = Settings::default().lease_ttl(2 * SECOND).timeout(SECOND);
    let builder = Client::builder(Arc::new(memory.clone())).register("mail", "http://10.0.0.1");
    let client = runtime.block_on(builder.settings(settings).start()).unwrap();
    assert!(matches!(client.status().registration, Registration::Registered));
    // The program computes for longer than the lease without awaiting anything.
    thread::sleep(3 * SECOND);
    let status = client.status();
    let Registration::Retrying { error, .. } = &status.registration else { panic!("{status:?}") };
    assert!(error.to_string().contains("is the runtime driven"), "{error}");
    let View::Stale { error, .. } = &status.view else { panic!("{status:?}") };
    assert!(error.to_string().contains("is the runtime driven"), "{error}");
    // Once the runtime is driven again, the client is registered within two seconds.
    runtime.block_on(async { tokio::time::sleep(2 * SECOND).await });
    assert!(matches!(client.status().registration, Registration::Registered));
    assert_eq!(runtime.block_on(memory.list()).unwrap().len(), 1);
}
