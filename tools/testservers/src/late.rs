//! Calls that reach the server after those that were made later, by another connection.

use std::sync::Arc;
use std::time::Duration;

use gosd_core::{Driver, Instance, Result};
use tokio::time::timeout;

use crate::Proxy;

/// A lease longer than any test.
const LONG_LEASE: Duration = Duration::from_secs(600);
/// How long a caller waits for a call that does not arrive.
const GIVES_UP: Duration = Duration::from_millis(100);

/// Requires that a call that was given up on its way undoes nothing that was done after it, though it arrives later.
///
/// `connect` returns a driver and the proxy between it and its server, new ones each time.
pub async fn late_calls_undo_nothing<S: AsyncFn() -> (Proxy, Arc<dyn Driver>)>(connect: S) {
    for is_known in [true, false] {
        let (proxy, driver) = connect().await;
        a_registration_after_its_goodbye(&proxy, &*driver, is_known).await;
        let (proxy, driver) = connect().await;
        a_registration_after_a_change(&proxy, &*driver, is_known).await;
    }
    let (proxy, driver) = connect().await;
    a_change_after_it_was_taken_back(&proxy, &*driver).await;
    for is_repeated in [true, false] {
        let (proxy, driver) = connect().await;
        a_goodbye_after_the_return(&proxy, &*driver, is_repeated).await;
    }
}

async fn a_registration_after_its_goodbye(proxy: &Proxy, driver: &dyn Driver, is_known: bool) {
    let [leaves, other] = [instance(), instance()];
    register(driver, if is_known { &leaves } else { &other }).await;
    late(proxy, driver.register(&leaves, LONG_LEASE)).await;
    driver.deregister(leaves.id()).await.expect("by another connection");
    proxy.deliver().await;
    assert!(!lists(driver, &leaves).await, "registered before: {is_known}");
    // It may come back, since that is another call.
    register(driver, &leaves).await;
    assert!(lists(driver, &leaves).await);
}

async fn a_registration_after_a_change(proxy: &Proxy, driver: &dyn Driver, is_known: bool) {
    let [before, other] = [instance(), instance()];
    register(driver, if is_known { &before } else { &other }).await;
    late(proxy, driver.register(&before, LONG_LEASE)).await;
    let after = changed(&before);
    register(driver, &after).await;
    proxy.deliver().await;
    assert!(lists(driver, &after).await, "registered before: {is_known}");
}

async fn a_change_after_it_was_taken_back(proxy: &Proxy, driver: &dyn Driver) {
    let before = instance();
    register(driver, &before).await;
    late(proxy, driver.register(&changed(&before), LONG_LEASE)).await;
    register(driver, &before).await;
    proxy.deliver().await;
    assert!(lists(driver, &before).await);
}

async fn a_goodbye_after_the_return(proxy: &Proxy, driver: &dyn Driver, is_repeated: bool) {
    let returns = instance();
    register(driver, &returns).await;
    late(proxy, driver.deregister(returns.id())).await;
    if is_repeated {
        driver.deregister(returns.id()).await.expect("by another connection");
    }
    register(driver, &returns).await;
    proxy.deliver().await;
    assert!(lists(driver, &returns).await, "said twice: {is_repeated}");
}

/// Gives a call up while it is on its way, so that later calls overtake it.
async fn late(proxy: &Proxy, call: impl Future<Output = Result<()>>) {
    proxy.delay().await;
    timeout(GIVES_UP, call).await.expect_err("it waits");
}

async fn lists(driver: &dyn Driver, instance: &Instance) -> bool {
    driver.list().await.expect("a list").contains(instance)
}

fn changed(instance: &Instance) -> Instance {
    instance.clone().with_metadata("drains", "yes")
}

async fn register(driver: &dyn Driver, instance: &Instance) {
    driver.register(instance, LONG_LEASE).await.expect("it is registered");
}

fn instance() -> Instance {
    Instance::new("mail", "http://10.0.0.7:25").expect("it is good")
}
