use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::stream;
use gosd_core::{BoxStream, Driver, Event, Instance, InstanceId, Result};
use tokio::time::sleep;

/// How often a driver without a watch is asked.
const INTERVAL: Duration = Duration::from_secs(1);

type View = BTreeMap<InstanceId, Instance>;

/// Makes a watch of what `list` says time and again.
pub(super) fn watch(driver: &dyn Driver) -> BoxStream<'_, Result<Event>> {
    let state = (None::<View>, Vec::new());
    Box::pin(stream::unfold(state, async move |(mut known, mut events)| {
        loop {
            if let Some(event) = events.pop() {
                return Some((Ok(event), (known, events)));
            }
            if known.is_some() {
                sleep(INTERVAL).await;
            }
            match driver.list().await {
                Ok(all) => (known, events) = changes(known, all),
                // After it, all that is known of is told anew.
                Err(error) => return Some((Err(error), (None, Vec::new()))),
            }
        }
    }))
}

/// What has changed since, the last event first.
fn changes(known: Option<View>, all: Vec<Instance>) -> (Option<View>, Vec<Event>) {
    let view: View = all.iter().map(|instance| (instance.id().clone(), instance.clone())).collect();
    let events = match known {
        // That all are gone at once may be a database that lost its data: clients are to judge.
        Some(known) if !view.is_empty() || known.is_empty() => {
            let gone = known.keys().filter(|id| !view.contains_key(*id)).cloned();
            let put = all.into_iter().filter(|new| known.get(new.id()) != Some(new));
            gone.map(Event::Expire).chain(put.map(Event::Put)).collect()
        }
        _ => vec![Event::Reset(all)],
    };
    (Some(view), events)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use futures_util::StreamExt;
    use gosd_core::{ErrorKind, Memory};
    use gosd_testkit::{Fault, Faulty, Operation};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn it_tells_what_changed() {
        let lease = Duration::from_secs(600);
        let memory = Memory::new();
        let faulty = Faulty::new(Arc::new(memory.clone()));
        let mut watch = watch(&faulty);
        assert_eq!(watch.next().await.unwrap().unwrap(), Event::Reset(Vec::new()));
        let [a, b] = ["a", "b"].map(|name| Instance::new(name, "http://h").unwrap());
        memory.register(&a, lease).await.unwrap();
        assert_eq!(watch.next().await.unwrap().unwrap(), Event::Put(a.clone()));
        memory.register(&b, lease).await.unwrap();
        memory.deregister(a.id()).await.unwrap();
        assert_eq!(watch.next().await.unwrap().unwrap(), Event::Put(b.clone()));
        assert_eq!(watch.next().await.unwrap().unwrap(), Event::Expire(a.id().clone()));
        faulty.on(Operation::List, Fault::Fail(ErrorKind::Unavailable));
        assert!(watch.next().await.unwrap().is_err());
        faulty.clear_all();
        assert_eq!(watch.next().await.unwrap().unwrap(), Event::Reset(vec![b]));
        memory.wipe();
        assert_eq!(watch.next().await.unwrap().unwrap(), Event::Reset(Vec::new()));
    }
}
