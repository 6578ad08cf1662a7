//! The time of one change, from the event until readers see it.

use std::time::Instant;

use gosd_core::{Event, Instance};

use crate::fixture::{Fed, TARGET, instance, instances};
use crate::rounds::{Case, ROUNDS, compare, nanos};
use crate::table::Table;

/// The number of changes in one run.
const CHANGES: usize = 2_000;

pub fn tables() -> Vec<Table> {
    let mut table = Table::new(
        "One change",
        "The time of one change in ns, from the event that a driver's watch yields to where readers \
         see it,\none after the other, for each is published by itself.",
        &["what", "instances", "ns"],
    );
    for size in [10, 1_000, 100_000, 1_000_000] {
        let all = instances(TARGET, size);
        let fed = Fed::here(all.clone());
        let marker = instance("marker", 0);
        let newcomer = instance(TARGET, size);
        // A stride that reaches every leaf, as changes of unrelated instances do.
        let some: Vec<&Instance> = all.iter().step_by((size / 977).max(1)).collect();
        let run = |events: Vec<Event>| {
            let count = events.len();
            let start = Instant::now();
            fed.apply(events, &marker);
            nanos(start.elapsed(), count)
        };
        #[allow(unused_mut, reason = "without peers nothing is added")]
        let mut cases = vec![
            Case::new("gosd, one comes and goes", || {
                run((0..CHANGES / 2).flat_map(|_| toggle(&newcomer)).collect())
            }),
            Case::new("gosd, any one goes and comes back", || {
                run(some
                    .iter()
                    .cycle()
                    .take(CHANGES / 2)
                    .flat_map(|it| toggle(it).into_iter().rev())
                    .collect())
            }),
        ];
        #[cfg(feature = "peers")]
        if size <= 100_000 {
            cases.extend(crate::peers::changes(size));
        }
        for case in compare(ROUNDS, cases) {
            table.row([case.name, size.to_string(), case.time.to_string()]);
        }
    }
    vec![table]
}

fn toggle(instance: &Instance) -> [Event; 2] {
    [Event::Put(instance.clone()), Event::Remove(instance.id().clone())]
}
