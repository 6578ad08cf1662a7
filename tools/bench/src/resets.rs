//! The time of a snapshot of everything, applied to an empty view and to an existing one.

use std::collections::{HashMap, HashSet};
use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use gosd_core::{Event, Instance, InstanceId};

use crate::fixture::{Fed, instance};
use crate::rounds::{Case, compare, nanos};
use crate::table::Table;

const ALL: usize = 100_000;
const ROUNDS: usize = 11;

pub fn tables() -> Vec<Table> {
    let mut table = Table::new(
        "A `Reset` of 100,000 instances",
        "In ms, until readers see it, and the ratio to putting `Arc`s of them in a plain map of vectors \
         by service,\nand their ids in a set.",
        &["what", "services", "ms", "ratio"],
    );
    for services in [1, 100, 10_000] {
        let all: Vec<Instance> =
            (0..ALL).map(|i| instance(&format!("service-{}", i % services), i)).collect();
        let there = Fed::here(all.clone());
        let marker = instance("marker", 0);
        let cases = vec![
            Case::new("a map and a set", || {
                let all = all.clone();
                let start = Instant::now();
                let built = plain(all);
                let time = nanos(start.elapsed(), 1);
                black_box(built);
                time
            }),
            Case::new("gosd, into an empty view", || {
                let all = all.clone();
                let start = Instant::now();
                let fed = Fed::here(all);
                assert!(fed.client.pick("service-0").is_some());
                nanos(start.elapsed(), 1)
            }),
            Case::new("gosd, over the same view", || {
                let all = all.clone();
                let start = Instant::now();
                there.apply([Event::Reset(all)], &marker);
                nanos(start.elapsed(), 1)
            }),
        ];
        for case in compare(ROUNDS, cases) {
            table.row([
                case.name,
                services.to_string(),
                format!("{:.1}", case.time.median / 1e6),
                case.ratio.to_string(),
            ]);
        }
    }
    vec![table]
}

type Plain = (HashMap<Arc<str>, Vec<Arc<Instance>>>, HashSet<InstanceId>);

fn plain(all: Vec<Instance>) -> Plain {
    let (mut map, mut ids) = Plain::default();
    for instance in all.into_iter().map(Arc::new) {
        ids.insert(instance.id().clone());
        match map.get_mut(instance.service()) {
            Some(vector) => vector.push(instance),
            None => {
                map.insert(instance.service().into(), vec![instance]);
            }
        }
    }
    (map, ids)
}
