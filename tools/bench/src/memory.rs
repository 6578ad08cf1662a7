//! The memory of a cached instance, and the allocations of a pick, by counting the allocator's calls.

use std::hint::black_box;

use allocation_counter::measure;
use gosd_core::Instance;

use crate::fixture::{Fed, TARGET, instances};
use crate::table::Table;

const PICKS: usize = 10_000;

pub fn tables() -> Vec<Table> {
    vec![bytes(), allocations()]
}

fn bytes() -> Table {
    let mut table = Table::new(
        "Memory",
        "Requested bytes of a cached instance without metadata, beyond its own id and URL.",
        &["instances", "bytes each"],
    );
    for size in [1_000, 100_000, 1_000_000] {
        let mut fed = None;
        let mut text = 0;
        // Everything happens on this thread, whose allocations are counted.
        let info = measure(|| {
            let all = instances(TARGET, size);
            text = all.iter().map(text_of).sum::<usize>();
            fed = Some(Fed::here(all));
        });
        let bytes = info.bytes_current - text as i64;
        table.row([size.to_string(), format!("{:.1}", bytes as f64 / size as f64)]);
    }
    table
}

fn text_of(instance: &Instance) -> usize {
    instance.id().as_str().len() + instance.url().len()
}

fn allocations() -> Table {
    let mut table = Table::new(
        "Allocations",
        "Heap allocations of 10,000 picks, the first ones included.",
        &["what", "allocations"],
    );
    let fed = Fed::here(instances(TARGET, 1_000));
    let client = &fed.client;
    let mut service = client.service(TARGET);
    service.pick();
    client.pick(TARGET);
    let mut row = |name: &str, pick: &mut dyn FnMut()| {
        let info = measure(|| (0..PICKS).for_each(|_| pick()));
        table.row([name.into(), info.count_total.to_string()]);
    };
    row("`Service::pick`", &mut || _ = black_box(service.pick()));
    row("`Client::pick`", &mut || drop(client.pick(TARGET)));
    row("`Client::pick` of an unknown name", &mut || drop(client.pick("unknown")));
    table
}
