//! Parts that all clauses share: drivers whose calls are bounded in time, and comparisons of views that
//! explain the difference.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use futures_util::stream::{self, StreamExt, TryStreamExt};
use gosd_core::{Driver, ErrorKind, Instance, InstanceId};
use tokio::runtime::Builder;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use crate::{Fixture, NotOffered, Violation};

/// The bound of a driver's call. Core gives a call 5 s; the rest allows for a busy machine.
pub(crate) const CALL: Duration = Duration::from_secs(10);
/// The bound of a fixture's method, which may start servers.
const HOOK: Duration = Duration::from_secs(60);
/// A lease that does not run out during a test.
pub(crate) const LONG_LEASE: Duration = Duration::from_secs(600);
/// How long after the end of a lease the contract still lets the instance be listed.
pub(crate) const GRACE: Duration = Duration::from_secs(2);
/// How much longer than the contract says the kit waits for an event, since the machine may be busy.
pub(crate) const SLACK: Duration = Duration::from_secs(5);
/// The pause between two looks at something that a test waits for.
pub(crate) const PACE: Duration = Duration::from_millis(50);

pub(crate) type Result<T, E = Violation> = std::result::Result<T, E>;
pub(crate) type View = BTreeMap<InstanceId, Instance>;

/// One run of one clause, in its own namespace.
pub(crate) struct Case<'a> {
    pub(crate) clause: u8,
    pub(crate) namespace: String,
    fixture: &'a dyn Fixture,
}

impl<'a> Case<'a> {
    pub(crate) fn new(clause: u8, fixture: &'a dyn Fixture) -> Self {
        // An instance id is unique, short, and made of characters that a namespace may have.
        let namespace = instance("kit").id().to_string();
        Self { clause, namespace, fixture }
    }

    /// A lease that runs out during a test.
    pub(crate) fn lease(&self) -> Duration {
        self.fixture.least_lease().max(Duration::from_secs(1))
    }

    pub(crate) async fn client(&self) -> Result<Client> {
        self.client_of(&self.namespace).await
    }

    pub(crate) async fn client_of(&self, namespace: &str) -> Result<Client> {
        let driver = self.bounded("driver", self.fixture.driver(namespace)).await?;
        Ok(Client { driver, clause: self.clause })
    }

    /// Runs a client as a process that is killed afterwards would: no task, timer or connection of the client
    /// outlives the call, because the runtime that they belong to is dropped.
    pub(crate) async fn in_a_process_that_ends<T: Send>(
        &self,
        work: impl AsyncFnOnce(Client) -> Result<T> + Send,
    ) -> Result<T> {
        let process = || {
            let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build();
            let runtime = runtime.expect("a runtime for the client");
            let result = runtime.block_on(async {
                let result = work(self.client().await?).await;
                Ok((result?, Instant::now()))
            });
            runtime.shutdown_timeout(Duration::from_secs(1));
            result
        };
        match thread::scope(|scope| scope.spawn(process).join()) {
            Ok(result) => {
                let (result, ended_at) = result?;
                // This returns at once, unless the clock of this runtime is paused and has to catch up.
                sleep_until(ended_at).await;
                Ok(result)
            }
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }

    pub(crate) async fn unaffected(&self) -> Result<Option<Client>> {
        let driver = self.bounded("unaffected", self.fixture.unaffected(&self.namespace)).await?;
        Ok(driver.ok().map(|driver| Client { driver, clause: self.clause }))
    }

    pub(crate) async fn interrupt(&self) -> Result<()> {
        self.hook("interrupt", self.fixture.interrupt()).await
    }

    pub(crate) async fn restore(&self) -> Result<()> {
        self.hook("restore", self.fixture.restore()).await
    }

    pub(crate) async fn wipe(&self) -> Result<()> {
        self.hook("wipe", self.fixture.wipe(&self.namespace)).await
    }

    pub(crate) async fn refuse_writes(&self) -> Result<()> {
        self.hook("refuse_writes", self.fixture.refuse_writes()).await
    }

    pub(crate) async fn accept_writes(&self) -> Result<()> {
        self.hook("accept_writes", self.fixture.accept_writes()).await
    }

    pub(crate) async fn write_unreadable(&self) -> Result<()> {
        self.hook("write_unreadable", self.fixture.write_unreadable(&self.namespace)).await
    }

    async fn hook(
        &self,
        name: &str,
        call: impl Future<Output = Result<(), NotOffered>>,
    ) -> Result<()> {
        let offered = self.bounded(name, call).await?;
        offered.map_err(|NotOffered| Violation::not_offered(self.clause, name))
    }

    async fn bounded<T>(&self, name: &str, call: impl Future<Output = T>) -> Result<T> {
        timeout(HOOK, call).await.map_err(|_| {
            let expected = format!("the fixture's `{name}` to return");
            Violation::new(self.clause, expected, format!("nothing within {HOOK:?}"))
        })
    }

    pub(crate) fn fail<T>(
        &self,
        expected: impl Into<String>,
        came: impl Into<String>,
    ) -> Result<T> {
        Err(Violation::new(self.clause, expected, came))
    }
}

/// A driver whose calls are bounded in time, and whose errors become violations.
#[derive(Clone)]
pub(crate) struct Client {
    pub(crate) driver: Arc<dyn Driver>,
    pub(crate) clause: u8,
}

impl Client {
    pub(crate) async fn register(&self, instance: &Instance, lease: Duration) -> Result<()> {
        self.call("register", self.driver.register(instance, lease)).await
    }

    pub(crate) async fn deregister(&self, id: &InstanceId) -> Result<()> {
        self.call("deregister", self.driver.deregister(id)).await
    }

    pub(crate) async fn list(&self) -> Result<Vec<Instance>> {
        self.call("list", self.driver.list()).await
    }

    /// Registers all of them, several at a time.
    pub(crate) async fn register_all<'b>(
        &self,
        instances: impl IntoIterator<Item = &'b Instance>,
        lease: Duration,
    ) -> Result<()> {
        let calls = stream::iter(instances).map(|instance| self.register(instance, lease));
        calls.buffer_unordered(16).try_collect().await
    }

    /// The list, by id. An instance that is listed twice is in the view once.
    pub(crate) async fn view(&self) -> Result<View> {
        Ok(view_of(self.list().await?))
    }

    /// The list of these services, without what it may have of others.
    pub(crate) async fn view_of_services(&self, services: &BTreeSet<String>) -> Result<View> {
        let all = self.call("list_services", self.driver.list_services(services)).await?;
        let asked = all.into_iter().filter(|instance| services.contains(instance.service()));
        Ok(view_of(asked))
    }

    pub(crate) async fn lists(&self, id: &InstanceId) -> Result<bool> {
        Ok(self.view().await?.contains_key(id))
    }

    /// Requires the list to hold exactly the expected instances.
    pub(crate) async fn expect(&self, when: &str, expected: &[&Instance]) -> Result<()> {
        let expected = view_of(expected.iter().copied().cloned());
        match difference(&expected, &self.view().await?) {
            None => Ok(()),
            Some(came) => Err(Violation::new(
                self.clause,
                format!("{when}: `list` to hold exactly what is registered"),
                came,
            )),
        }
    }

    /// Polls `list` until the instance is absent. Its lease began at `since` at the latest.
    pub(crate) async fn expect_expiry(
        &self,
        id: &InstanceId,
        since: Instant,
        lease: Duration,
    ) -> Result<()> {
        let latest = since + lease + GRACE;
        loop {
            let asked_at = Instant::now();
            if !self.lists(id).await? {
                return Ok(());
            }
            if asked_at > latest {
                return Err(Violation::new(
                    self.clause,
                    format!("an instance with a lease of {lease:?} to be gone {GRACE:?} after it"),
                    format!("{id:?} still listed {:?} after its registration", asked_at - since),
                ));
            }
            sleep(PACE).await;
        }
    }

    /// Repeats a call until it succeeds, as core does after an outage.
    pub(crate) async fn retry<T, F>(&self, name: &str, call: impl Fn() -> F) -> Result<T>
    where
        F: Future<Output = gosd_core::Result<T>>,
    {
        let give_up = Instant::now() + CALL + SLACK;
        loop {
            let came = match timeout(CALL, call()).await {
                Ok(Ok(value)) => return Ok(value),
                Ok(Err(error)) => format!("{error:?}"),
                Err(_) => "no answer".to_owned(),
            };
            if Instant::now() > give_up {
                let expected = format!("`{name}` to succeed again once contact is back");
                return Err(Violation::new(self.clause, expected, came));
            }
            sleep(PACE).await;
        }
    }

    async fn call<T>(
        &self,
        name: &str,
        call: impl Future<Output = gosd_core::Result<T>>,
    ) -> Result<T> {
        let came = match timeout(CALL, call).await {
            Ok(Ok(value)) => return Ok(value),
            Ok(Err(error)) => format!("{error:?}"),
            Err(_) => format!("no answer within {CALL:?}"),
        };
        Err(Violation::new(self.clause, format!("`{name}` to succeed"), came))
    }
}

/// Whether core waits for the end of an error of this kind, and tries again.
pub(crate) fn is_outage(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::Unavailable | ErrorKind::Timeout)
}

/// A fresh instance of a service.
pub(crate) fn instance(service: &str) -> Instance {
    Instance::new(service, "http://10.0.0.7:8885").expect("a plain name and URL")
}

/// Many instances of one service.
pub(crate) fn instances(count: usize, service: &str) -> Vec<Instance> {
    (0..count).map(|_| instance(service)).collect()
}

/// The same instance with another URL.
pub(crate) fn moved(instance: &Instance, url: &str) -> Instance {
    let metadata = instance.metadata().clone();
    Instance::from_parts(instance.id().clone(), instance.service(), url, metadata)
}

pub(crate) fn view_of(instances: impl IntoIterator<Item = Instance>) -> View {
    instances.into_iter().map(|instance| (instance.id().clone(), instance)).collect()
}

/// Describes how a view differs from the expected one; `None` if the two are equal.
pub(crate) fn difference(expected: &View, came: &View) -> Option<String> {
    let lacks = |view: &View, id: &InstanceId| !view.contains_key(id);
    let missing = expected.iter().filter(|(id, _)| lacks(came, id));
    let surplus = came.iter().filter(|(id, _)| lacks(expected, id));
    let changed = expected.iter().filter_map(|(id, it)| Some((came.get(id)?, it)));
    let changed = changed.filter(|(now, it)| now != it);
    let parts = [
        some_of("missing", missing.map(|(_, it)| format!("{it:?}"))),
        some_of("not expected", surplus.map(|(_, it)| format!("{it:?}"))),
        some_of("changed", changed.map(|(now, it)| format!("{now:?} for {it:?}"))),
    ];
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    (!parts.is_empty()).then(|| parts.join("; "))
}

fn some_of(what: &str, mut all: impl Iterator<Item = String>) -> Option<String> {
    const SHOWN: usize = 3;
    let shown: Vec<String> = all.by_ref().take(SHOWN).collect();
    let more = match all.count() {
        0 => String::new(),
        n => format!(" and {n} more"),
    };
    (!shown.is_empty()).then(|| format!("{what}: {}{more}", shown.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_lists_three_instances_and_counts_the_rest() {
        let [kept, lost] = [instance("kept"), instance("lost")];
        let crowd: Vec<Instance> = (0..5).map(|_| instance("crowd")).collect();
        let expected = view_of([kept.clone(), lost.clone()]);
        assert_eq!(difference(&expected, &expected), None);
        let came = view_of([moved(&kept, "http://h")].into_iter().chain(crowd));
        let text = difference(&expected, &came).unwrap();
        for part in [
            format!("missing: {lost:?}; "),
            "and 2 more; ".to_owned(),
            format!("changed: {:?} for {kept:?}", came[kept.id()]),
        ] {
            assert!(text.contains(&part), "{text}");
        }
    }
}
