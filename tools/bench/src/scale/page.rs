//! The rows of the simulations, and the page that is made of them.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use crate::look::Looks;
use crate::reconnect::Reconnections;

pub const HEADER: &str = "\
| driver | clients | seen, ms | by all, ms | bare, ms | by all, ms | idle | a delivery, us | bytes | a rollout | seen after, s | all restart, s | client, KB | shown at least, picks that failed, least lease |
| ------ | ------: | -------: | ---------: | -------: | ---------: | ---: | -------------: | ----: | --------: | ------------: | -------------: | ---------: | --- |";

/// How long changes took to be seen, in ms.
pub struct Seen {
    pub median: f64,
    pub p99: f64,
    /// The median of the times until all had seen a change.
    pub by_all: f64,
}

impl Seen {
    pub fn of(changes: &BTreeMap<u64, u128>, arrivals: &BTreeMap<u64, Vec<u128>>) -> Self {
        let mut each = Vec::new();
        let mut last = Vec::new();
        for (change, begun) in changes {
            let times = arrivals[change].iter().map(|at| at.saturating_sub(*begun) as f64 / 1e6);
            let times: Vec<f64> = times.collect();
            last.push(times.iter().copied().fold(0.0, f64::max));
            each.extend(times);
        }
        each.sort_by(f64::total_cmp);
        last.sort_by(f64::total_cmp);
        let median = each[each.len() / 2];
        Self { median, p99: each[each.len() * 99 / 100], by_all: last[last.len() / 2] }
    }
}

/// What a fleet took. Processor time is of one core, in s a second if it is not of a delivery.
pub struct Row {
    pub driver: String,
    pub clients: usize,
    pub seen: Seen,
    pub bare: Option<Seen>,
    pub idle_cpu: f64,
    pub tier_idle_cpu: f64,
    pub delivery_cpu: f64,
    pub delivery_bytes: Option<f64>,
    pub rollout: Option<Rollout>,
    /// Until all see all again, and the processor time of all clients together until then, in s.
    pub restart: Option<(Duration, f64)>,
    /// Of a tier.
    pub looks: Option<Looks>,
    pub reconnections: Option<Reconnections>,
    /// Of a client, in bytes.
    pub memory: f64,
}

/// What it took to replace each client once.
pub struct Rollout {
    pub cpu: f64,
    pub tier_cpu: f64,
    pub lasted: Duration,
    /// From the end until all see the new instances and no others.
    pub seen_after: Duration,
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { driver, clients, seen, .. } = self;
        let bare = self.bare.as_ref();
        let bare_each = bare.map_or("-".into(), |it| format!("{:.1} ({:.1})", it.median, it.p99));
        let bare_all = bare
            .map_or("-".into(), |it| format!("{:.1} ({:.1}x)", it.by_all, seen.by_all / it.by_all));
        let tier = |cpu: f64| match driver.as_str() {
            "tier" => format!(" + {:.1} %", 100.0 * cpu),
            _ => String::new(),
        };
        let bytes = self.delivery_bytes.map_or("-".into(), |bytes| format!("{bytes:.0}"));
        write!(
            f,
            "| {driver} | {clients} | {:.1} ({:.1}) | {:.1} ",
            seen.median, seen.p99, seen.by_all
        )?;
        write!(f, "| {bare_each} | {bare_all} ")?;
        write!(f, "| {:.1} %{} ", 100.0 * self.idle_cpu, tier(self.tier_idle_cpu))?;
        // The system counts in ticks of 10 ms, which hides what is less.
        match 1e6 * self.delivery_cpu {
            micros if micros < 1.0 => write!(f, "| < 1 | {bytes} ")?,
            micros => write!(f, "| {micros:.1} | {bytes} ")?,
        }
        match &self.rollout {
            Some(Rollout { cpu, tier_cpu, lasted, seen_after }) => write!(
                f,
                "| {:.0} %{} in {:.0} s | {:.1} ",
                100.0 * cpu,
                tier(*tier_cpu),
                lasted.as_secs_f64(),
                seen_after.as_secs_f64()
            )?,
            None => write!(f, "| - | - ")?,
        }
        let restart = self.restart.map_or("-".into(), |(time, computed)| {
            format!("{:.1} ({computed:.0})", time.as_secs_f64())
        });
        write!(f, "| {restart} | {:.0} |", self.memory / 1e3)?;
        match &self.looks {
            Some(looks) => write!(f, " {looks} |"),
            None => write!(f, " - |"),
        }
    }
}

/// The page with these rows; `load` is what the machine had to do before.
pub fn written(rows: &[Row], load: &str) -> String {
    let page = include_str!("page.md");
    let table: Vec<_> = rows.iter().map(ToString::to_string).collect();
    let fleets: Vec<_> = rows.iter().map(|row| format!("{}:{}", row.driver, row.clients)).collect();
    page.replace("{table}", &format!("{HEADER}\n{}", table.join("\n")))
        .replace(
            "{cores}",
            &std::thread::available_parallelism().map_or(1, usize::from).to_string(),
        )
        .replace("{load}", load)
        .replace("{fleets}", &fleets.join(" "))
        .replace("{larger}", &larger(rows))
        .replace("{restarts}", &restarts(rows))
}

/// How the clients of each tier went to other servers and came back: a section, if there was a tier.
fn restarts(rows: &[Row]) -> String {
    let mut lines = vec![
        include_str!("restarts.md").to_owned(),
        "| clients | went to another server | at most in 100 ms | came back | at most in 100 ms |"
            .to_owned(),
        "| ------: | ---------------------: | ----------------: | --------: | ----------------: |"
            .to_owned(),
    ];
    for row in rows {
        let counted = row.reconnections.as_ref().map(|it| format!("| {} | {it} |", row.clients));
        lines.extend(counted);
    }
    match rows.iter().any(|row| row.reconnections.is_some()) {
        true => lines.join("\n") + "\n\n",
        false => String::new(),
    }
}

/// What larger fleets would take, in proportion to the largest that was measured of each driver.
fn larger(rows: &[Row]) -> String {
    let mut lines = vec![
        "| driver | measured with | core, idle, at 10,000 | at 50,000 | core seconds of a change, at 10,000 | at 50,000 | of a rollout, at 10,000 | at 50,000 |".to_owned(),
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |".to_owned(),
    ];
    let squared = rows.iter().filter(|row| row.driver != "tier");
    let squared =
        squared.filter_map(|row| Some((row.driver.as_str(), (row, row.rollout.as_ref()?))));
    let largest: BTreeMap<&str, (&Row, &Rollout)> = squared.collect();
    for (driver, (row, rollout)) in largest {
        let grown = |clients: f64| clients / row.clients as f64;
        let idle = |clients: f64| format!("{:.0} %", 100.0 * row.idle_cpu * grown(clients));
        let change = |clients: f64| format!("{:.2}", row.delivery_cpu * clients);
        // Twice as many clients are twice as many changes for twice as many.
        let seconds = rollout.cpu * (rollout.lasted + rollout.seen_after).as_secs_f64();
        let rollout = |clients: f64| format!("{:.0}", seconds * grown(clients).powi(2));
        lines.push(format!(
            "| {driver} | {} | {} | {} | {} | {} | {} | {} |",
            row.clients,
            idle(1e4),
            idle(5e4),
            change(1e4),
            change(5e4),
            rollout(1e4),
            rollout(5e4)
        ));
    }
    lines.join("\n")
}
