//! Measures the cost of a registration with two databases beside one with the slower of the two alone.

use std::sync::Arc;
use std::time::Duration;

use gosd_core::{Both, Driver, Instance};
use tempfile::TempDir;
use tokio::time::Instant;

use crate::backend::{Kind, open};
use crate::history::Recorder;

/// How many registrations each way gets. The ways take turns, so that other load on the machine hits all
/// alike.
const ROUNDS: usize = 1_000;
const LEASE: Duration = Duration::from_secs(3_600);

/// Measures, and returns the figures as a table.
///
/// # Panics
///
/// If a database cannot be started, or a registration fails.
pub async fn cost(old: Kind, new: Kind) -> String {
    let folder = TempDir::new().expect("a directory can be made");
    let mut backends = Vec::new();
    for (kind, name) in [(old, "old"), (new, "new")] {
        let folder = folder.path().join(name);
        std::fs::create_dir_all(&folder).expect("a directory can be made");
        backends.push(kind.start(&folder, &Recorder::new()).await);
    }
    // These connections bypass the network in which the trials make faults.
    let [one, other] = [open(&backends[0].direct()).await, open(&backends[1].direct()).await];
    let both: Arc<dyn Driver> = Arc::new(Both::new(Arc::clone(&one), Arc::clone(&other)));
    let drivers = [one, other, both];
    let mail = Instance::new("mail", "http://10.0.0.7:25").expect("a good name and URL");
    let mut times = [(); 3].map(|()| Vec::with_capacity(ROUNDS));
    let mut ratios = Vec::with_capacity(ROUNDS);
    for round in 0..ROUNDS {
        let mut took = [Duration::ZERO; 3];
        for turn in 0..3 {
            // Each of the three is equally often first, second and third.
            let which = (turn + round) % 3;
            let begun = Instant::now();
            drivers[which].register(&mail, LEASE).await.expect("the database is there");
            took[which] = begun.elapsed();
        }
        for (times, took) in times.iter_mut().zip(took) {
            times.push(took.as_secs_f64() * 1e3);
        }
        ratios.push(took[2].as_secs_f64() / took[0].max(took[1]).as_secs_f64());
    }
    let mut table = "| a registration with | ms |\n| --- | --- |\n".to_owned();
    for (name, times) in [old.to_string(), new.to_string(), "both".into()].iter().zip(&mut times) {
        table += &format!("| {name} | {} |\n", spread(times));
    }
    table + &format!("| both, as a multiple of the slower of the two | {} |\n", spread(&mut ratios))
}

/// The median and the quartiles.
fn spread(values: &mut [f64]) -> String {
    values.sort_by(f64::total_cmp);
    let [low, median, high] = [1, 2, 3].map(|quarter| values[values.len() * quarter / 4]);
    format!("{median:.2} [{low:.2}, {high:.2}]")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spread_is_the_median_and_the_quartiles() {
        let mut values: Vec<f64> = (0..=100).map(f64::from).rev().collect();
        assert_eq!(spread(&mut values), "50.00 [25.00, 75.00]");
    }
}
