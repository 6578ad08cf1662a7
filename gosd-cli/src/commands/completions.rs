//! `gosd completions`: the completion script of a shell.

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use crate::cli::Cli;
use crate::failure::{DONE, Outcome};
use crate::output::print;

#[derive(Args)]
pub(crate) struct CompletionsArgs {
    /// The shell
    shell: Shell,
}

pub(crate) fn run(args: &CompletionsArgs) -> Outcome {
    // The generator itself would panic when the reader of standard output is gone.
    let mut text = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "gosd", &mut text);
    print(&String::from_utf8_lossy(&text))?;
    Ok(DONE)
}
