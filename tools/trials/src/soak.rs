//! The soak: random trials for as long as asked, and their results by backend.

use std::io::{self, Write};
use std::path::Path;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream;
use tokio::time::Instant;

use crate::backend::Kind;
use crate::outcome::Outcome;
use crate::runs::AT_ONCE;
use crate::trial::Plan;

/// The lines above and below the figures of a soak on the page.
const BEGIN: &str = "<!-- The soak: written by the command above. -->\n";
const END: &str = "<!-- The end of the soak. -->\n";

/// The results of a soak.
#[derive(Debug)]
pub struct Soak {
    pub lasting: Duration,
    /// The seed of the first trial.
    pub seed: u64,
    tallies: Vec<Tally>,
}

/// The results of one backend.
#[derive(Clone, Copy, Debug)]
struct Tally {
    kind: Kind,
    trials: usize,
    held: usize,
    faults: usize,
    lookups: u64,
    failed: u64,
    spent: Duration,
}

impl Soak {
    /// Runs random trials for a time.
    ///
    /// Each trial has a seed, by which it can be repeated. The seed of the first one is `seed`.
    ///
    /// # Errors
    ///
    /// If the output cannot be written.
    pub async fn run(
        program: &Path,
        lasting: Duration,
        seed: u64,
        out: &mut dyn Write,
    ) -> io::Result<Self> {
        let end = Instant::now() + lasting;
        let later = stream::iter(seed + 1..).take_while(|_| async { Instant::now() < end });
        let seeds = stream::iter([seed]).chain(later);
        let trials = seeds.map(|seed| async move {
            let began = Instant::now();
            (Outcome::of(Plan::random(seed), program).await, began.elapsed())
        });
        let mut outcomes = Box::pin(trials.buffer_unordered(AT_ONCE));
        let mut soak =
            Self { lasting, seed, tallies: Kind::ALL.map(|(kind, _)| Tally::of(kind)).into() };
        while let Some((outcome, spent)) = outcomes.next().await {
            write!(out, "{}{}", line(&outcome), outcome.complaints())?;
            out.flush()?;
            for tally in soak.tallies.iter_mut().filter(|tally| tally.kind == outcome.plan.kind) {
                tally.add(&outcome, spent);
            }
        }
        Ok(soak)
    }

    /// Whether every promise held in every trial.
    pub fn held(&self) -> bool {
        self.tallies.iter().all(|tally| tally.held == tally.trials)
    }

    /// The figures, one row for each backend.
    pub fn table(&self) -> String {
        let header = "| driver | trials | held | faults | minutes | lookups | failed |\n\
                      | --- | --- | --- | --- | --- | --- | --- |\n";
        header.to_owned() + &self.tallies.iter().map(Tally::row).collect::<String>()
    }

    /// A page in which the figures of this soak replace those of an earlier one.
    ///
    /// A page without a place for them is returned unchanged.
    pub fn write_into(&self, page: &str) -> String {
        let minutes = self.lasting.as_secs() / 60;
        let said =
            format!("A soak of {minutes} minutes from seed {}:\n\n{}", self.seed, self.table());
        with_soak(page, &said)
    }
}

/// Takes the figures of a soak from a page, to keep them when the page is written again.
pub fn soak_in(page: &str) -> Option<&str> {
    page.split_once(BEGIN)?.1.split_once(END).map(|(soak, _)| soak)
}

/// Puts the figures of a soak into the place for them on a page.
pub fn with_soak(page: &str, soak: &str) -> String {
    match soak_in(page) {
        Some(before) => {
            page.replacen(&format!("{BEGIN}{before}{END}"), &format!("{BEGIN}{soak}{END}"), 1)
        }
        None => page.to_owned(),
    }
}

impl Tally {
    fn of(kind: Kind) -> Self {
        Self { kind, trials: 0, held: 0, faults: 0, lookups: 0, failed: 0, spent: Duration::ZERO }
    }

    fn add(&mut self, outcome: &Outcome, spent: Duration) {
        self.trials += 1;
        self.held += usize::from(outcome.held());
        self.faults += outcome.plan.faults.len();
        self.spent += spent;
        // The first promise's figure is "FAILED of ALL failed".
        let figure = outcome.findings.first().map_or("", |finding| &finding.figure);
        let mut numbers = figure.split(' ').filter_map(|word| word.parse::<u64>().ok());
        self.failed += numbers.next().unwrap_or(0);
        self.lookups += numbers.next().unwrap_or(0);
    }

    fn row(&self) -> String {
        let Self { kind, trials, held, faults, lookups, failed, spent } = self;
        let minutes = spent.as_secs() / 60;
        format!("| {kind} | {trials} | {held} | {faults} | {minutes} | {lookups} | {failed} |\n")
    }
}

fn line(outcome: &Outcome) -> String {
    let Plan { kind, faults, seed, .. } = &outcome.plan;
    let word = if outcome.held() { "held" } else { "BROKEN" };
    let faults: Vec<String> = faults.iter().map(ToString::to_string).collect();
    format!("seed {seed}: {word}: {kind}: {}\n", faults.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_has_only_the_last_soak() {
        let page = format!("# Faults\n\n{BEGIN}of yesterday\n{END}\n## More\n");
        let page = with_soak(&page, "of today\n");
        assert_eq!(page, format!("# Faults\n\n{BEGIN}of today\n{END}\n## More\n"));
        assert_eq!(soak_in(&page), Some("of today\n"));
    }
}
