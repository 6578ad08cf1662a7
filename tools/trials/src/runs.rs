//! Runs many trials: the table of the faults, and the rolling restarts.

use std::io::{self, Write};
use std::path::Path;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream;

use crate::backend::Kind;
use crate::fault::Fault;
use crate::outcome::Outcome;
use crate::rolling::{Registry, Rolled, roll};
use crate::soak::{soak_in, with_soak};
use crate::trial::Plan;

/// How many trials run at a time. They wait more than they compute.
pub(crate) const AT_ONCE: usize = 16;
/// The text around the table.
const PAGE: &str = include_str!("page.md");
/// How long servers go on serving after their goodbye: the default.
pub const DRAIN: Duration = Duration::from_secs(1);
/// How long a fault of the table lasts: longer than a lease.
const LASTING: Duration = Duration::from_secs(20);

/// The page with these rows of the table and of the rolling restarts, and with the soak of the previous page.
pub fn page(table: &str, rolling: &str, before: &str) -> String {
    let page = PAGE.replace("{table}\n", table).replace("{rolling}\n", rolling);
    soak_in(before).map_or_else(|| page.clone(), |soak| with_soak(&page, soak))
}

/// Runs each fault that is chosen on each backend. Returns the rows with the results, and whether all promises held.
///
/// # Errors
///
/// If the output cannot be written.
pub async fn table(
    program: &Path,
    is_chosen: impl Fn(Kind, Fault) -> bool,
    out: &mut dyn Write,
) -> io::Result<(String, bool)> {
    let plans = Kind::ALL.iter().flat_map(|(kind, _)| {
        let plan = |fault| Plan { kind: *kind, faults: vec![fault], lasting: LASTING, seed: 1 };
        let chosen = kind.faults().into_iter().filter(|fault| is_chosen(*kind, *fault));
        chosen.map(plan).enumerate().collect::<Vec<_>>()
    });
    let mut plans: Vec<(usize, (usize, Plan))> = plans.enumerate().collect();
    // All kinds take turns, because trials of one kind that run side by side are in trouble at the same
    // moments, and so all ask for the processors at once.
    plans.sort_by_key(|(_, (turn, _))| *turn);
    let mut outcomes = stream::iter(plans)
        .map(|(place, (_, plan))| async move { (place, Outcome::of(plan, program).await) })
        .buffered(AT_ONCE);
    let mut rows = Vec::new();
    let mut all_held = true;
    while let Some((place, outcome)) = outcomes.next().await {
        let row = row(&outcome);
        write!(out, "{row}{}", outcome.complaints())?;
        out.flush()?;
        rows.push((place, row));
        all_held &= outcome.held();
    }
    rows.sort_by_key(|(place, _)| *place);
    Ok((rows.into_iter().map(|(_, row)| row).collect(), all_held))
}

/// Runs a rolling restart on each registry. Returns the rows with the results, and whether no request failed.
///
/// # Errors
///
/// If the output cannot be written.
pub async fn rolling(
    program: &Path,
    only: Option<Kind>,
    drain: Duration,
    out: &mut dyn Write,
) -> io::Result<(String, bool)> {
    let chosen = Registry::all().filter(|it| only.is_none_or(|only| *it == Registry::Of(only)));
    let mut restarts = stream::iter(chosen)
        .map(|registry| async move { (registry, roll(program, registry, drain).await) })
        .buffered(AT_ONCE);
    let (mut rows, mut all_held) = (String::new(), true);
    while let Some((registry, rolled)) = restarts.next().await {
        let Rolled { alone, kept, slowest_end } = rolled;
        let row = format!(
            "| {registry} | {} | {} | {} | {} | {} | {:.1} s |\n",
            alone.answered,
            alone.failed,
            kept.answered,
            kept.failed,
            kept.closed,
            slowest_end.as_secs_f64()
        );
        write!(out, "{row}")?;
        out.flush()?;
        rows += &row;
        all_held &= rolled.held();
    }
    Ok((rows, all_held))
}

fn row(outcome: &Outcome) -> String {
    let mut row = format!("| {} | {} |", outcome.plan.kind, outcome.plan.faults[0]);
    row += if outcome.held() { " yes |" } else { " **no** |" };
    for finding in &outcome.findings {
        let mark = if finding.held { "" } else { "**" };
        row += &format!(" {mark}{}{mark} |", finding.figure);
    }
    row + "\n"
}
