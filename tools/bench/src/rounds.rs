//! Interleaved rounds: in each, every case runs once and is compared with the base.

use std::time::Duration;

pub const ROUNDS: usize = 31;

/// A case to measure. A run returns the time of one operation, in ns.
pub struct Case<'a> {
    pub name: String,
    run: Box<dyn FnMut() -> f64 + 'a>,
}

/// The results of one case over all rounds.
pub struct Measured {
    pub name: String,
    /// The time in ns.
    pub time: Spread,
    /// The ratio to the first case.
    pub ratio: Spread,
}

/// A median between its quartiles.
pub struct Spread {
    pub low: f64,
    pub median: f64,
    pub high: f64,
}

impl<'a> Case<'a> {
    pub fn new(name: impl Into<String>, run: impl FnMut() -> f64 + 'a) -> Self {
        Self { name: name.into(), run: Box::new(run) }
    }
}

/// Runs the cases, of which the first is the base.
pub fn compare(rounds: usize, mut cases: Vec<Case<'_>>) -> Vec<Measured> {
    for case in &mut cases {
        (case.run)();
    }
    let mut times = vec![Vec::with_capacity(rounds); cases.len()];
    for round in 0..rounds {
        // Each round begins with another case, so that no case is always the first.
        for turn in 0..cases.len() {
            let case = (round + turn) % cases.len();
            times[case].push((cases[case].run)());
        }
    }
    let base = times[0].clone();
    cases
        .into_iter()
        .zip(times)
        .map(|(case, times)| {
            let ratios = times.iter().zip(&base).map(|(time, base)| time / base).collect();
            Measured { name: case.name, time: Spread::of(times), ratio: Spread::of(ratios) }
        })
        .collect()
}

impl Spread {
    pub fn of(mut values: Vec<f64>) -> Self {
        values.sort_by(f64::total_cmp);
        let at = |part: f64| values[((values.len() - 1) as f64 * part).round() as usize];
        Self { low: at(0.25), median: at(0.5), high: at(0.75) }
    }
}

impl std::fmt::Display for Spread {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let digits = if self.median < 20.0 { 2 } else { 0 };
        let Self { low, median, high } = self;
        write!(f, "{median:.digits$} [{low:.digits$}, {high:.digits$}]")
    }
}

pub fn nanos(time: Duration, operations: usize) -> f64 {
    time.as_nanos() as f64 / operations as f64
}
