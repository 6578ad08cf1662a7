//! Picks while changes are applied as fast as they can be.

use std::hint::black_box;
use std::time::Instant;

use gosd_core::Event;

use crate::fixture::{Fed, TARGET, instance, instances};
use crate::rounds::{ROUNDS, Spread};
use crate::table::Table;

const PICKS: usize = 100_000;

pub fn tables() -> Vec<Table> {
    let mut table = Table::new(
        "Picks while changes stream in",
        "Each pick is timed by itself, clock included: the 99.9th percentile in ns, without changes and \
         while another\nthread applies changes to the service as fast as it can, up to 1,024 of them at \
         once; and the picks a second.",
        &["what", "instances", "quiet", "storm", "ratio", "picks/s, quiet", "picks/s, storm"],
    );
    for size in [10, 1_000, 100_000] {
        let fed = Fed::beside(instances(TARGET, size));
        // So many that what becomes visible together is never nothing at all.
        let newcomers: Vec<_> = (size..size + 7).map(|number| instance(TARGET, number)).collect();
        let comings = newcomers.iter().cloned().map(Event::Put);
        let goings = newcomers.iter().map(|it| Event::Remove(it.id().clone()));
        let storm: Vec<_> = comings.chain(goings).collect();
        let mut service = fed.client.service(TARGET);
        let mut by_handle = Rounds::default();
        let mut by_name = Rounds::default();
        for _ in 0..ROUNDS {
            let mut pick = |_: &str| _ = black_box(service.pick());
            by_handle.round(&fed, &storm, &mut pick);
            by_name.round(&fed, &storm, &mut |name| drop(black_box(fed.client.pick(name))));
        }
        by_handle.row("`Service::pick`", size, &mut table);
        by_name.row("`Client::pick`", size, &mut table);
    }
    vec![table]
}

#[derive(Default)]
struct Rounds {
    quiet: Vec<Timed>,
    storm: Vec<Timed>,
}

#[derive(Clone, Copy)]
struct Timed {
    percentile: f64,
    rate: f64,
}

impl Rounds {
    fn round(&mut self, fed: &Fed, storm: &[Event], pick: &mut dyn FnMut(&str)) {
        self.quiet.push(timed(pick));
        fed.feed.repeat(storm.iter().cloned());
        self.storm.push(timed(pick));
        fed.feed.repeat([]);
    }

    fn row(&self, name: &str, size: usize, table: &mut Table) {
        let spread =
            |rounds: &[Timed], get: fn(&Timed) -> f64| Spread::of(rounds.iter().map(get).collect());
        let ratios = self.storm.iter().zip(&self.quiet).map(|(a, b)| a.percentile / b.percentile);
        table.row([
            name.into(),
            size.to_string(),
            spread(&self.quiet, |it| it.percentile).to_string(),
            spread(&self.storm, |it| it.percentile).to_string(),
            Spread::of(ratios.collect()).to_string(),
            format!("{:.1} M", spread(&self.quiet, |it| it.rate).median / 1e6),
            format!("{:.1} M", spread(&self.storm, |it| it.rate).median / 1e6),
        ]);
    }
}

fn timed(pick: &mut dyn FnMut(&str)) -> Timed {
    let mut times = Vec::with_capacity(PICKS);
    let start = Instant::now();
    for _ in 0..PICKS {
        let start = Instant::now();
        pick(TARGET);
        times.push(start.elapsed().as_nanos() as u64);
    }
    let rate = PICKS as f64 / start.elapsed().as_secs_f64();
    times.sort_unstable();
    Timed { percentile: times[PICKS * 999 / 1_000] as f64, rate }
}
