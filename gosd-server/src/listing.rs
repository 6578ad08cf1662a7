//! The list of a driver, read once for all clients that ask at the same time, and serialised once.

use std::collections::{BTreeSet, HashMap};
use std::hash::{BuildHasher, Hash, Hasher, RandomState};
use std::ops::Range;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use gosd_core::{Driver, Error, ErrorKind, Instance, InstanceId, Result};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

use crate::call::{CALL, bounded};
use crate::grouped::Grouped;
use crate::snapshot::{Reader, Superseded};
use crate::targets::group;
use crate::task::Task;

/// A list of this many instances takes so long to serialise that other tasks would notice.
const LARGE: usize = 500;
/// The longest pause between two reads.
pub(crate) const PAUSE: Duration = Duration::from_millis(250);

/// All instances of a namespace as a list shows them: by service, and then by id.
#[derive(Default)]
pub(crate) struct Listing {
    all: Grouped,
    ids: HashMap<InstanceId, Range<usize>>,
    /// A hash of the instances of each service, by where in the items they begin.
    hashes: HashMap<usize, u64>,
    hash_of_all: u64,
    /// Made for the first client that asks for it.
    targets: OnceLock<Grouped>,
}

impl Listing {
    /// `keys` are those of the entity tags. Without them nobody can construct two lists with the same tag.
    fn new(mut instances: Vec<Instance>, keys: &impl BuildHasher) -> Self {
        instances.sort_unstable_by(|a, b| (a.service(), a.id()).cmp(&(b.service(), b.id())));
        let (all, parts) = Grouped::new(instances.iter().map(|one| (one.service(), one.to_json())));
        let ids = instances.iter().map(|one| one.id().clone()).zip(parts).collect();
        let hash = |part: Range<usize>| (part.start, keys.hash_one(&all.items[part]));
        let hashes: Vec<_> = all.services().map(hash).collect();
        let hash_of_all = keys.hash_one(&hashes);
        let hashes = hashes.into_iter().collect();
        Self { all, ids, hashes, hash_of_all, targets: OnceLock::new() }
    }

    /// The JSON of one instance.
    pub(crate) fn one(&self, id: &InstanceId) -> Option<Vec<u8>> {
        self.ids.get(id).map(|part| self.all.items[part.clone()].to_vec())
    }

    /// The list of some services, or of all, and its entity tag.
    ///
    /// The tag is made from the services' hashes, so that a request does not cost a look at the whole list. `keys`
    /// are those with which the listing was made.
    pub(crate) fn list(
        &self,
        services: Option<&BTreeSet<String>>,
        keys: &impl BuildHasher,
    ) -> (Reader, String) {
        let parts = self.all.parts(services);
        let mut hasher = keys.build_hasher();
        match services {
            None => self.hash_of_all.hash(&mut hasher),
            // A service without instances has no part of the items, and no hash.
            Some(_) => {
                let hashes = parts.iter().filter(|part| !part.is_empty());
                hashes.for_each(|part| self.hashes.get(&part.start).hash(&mut hasher));
            }
        }
        let length: usize = parts.iter().map(ExactSizeIterator::len).sum();
        let tag = format!("\"{:016x}{length:x}\"", hasher.finish());
        (Reader::of_parts(&self.all.items, parts, "{\"instances\":[".into(), "]}"), tag)
    }

    /// The scrape targets of one service, or of all.
    pub(crate) async fn targets(self: Arc<Self>, service: Option<&str>) -> Result<Reader> {
        let listing = if self.targets.get().is_none() && self.ids.len() >= LARGE {
            blocking(move || {
                self.make_targets();
                self
            })
            .await?
        } else {
            self
        };
        let targets = listing.make_targets();
        Ok(Reader::new(&targets.items, targets.part(service), "[".into(), "]"))
    }

    fn make_targets(&self) -> &Grouped {
        self.targets.get_or_init(|| {
            let mut parts: Vec<_> = self.ids.values().cloned().collect();
            parts.sort_unstable_by_key(|part| part.start);
            let read = |part| str::from_utf8(&self.all.items[part]).ok().map(Instance::from_json);
            // This function reads what this file has written, so no item is skipped.
            let instances: Vec<_> = parts.into_iter().filter_map(read).flatten().collect();
            let groups = instances.iter().filter_map(|one| Some((one.service(), group(one)?)));
            Grouped::new(groups).0
        })
    }

    /// Keeps the items for the clients that still read them, although the list is no longer current.
    fn supersede(&self, superseded: &Superseded) {
        superseded.keep(Arc::clone(&self.all.items));
        if let Some(targets) = self.targets.get() {
            superseded.keep(Arc::clone(&targets.items));
        }
    }
}

/// Reads a driver's list for all clients.
///
/// There is one read at a time, so that a database that serves one call after another is never kept from a
/// write by more than one read. After each read there is a pause, as long as it took, up to [`PAUSE`].
pub(crate) struct Lists {
    /// How many clients have asked.
    asked: watch::Sender<u64>,
    /// The number of the last client that was served, and the result.
    served: Arc<watch::Sender<(u64, Result<Arc<Listing>>)>>,
    /// The keys of the entity tags.
    keys: RandomState,
    task: OnceLock<Task>,
}

impl Lists {
    pub(crate) fn new(keys: RandomState) -> Self {
        Self {
            asked: watch::Sender::new(0),
            served: Arc::new(watch::Sender::new((0, Ok(Arc::default())))),
            keys,
            task: OnceLock::new(),
        }
    }

    /// The list, from a read that begins after this call.
    pub(crate) async fn read(
        &self,
        driver: &Arc<dyn Driver>,
        superseded: &Arc<Superseded>,
    ) -> Result<Arc<Listing>> {
        self.task.get_or_init(|| {
            let (asked, served) = (self.asked.subscribe(), Arc::clone(&self.served));
            let (driver, superseded) = (Arc::clone(driver), Arc::clone(superseded));
            Task::spawn(serve(driver, superseded, self.keys.clone(), asked, served))
        });
        let mut served = self.served.subscribe();
        let mut ticket = 0;
        self.asked.send_modify(|asked| {
            *asked += 1;
            ticket = *asked;
        });
        let late = || Error::new(ErrorKind::Timeout, "the database is busy with other lists");
        // One read may be under way already, and the next one serves this call.
        let answer = timeout(2 * CALL, served.wait_for(|(last, _)| *last >= ticket)).await;
        match answer {
            Ok(Ok(served)) => served.1.clone(),
            _ => Err(late().at(driver.name(), "list")),
        }
    }
}

/// Reads whenever a client has asked, until no client can ask any more.
async fn serve(
    driver: Arc<dyn Driver>,
    superseded: Arc<Superseded>,
    keys: RandomState,
    mut asked: watch::Receiver<u64>,
    served: Arc<watch::Sender<(u64, Result<Arc<Listing>>)>>,
) {
    let mut last = Arc::<Listing>::default();
    let mut ticket = 0;
    while let Ok(now) = asked.wait_for(|asked| *asked > ticket).await.map(|asked| *asked) {
        ticket = now;
        let started_at = Instant::now();
        let result = match bounded(&*driver, "list", || driver.list()).await {
            Ok(instances) => listing(instances, &keys).await,
            Err(error) => Err(error),
        };
        let result = result.map(|new| {
            if new.all.items != last.all.items {
                std::mem::replace(&mut last, Arc::new(new)).supersede(&superseded);
            }
            Arc::clone(&last)
        });
        served.send_modify(|served| *served = (ticket, result));
        sleep(started_at.elapsed().min(PAUSE)).await;
    }
}

async fn listing(instances: Vec<Instance>, keys: &RandomState) -> Result<Listing> {
    if instances.len() < LARGE {
        return Ok(Listing::new(instances, keys));
    }
    let keys = keys.clone();
    blocking(move || Listing::new(instances, &keys)).await
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(|ended| {
        Error::new(ErrorKind::Unavailable, "the runtime is ending").caused_by(ended)
    })
}

#[cfg(test)]
mod tests {
    use std::hash::DefaultHasher;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures_util::future::join_all;
    use gosd_core::Memory;
    use gosd_testkit::{Fault, Faulty, Operation};

    use super::*;

    fn text(mut reader: Reader) -> String {
        let mut all = Vec::new();
        while let Some(piece) = reader.piece().unwrap() {
            all.extend(piece);
        }
        String::from_utf8(all).unwrap()
    }

    #[test]
    fn lists_of_all_and_of_some_services() {
        let part = |id: &str, service: &str| {
            Instance::from_parts(id.into(), service, "http://h", [].into())
        };
        let [a, b, c] = [part("x", "a"), part("b-1", "b"), part("b-2", "b")];
        let keys = RandomState::new();
        let listing = Listing::new(vec![c.clone(), b.clone(), a.clone()], &keys);
        let list = |services: Option<&[&str]>| {
            let set = services.map(|it| it.iter().map(|&it| it.to_owned()).collect());
            listing.list(set.as_ref(), &keys)
        };
        let json = |all: &[&Instance]| {
            let all: Vec<String> = all.iter().map(|one| one.to_json()).collect();
            format!("{{\"instances\":[{}]}}", all.join(","))
        };
        assert_eq!(text(list(None).0), json(&[&a, &b, &c]));
        assert_eq!(text(list(Some(&["b"])).0), json(&[&b, &c]));
        assert_eq!(text(list(Some(&["c"])).0), json(&[]));
        assert_eq!(text(list(Some(&["c", "b", "a"])).0), json(&[&a, &b, &c]));
        assert_eq!(listing.one(a.id()).unwrap(), a.to_json().as_bytes());
        assert_eq!(listing.one(&"c-1".into()), None);
        let again = Listing::new(vec![a.clone(), b.clone(), c], &keys);
        let of_b = BTreeSet::from(["b".to_owned()]);
        assert_eq!(again.list(Some(&of_b), &keys).1, list(Some(&["b"])).1);
        assert_ne!(again.list(None, &keys).1, list(Some(&["b"])).1);
        let changed = part("b-2", "b").with_metadata("k", "v");
        let changed = Listing::new(vec![a, b, changed], &keys);
        assert_ne!(changed.list(Some(&of_b), &keys).1, list(Some(&["b"])).1);
        assert_ne!(changed.list(None, &keys).1, list(None).1);
    }

    /// Hashes with fixed keys, and counts the bytes.
    #[derive(Default)]
    struct Counting(Arc<AtomicUsize>);

    struct Counter(Arc<AtomicUsize>, DefaultHasher);

    impl BuildHasher for Counting {
        type Hasher = Counter;

        fn build_hasher(&self) -> Counter {
            Counter(Arc::clone(&self.0), DefaultHasher::new())
        }
    }

    impl Hasher for Counter {
        fn write(&mut self, bytes: &[u8]) {
            self.0.fetch_add(bytes.len(), Ordering::Relaxed);
            self.1.write(bytes);
        }

        fn finish(&self) -> u64 {
            self.1.finish()
        }
    }

    #[test]
    fn a_request_costs_no_look_at_all_instances() {
        let long = "x".repeat(1_000);
        let one =
            |n| Instance::new("mail", "http://h").unwrap().with_metadata(&format!("{n}"), &long);
        let keys = Counting::default();
        let listing = Listing::new((0..100).map(one).collect(), &keys);
        let hashed = || keys.0.load(Ordering::Relaxed);
        let before = hashed();
        assert!(before > 100_000);
        let mail = BTreeSet::from(["mail".to_owned()]);
        for services in [None, Some(&mail)] {
            listing.list(services, &keys);
        }
        assert!(hashed() - before < 1_000, "{} bytes", hashed() - before);
    }

    #[tokio::test(start_paused = true)]
    async fn one_read_serves_all_calls_before_it_and_no_later_one() {
        let memory = Memory::new();
        let faulty = Faulty::new(Arc::new(memory.clone()));
        let driver: Arc<dyn Driver> = Arc::new(faulty.clone());
        let superseded = Arc::default();
        let lists = Lists::new(RandomState::new());
        let read = async || lists.read(&driver, &superseded).await.map(|listing| listing.ids.len());
        assert_eq!(read().await.unwrap(), 0);

        faulty.on(Operation::List, Fault::Delay(Duration::from_secs(1)));
        let late = async {
            sleep(Duration::from_millis(1_100)).await;
            let mail = Instance::new("mail", "http://h").unwrap();
            memory.register(&mail, Duration::from_secs(600)).await.unwrap();
            read().await.unwrap()
        };
        let early = join_all((0..50).map(|_| read()));
        let (early, late) = tokio::join!(early, late);
        assert!(early.into_iter().all(|found| found.is_ok()));
        assert_eq!(late, 1, "it sees what was there when it asked");
        assert!(faulty.calls(Operation::List) <= 4, "{}", faulty.calls(Operation::List));
        assert_eq!(faulty.most_at_once(Operation::List), 1);

        faulty.on(Operation::List, Fault::Fail(ErrorKind::Denied));
        assert_eq!(read().await.unwrap_err().kind(), ErrorKind::Denied);
        faulty.clear_all();
        assert_eq!(read().await.unwrap(), 1);
    }
}
