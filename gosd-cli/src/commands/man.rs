//! `gosd man`: prints the manual page, with every command in it.

use clap::CommandFactory;
use clap_mangen::Man;

use crate::cli::Cli;
use crate::failure::{DONE, Outcome};
use crate::output::print;

pub(crate) fn run() -> Outcome {
    let mut page = Vec::new();
    let mut command = Cli::command();
    command.build();
    Man::new(command.clone()).render(&mut page)?;
    for sub in command.get_subcommands().filter(|it| it.get_name() != "help") {
        // The flags of every command are described once.
        let own = sub.clone().mut_args(|arg| match arg.is_global_set() || arg.get_id() == "help" {
            true => arg.hide(true),
            false => arg,
        });
        page.extend(format!(".SH GOSD {}\n", sub.get_name().to_uppercase()).bytes());
        let man = Man::new(own);
        man.render_synopsis_section(&mut page)?;
        man.render_description_section(&mut page)?;
        man.render_options_section(&mut page)?;
    }
    print(&String::from_utf8_lossy(&page))?;
    Ok(DONE)
}
