//! The commands of the trials.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use gosd_trials::check::check;
use gosd_trials::trial::Plan;

#[tokio::main]
async fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args[..] {
        ["member", url, id] => {
            gosd_trials::member::live(url, id).await;
            ExitCode::SUCCESS
        }
        ["trial", kind, faults, seconds, seed, folder] => {
            let plan = Plan {
                kind: kind.parse().unwrap(),
                faults: faults.split(',').map(|fault| fault.parse().unwrap()).collect(),
                lasting: Duration::from_secs_f64(seconds.parse().unwrap()),
                seed: seed.parse().unwrap(),
            };
            let history = plan.run(&PathBuf::from(folder)).await;
            let mut file = std::fs::File::create(PathBuf::from(folder).join("history")).unwrap();
            for (at, event) in &history {
                writeln!(file, "{:.3} {event:?}", at.as_secs_f64()).unwrap();
            }
            let mut out = std::io::stdout().lock();
            for verdict in check(&history, &plan.terms()) {
                writeln!(out, "{verdict}").unwrap();
            }
            ExitCode::SUCCESS
        }
        _ => ExitCode::FAILURE,
    }
}
