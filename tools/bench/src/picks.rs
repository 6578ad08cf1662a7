//! The time of a pick, on one thread and on two, back to back and with other work in between.

use std::collections::HashMap;
use std::hint::black_box;
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, RwLock};
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use gosd_core::{Client, Instance};

use crate::fixture::{Fed, TARGET, instance, instances};
use crate::rounds::{Case, ROUNDS, compare, nanos};
use crate::table::Table;

pub const PICKS: usize = 50_000;
/// More picks for several threads, because it takes a while until all run at once.
const PICKS_BESIDE: usize = 100_000;
const SIZES: [usize; 3] = [10, 1_000, 100_000];
/// How many other services there are.
const OTHERS: usize = 20;

pub fn tables() -> Vec<Table> {
    let mut tables = Vec::new();
    for (threads, work) in [(1, 0), (2, 0), (1, WORK), (2, WORK)] {
        tables.push(table(threads, work));
    }
    tables
}

/// How many steps of other work take some 60 ns.
const WORK: u32 = 48;

fn table(threads: usize, work: u32) -> Table {
    let between = if work == 0 { "back to back" } else { "with other work in between" };
    let mut table = Table::new(
        format!("Picks on {threads} thread{}, {between}", if threads == 1 { "" } else { "s" }),
        "The time of one pick in ns, per thread, and its ratio to the floor: a shared `fetch_add`, a \
         modulo,\nan index into a slice, and the first byte of the URL read.",
        &["what", "instances", "ns", "ratio to the floor"],
    );
    for size in SIZES {
        let mut all = instances(TARGET, size);
        all.extend((0..OTHERS).map(|i| instance(&format!("other-{i}"), i)));
        let fed = Fed::here(all);
        // The same instances for all cases, because their place in memory makes a difference.
        let slice = fed.client.instances(TARGET);
        let plain = Plain::of(&slice);
        let by_hand = RwLock::new(Plain::of(&slice));
        let client = &fed.client;
        let run = Run { threads, work };
        let mut cases = vec![
            Case::new("floor", || {
                let counter = Counter::default();
                run.time(|| || first_byte(&slice[counter.next() % slice.len()]))
            }),
            Case::new("floor, by name in a map", || {
                run.time(|| || first_byte(plain.turn(black_box(TARGET))))
            }),
            Case::new("gosd `Service::pick`", || {
                run.time(|| {
                    let mut service = client.service(TARGET);
                    move || first_byte(service.pick().expect("it is there"))
                })
            }),
            Case::new("gosd `Client::pick`", || {
                run.time(|| || first_byte(&client.pick(black_box(TARGET)).expect("it is there")))
            }),
            Case::new("gosd `Client::next`", || run.time(|| || first_byte(&next(client)))),
            Case::new("`RwLock<HashMap>` and an `Arc` clone", || {
                run.time(|| {
                    || {
                        let picked = Arc::clone(by_hand.read().unwrap().turn(black_box(TARGET)));
                        first_byte(&picked)
                    }
                })
            }),
        ];
        #[cfg(feature = "peers")]
        cases.extend(crate::peers::picks(size, run));
        if work > 0 {
            cases.push(Case::new("the other work alone", || run.time(|| || 0)));
        }
        for case in compare(ROUNDS, cases) {
            table.row([
                case.name,
                size.to_string(),
                format!("{:.1}", case.time.median),
                case.ratio.to_string(),
            ]);
        }
    }
    table
}

/// How picks are measured.
#[derive(Clone, Copy)]
pub struct Run {
    pub threads: usize,
    work: u32,
}

impl Run {
    /// The time of picks on one thread, in ns.
    pub fn alone(self, mut pick: impl FnMut() -> u8, picks: usize) -> f64 {
        let start = Instant::now();
        let mut sum = 0;
        for _ in 0..picks {
            sum = work(self.work, sum).wrapping_add(u64::from(pick()));
        }
        black_box(sum);
        nanos(start.elapsed(), picks)
    }

    /// The time of picks in ns per pick and thread; each thread has its own picker.
    pub fn time<P: FnMut() -> u8>(self, picker: impl Fn() -> P + Sync) -> f64 {
        if self.threads == 1 {
            return self.alone(picker(), PICKS);
        }
        // The threads begin together, and the first to finish goes on unmeasured until all have. Otherwise a
        // part of the time would be that of a thread that runs alone.
        let (ready, done) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let run = || {
            let mut pick = picker();
            ready.fetch_add(1, Ordering::SeqCst);
            while ready.load(Ordering::SeqCst) < self.threads {
                std::thread::yield_now();
            }
            let time = self.alone(&mut pick, PICKS_BESIDE);
            done.fetch_add(1, Ordering::SeqCst);
            while done.load(Ordering::SeqCst) < self.threads {
                self.alone(&mut pick, 100);
            }
            time
        };
        std::thread::scope(|scope| {
            let threads: Vec<_> = (0..self.threads).map(|_| scope.spawn(run)).collect();
            let times = threads.into_iter().map(|thread| thread.join().expect("no panic"));
            times.fold(0.0, f64::max)
        })
    }
}

/// A chain of multiplications, which nothing can shorten.
fn work(steps: u32, mut value: u64) -> u64 {
    for _ in 0..steps {
        value = black_box(value.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 1);
    }
    value
}

/// A counter with its own cache lines, as a fair floor has one.
#[derive(Default)]
#[repr(align(128))]
struct Counter(AtomicUsize);

impl Counter {
    fn next(&self) -> usize {
        self.0.fetch_add(1, Ordering::Relaxed)
    }
}

/// The usual hand-written solution: a map of counters and vectors.
struct Plain(HashMap<String, (Counter, Vec<Arc<Instance>>)>);

impl Plain {
    fn of(slice: &[Arc<Instance>]) -> Self {
        let mut map = HashMap::from([(TARGET.into(), (Counter::default(), slice.to_vec()))]);
        for i in 0..OTHERS {
            let name = format!("other-{i}");
            let one = vec![Arc::new(instance(&name, i))];
            map.insert(name, (Counter::default(), one));
        }
        Self(map)
    }

    fn turn(&self, service: &str) -> &Arc<Instance> {
        let (counter, instances) = &self.0[service];
        &instances[counter.next() % instances.len()]
    }
}

fn first_byte(instance: &Instance) -> u8 {
    instance.url().as_bytes()[0]
}

fn next(client: &Client) -> Arc<Instance> {
    let mut next = pin!(client.next(black_box(TARGET)));
    match next.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(instance) => instance.expect("it is there"),
        Poll::Pending => unreachable!("it is there"),
    }
}
