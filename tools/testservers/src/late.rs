//! Calls that reach the server after those that were made later, by another connection.

use std::sync::Arc;
use std::time::Duration;

use gosd_core::{Driver, Instance};
use tokio::time::timeout;

use crate::Proxy;

/// A lease longer than any test.
const LONG_LEASE: Duration = Duration::from_secs(600);
/// How long a caller waits for a registration that does not arrive.
const GIVES_UP: Duration = Duration::from_millis(100);

/// Requires that a registration that was given up on its way undoes neither a goodbye nor a change that was made
/// after it, though it arrives later.
///
/// `connect` returns a driver and the proxy between it and its server, new ones each time.
pub async fn late_registrations_undo_nothing<S: AsyncFn() -> (Proxy, Arc<dyn Driver>)>(connect: S) {
    for is_known in [true, false] {
        let (proxy, driver) = connect().await;
        let [leaves, other] = [instance(), instance()];
        register(&*driver, if is_known { &leaves } else { &other }).await;
        send_late(&proxy, &*driver, &leaves).await;
        driver.deregister(leaves.id()).await.expect("by another connection");
        proxy.deliver().await;
        let listed = driver.list().await.expect("a list");
        assert!(!listed.contains(&leaves), "registered before: {is_known}");
        // It may come back, since that is another call.
        register(&*driver, &leaves).await;
        assert!(driver.list().await.expect("a list").contains(&leaves));
    }
    let (proxy, driver) = connect().await;
    let before = instance();
    let after = before.clone().with_metadata("drains", "yes");
    register(&*driver, &before).await;
    send_late(&proxy, &*driver, &before).await;
    register(&*driver, &after).await;
    proxy.deliver().await;
    let listed = driver.list().await.expect("a list");
    assert!(listed.contains(&after) && !listed.contains(&before));
}

async fn send_late(proxy: &Proxy, driver: &dyn Driver, instance: &Instance) {
    proxy.delay().await;
    let call = driver.register(instance, LONG_LEASE);
    timeout(GIVES_UP, call).await.expect_err("it waits");
}

async fn register(driver: &dyn Driver, instance: &Instance) {
    driver.register(instance, LONG_LEASE).await.expect("it is registered");
}

fn instance() -> Instance {
    Instance::new("mail", "http://10.0.0.7:25").expect("it is good")
}
