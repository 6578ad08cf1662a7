//! The statistics of the drivers' benchmarks: what a driver takes, beside what its database takes alone.
#![expect(clippy::print_stdout, reason = "the figures are what a benchmark is for")]

use std::time::Duration;

/// How often each side is measured.
pub const ROUNDS: usize = 11;

/// The value below which a share of all values lies; sorts them.
///
/// # Panics
///
/// If there are none.
pub fn percentile(values: &mut [f64], share: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    values[((values.len() - 1) as f64 * share).round() as usize]
}

/// A time in µs.
pub fn micros(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e6
}

/// Prints the medians of two sides over the rounds, and the median of their ratio with the lowest and the highest.
///
/// # Panics
///
/// If there were no rounds.
pub fn compare(what: &str, unit: &str, gosd: &[f64], plain: &[f64]) {
    let mut ratios: Vec<f64> = gosd.iter().zip(plain).map(|(gosd, plain)| gosd / plain).collect();
    let ratio = percentile(&mut ratios, 0.5);
    let (low, high) = (ratios[0], ratios[ratios.len() - 1]);
    let (gosd, plain) = (percentile(&mut gosd.to_vec(), 0.5), percentile(&mut plain.to_vec(), 0.5));
    println!("{what}: {ratio:.2}x ({low:.2} to {high:.2}); {gosd:.1} against {plain:.1} {unit}");
}
