//! The program `gosd`: shows what is registered and what is wrong, and runs services that are not in Rust.

mod backend;
mod cli;
mod commands;
mod context;
mod failure;
mod listing;
mod output;
mod record;
mod render;
#[cfg(unix)]
mod signals;
mod spans;
mod target;

use std::process::ExitCode;

use clap::Parser;
use tracing::Level;

use crate::cli::{Cli, Command, MigrateCommand};
use crate::context::Context;
use crate::failure::{FAILED, Outcome};

fn main() -> ExitCode {
    #[cfg(unix)]
    {
        let mut args = std::env::args_os().skip(1);
        if args.next().is_some_and(|first| first == commands::run::stub::NAME) {
            return ExitCode::from(commands::run::stub::run(args));
        }
    }
    let Cli { global, command } = Cli::parse();
    let choice = match global.color {
        clap::ColorChoice::Auto => anstream::ColorChoice::Auto,
        clap::ColorChoice::Always => anstream::ColorChoice::Always,
        clap::ColorChoice::Never => anstream::ColorChoice::Never,
    };
    choice.write_global();
    let level = match (global.quiet, global.verbose) {
        (true, _) => Level::ERROR,
        (false, 0) => Level::WARN,
        (false, 1) => Level::INFO,
        (false, _) => Level::DEBUG,
    };
    let colors = anstream::AutoStream::choice(&std::io::stderr()) != anstream::ColorChoice::Never;
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_max_level(level)
        .with_ansi(colors)
        .with_target(false)
        .without_time()
        .init();
    let context = Context::new(global);
    let outcome = context.and_then(|context| perform(&context, command));
    ExitCode::from(outcome.unwrap_or_else(failure::tell))
}

fn perform(context: &Context, command: Command) -> Outcome {
    #[cfg(unix)]
    if !command.handles_signals() {
        signals::end_the_first_process()?;
    }
    match command {
        Command::Completions(args) => return commands::completions::run(&args),
        Command::Man => return commands::man::run(),
        _ => {}
    }
    // A single thread starts fastest, and no command computes for long.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let outcome = runtime.block_on(async {
        match command {
            Command::Ls(args) => commands::ls::run(context, &args).await,
            Command::Get(args) => commands::get::run(context, &args).await,
            Command::Watch(args) => match &args.exec {
                Some(command) => commands::exec::run(context, &args, command).await,
                None => commands::watch::run(context, &args).await,
            },
            #[cfg(unix)]
            Command::Run(args) => commands::run::run(context, &args).await,
            Command::Register(args) => commands::register::run(context, args).await,
            Command::Deregister(args) => commands::deregister::run(context, &args).await,
            Command::Drain(args) => commands::drain::run(context, &args).await,
            Command::Undrain(args) => commands::drain::undo(context, &args).await,
            Command::Doctor(args) => commands::doctor::run(context, &args).await,
            Command::Serve(args) => commands::serve::run(context, &args).await,
            Command::Export => commands::export::run(context).await,
            Command::Import(args) => commands::export::import(context, &args).await,
            Command::Migrate(MigrateCommand::Status(args)) => {
                commands::migrate::status(context, &args).await
            }
            Command::Completions(_) | Command::Man => Ok(FAILED),
        }
    });
    // This does not wait for a DNS lookup under way, or for a file that hangs.
    runtime.shutdown_background();
    outcome
}
