//! The command line of the trials.

use std::error::Error;
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use gosd_trials::backend::serve;
use gosd_trials::check::check;
use gosd_trials::cost::cost;
use gosd_trials::member::live;
use gosd_trials::rolling;
use gosd_trials::runs::{DRAIN, page, rolling as restarts, table};
use gosd_trials::soak::Soak;
use gosd_trials::trial::Plan;
use gosd_trials::walking;

const USAGE: &str = "\
usage: gosd-trials table [--only DRIVER] [--markdown FILE]
       gosd-trials soak --minutes N [--seed N] [--markdown FILE]
       gosd-trials again SEED
       gosd-trials rolling [--only DRIVER] [--drain SECONDS]
       gosd-trials cost [--old DRIVER] [--new DRIVER]
       gosd-trials walk [--old DRIVER] [--new DRIVER] [--seed N] [--mutant mix|first-remove]
";

#[tokio::main]
async fn main() -> Result<ExitCode, Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let program = std::env::current_exe()?;
    let mut out = std::io::stdout();
    let held = match args[..] {
        ["table", ref options @ ..] => {
            let [only, file] = parse(options, ["--only", "--markdown"])?;
            let only = only.map(str::parse).transpose()?;
            let is_chosen = |kind, _| only.is_none_or(|only| only == kind);
            let (rows, held) = table(&program, is_chosen, &mut out).await?;
            let (restarts, none_failed) = restarts(&program, only, DRAIN, &mut out).await?;
            if let Some(file) = file {
                let before = fs::read_to_string(file).unwrap_or_default();
                fs::write(file, page(&rows, &restarts, &before))?;
            }
            held && none_failed
        }
        ["soak", ref options @ ..] => {
            let [minutes, seed, file] = parse(options, ["--minutes", "--seed", "--markdown"])?;
            let minutes: f64 = minutes.ok_or(USAGE)?.parse()?;
            let seed = seed.map_or_else(|| Ok(fastrand::u64(..1 << 32)), str::parse)?;
            writeln!(out, "soak of {minutes} min from seed {seed}")?;
            let lasting = Duration::from_secs_f64(minutes * 60.0);
            let soak = Soak::run(&program, lasting, seed, &mut out).await?;
            write!(out, "{}", soak.table())?;
            if let Some(file) = file {
                fs::write(file, soak.write_into(&fs::read_to_string(file)?))?;
            }
            soak.held()
        }
        ["again", seed] => {
            Soak::run(&program, Duration::ZERO, seed.parse()?, &mut out).await?.held()
        }
        ["rolling", ref options @ ..] => {
            let [only, drain] = parse(options, ["--only", "--drain"])?;
            let drain = drain.map_or(Ok(DRAIN), |it| it.parse().map(Duration::from_secs_f64))?;
            restarts(&program, only.map(str::parse).transpose()?, drain, &mut out).await?.1
        }
        ["cost", ref options @ ..] => {
            let [old, new] = parse(options, ["--old", "--new"])?;
            let (old, new) = (old.unwrap_or("sqlite").parse()?, new.unwrap_or("redis").parse()?);
            write!(out, "{}", cost(old, new).await)?;
            true
        }
        ["walk", ref options @ ..] => {
            let [old, new, seed, mutant] =
                parse(options, ["--old", "--new", "--seed", "--mutant"])?;
            let plan = walking::Plan {
                old: old.unwrap_or("redis").parse()?,
                new: new.unwrap_or("redis").parse()?,
                seed: seed.map_or_else(|| Ok(fastrand::u64(..1 << 32)), str::parse)?,
                mutant: mutant.map(str::parse).transpose()?,
            };
            let walked = walking::walk(plan).await;
            writeln!(out, "{walked}")?;
            walked.failed.is_empty() && walked.lookups > 0
        }
        ["orders", url, drain] => {
            rolling::serve(url, Duration::from_millis(drain.parse()?)).await?;
            true
        }
        ["trial", kind, faults, lasting, seed, folder] => {
            trial(&Plan::from_args([kind, faults, lasting, seed])?, folder.as_ref()).await?;
            true
        }
        ["member", url, id] => {
            live(url, id).await;
            true
        }
        ["serve", port, data] => {
            serve(port.parse()?, data).await;
            true
        }
        _ => return Err(USAGE.into()),
    };
    Ok(if held { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Runs a trial in this process, and writes its history to a file beside the folder.
async fn trial(plan: &Plan, folder: &Path) -> Result<(), Box<dyn Error>> {
    let history = plan.run(folder).await;
    let mut file = BufWriter::new(File::create(folder.with_file_name("history"))?);
    for (at, event) in &history {
        writeln!(file, "{:.3} {event:?}", at.as_secs_f64())?;
    }
    for verdict in check(&history, &plan.terms()) {
        writeln!(std::io::stdout(), "{verdict}")?;
    }
    Ok(())
}

/// The values of options, which may come in any order.
fn parse<'a, const N: usize>(
    args: &[&'a str],
    names: [&str; N],
) -> Result<[Option<&'a str>; N], Box<dyn Error>> {
    let mut values = [None; N];
    for pair in args.chunks(2) {
        let [name, value] = *pair else { return Err(USAGE.into()) };
        let index = names.iter().position(|known| *known == name).ok_or(USAGE)?;
        values[index] = Some(value);
    }
    Ok(values)
}
