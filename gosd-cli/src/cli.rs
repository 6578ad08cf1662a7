//! The command line.

#[cfg(unix)]
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgAction, Args, ColorChoice, Parser, Subcommand, ValueEnum};

use crate::commands::completions;
use crate::spans::{lease, span};

/// Service discovery on a database that you already have: what is registered, and who comes and goes.
///
/// The database is the one that the variable gosdDriver names, as for every service: an SQLite file
/// (sqlite:gosd.db, which is also the default), Redis (redis://host:6379), or a registry server
/// (http://host:4673). gosdNamespace and the other variables count, too.
///
/// Exit codes: 0 done, 1 failed, 2 usage, 3 nothing found, 4 the database cannot be reached.
#[derive(Parser)]
#[command(name = "gosd", version, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What every command takes.
#[derive(Args)]
pub(crate) struct Global {
    /// The database, in place of gosdDriver; others on this host can see it, so keep passwords in the
    /// variable
    #[arg(short, long, global = true, value_name = "URL")]
    pub(crate) driver: Option<String>,
    /// The namespace, in place of gosdNamespace
    #[arg(short, long, global = true, value_name = "NAME")]
    pub(crate) namespace: Option<String>,
    /// Output for programs: one JSON object a line
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// When to use color
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto")]
    pub(crate) color: ColorChoice,
    /// Log more on standard error; twice for each event
    #[arg(short, long, global = true, action = ArgAction::Count)]
    pub(crate) verbose: u8,
    /// Say nothing on standard error but why a command failed
    #[arg(short, long, global = true)]
    pub(crate) quiet: bool,
}

#[derive(Subcommand)]
pub(crate) enum Command {
    /// List the services, or the instances of one
    Ls(LsArgs),
    /// Print the URL of one instance of a service, for `curl $(gosd get orders)/ping`
    Get(GetArgs),
    /// Print what comes and goes, until it is interrupted
    Watch(WatchArgs),
    /// Run a command as a service: registered while it serves, gone before it ends
    #[cfg(unix)]
    Run(RunArgs),
    /// Register an instance by hand
    Register(RegisterArgs),
    /// Remove instances, such as orphans that nobody renews
    Deregister(DeregisterArgs),
    /// Keep an instance out of everybody's rotation for a while
    Drain(DrainArgs),
    /// End a drain before its time
    Undrain(UndrainArgs),
    /// Find out what is wrong, and what to do about it: exits with 1 if there is something
    Doctor(DoctorArgs),
    /// Serve the database to other hosts and languages, by the HTTP API
    Serve(ServeArgs),
    /// Print all that is registered, one JSON object a line
    Export,
    /// Register what was exported, read from standard input, for one lease
    Import(ImportArgs),
    /// See how far the services are on their way from one database to another
    #[command(subcommand)]
    Migrate(MigrateCommand),
    /// Print the completions of a shell
    Completions(completions::CompletionsArgs),
    /// Print the manual page
    Man,
}

#[derive(Args)]
pub(crate) struct LsArgs {
    /// The service whose instances to list
    pub(crate) service: Option<String>,
    /// What to print of each instance
    #[arg(short, long, value_enum, conflicts_with = "json")]
    pub(crate) output: Option<Column>,
    #[command(flatten)]
    pub(crate) labels: Labels,
}

/// One column of the instances, alone.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Column {
    /// Their URLs, one a line
    Url,
    /// Their ids, one a line
    Id,
}

/// Which instances count, by their metadata.
#[derive(Args, Clone)]
pub(crate) struct Labels {
    /// Only instances with this metadata; all of them if given more than once
    #[arg(short = 'l', long = "label", value_name = "KEY=VALUE", value_parser = pair)]
    pub(crate) labels: Vec<(String, String)>,
}

impl Labels {
    pub(crate) fn match_all(&self, instance: &gosd::Instance) -> bool {
        self.labels.iter().all(|(key, value)| instance.metadata().get(key) == Some(value))
    }
}

#[derive(Args)]
pub(crate) struct GetArgs {
    pub(crate) service: String,
    /// Wait for it to appear, for this long at most, such as 30s
    #[arg(long, value_name = "TIME", value_parser = span)]
    pub(crate) wait: Option<Duration>,
    #[command(flatten)]
    pub(crate) labels: Labels,
}

#[derive(Args)]
pub(crate) struct WatchArgs {
    /// The service to watch; all of them if none is given
    pub(crate) service: Option<String>,
    /// Run this by the shell with the list on its standard input, now and after each change: never two
    /// at once, and always once more after the last change
    #[arg(long, value_name = "COMMAND")]
    pub(crate) exec: Option<String>,
    /// What the command reads; instances that are drained are left out
    #[arg(short, long, value_enum, default_value = "json", requires = "exec")]
    pub(crate) output: Format,
    /// For how long nothing may change before the command is run; it waits ten times that at most
    #[arg(long, value_name = "TIME", default_value = "500ms", value_parser = span, requires = "exec")]
    pub(crate) settle: Duration,
}

/// How a list of instances is written.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// One object a line, as of `gosd get --json`
    Json,
    /// One variable for each service, for a shell: MAIL_URLS='http://a http://b'
    Env,
    /// One `upstream` for each service
    Nginx,
    /// One `backend` for each service
    Haproxy,
}

/// The command runs in a process group of its own, without the terminal as its input. What asks to end
/// it (SIGTERM, Ctrl-C, SIGQUIT) is passed on after the goodbye was said and --drain has passed, a second
/// one at once, and every other signal at once. The exit code is the command's, or 128 and the number of
/// the signal that ended it.
///
/// The command sees PORT, OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES in its environment. On Linux it
/// gets SIGTERM if gosd itself is killed.
#[cfg(unix)]
#[derive(Args)]
pub(crate) struct RunArgs {
    /// The name of the service
    pub(crate) service: String,
    /// The port that it listens on, which the variable PORT tells it; 0 chooses one that is free
    #[arg(short, long, required_unless_present = "url")]
    pub(crate) port: Option<u16>,
    /// Where others reach it; unless given, this host's address that faces the database, or gosdAdvertise
    #[arg(short, long)]
    pub(crate) url: Option<String>,
    /// A health check, such as /health or a URL: it serves while that answers with 200 to 299, and not
    /// already when its port takes connections
    #[arg(short, long, value_name = "URL")]
    pub(crate) check: Option<String>,
    /// How often to check that it serves
    #[arg(long, value_name = "TIME", default_value = "2s", value_parser = span)]
    pub(crate) every: Duration,
    /// How long it serves on after its goodbye; gosdDrain unless given
    #[arg(long, value_name = "TIME", value_parser = span)]
    pub(crate) drain: Option<Duration>,
    /// What else it says of itself
    #[arg(short, long = "metadata", value_name = "KEY=VALUE", value_parser = pair)]
    pub(crate) metadata: Vec<(String, String)>,
    /// The command and its arguments
    #[arg(last = true, required = true)]
    pub(crate) command: Vec<OsString>,
}

#[derive(Args)]
pub(crate) struct RegisterArgs {
    /// The name of the service
    pub(crate) service: String,
    /// Where others reach it
    pub(crate) url: String,
    /// What else it says of itself
    #[arg(short, long = "metadata", value_name = "KEY=VALUE", value_parser = pair)]
    pub(crate) metadata: Vec<(String, String)>,
    /// Stay, and keep it registered until Ctrl-C or SIGTERM
    #[arg(long, conflicts_with = "lease")]
    pub(crate) hold: bool,
    /// How long it stays registered without anybody renewing it; gosdLeaseTTL unless given
    #[arg(long = "for", id = "lease", value_name = "TIME", value_parser = lease)]
    pub(crate) lease: Option<Duration>,
}

#[derive(Args)]
pub(crate) struct DeregisterArgs {
    /// The ids of the instances
    #[arg(required_unless_present = "url")]
    pub(crate) ids: Vec<String>,
    /// Every instance with this URL
    #[arg(long, conflicts_with = "ids")]
    pub(crate) url: Option<String>,
}

#[derive(Args)]
pub(crate) struct DrainArgs {
    /// The id of the instance; `gosd ls SERVICE` shows it
    pub(crate) id: String,
    /// For how long, 2s to 1d: then it is back in the rotation by itself
    #[arg(long = "for", id = "lease", value_name = "TIME", default_value = "1h", value_parser = lease)]
    pub(crate) lease: Duration,
}

#[derive(Args)]
pub(crate) struct UndrainArgs {
    /// The id of the instance
    pub(crate) id: String,
}

/// Looks at the variables, the database, what is registered there, and the rights of this user: it
/// registers a record of its own for a moment, which no client shows.
#[derive(Args)]
pub(crate) struct DoctorArgs {
    /// Try to connect to each instance's URL, too, for a minute at most
    #[arg(long)]
    pub(crate) dial: bool,
}

#[derive(Args)]
pub(crate) struct ServeArgs {
    /// Where to listen; without tokens, on loopback alone
    #[arg(default_value = "127.0.0.1:4673")]
    pub(crate) address: String,
    /// Listen on a Unix socket instead; its file lets in who may open it
    #[cfg(unix)]
    #[arg(long, value_name = "PATH", conflicts_with_all = ["address", "cert", "key"])]
    pub(crate) unix: Option<PathBuf>,
    /// A file of tokens, one a line: whoever bears one may read and write
    #[arg(long, value_name = "FILE")]
    pub(crate) token_file: Option<PathBuf>,
    /// A file of tokens, one a line: whoever bears one may read
    #[arg(long, value_name = "FILE")]
    pub(crate) read_only_token_file: Option<PathBuf>,
    /// The chain of certificates, for TLS
    #[arg(long, value_name = "FILE", requires = "key")]
    pub(crate) cert: Option<PathBuf>,
    /// Its private key
    #[arg(long, value_name = "FILE", requires = "cert")]
    pub(crate) key: Option<PathBuf>,
}

#[derive(Args)]
pub(crate) struct ImportArgs {
    /// How long they stay registered without anybody renewing them; gosdLeaseTTL unless given
    #[arg(long = "for", id = "lease", value_name = "TIME", value_parser = lease)]
    pub(crate) lease: Option<Duration>,
}

#[derive(Subcommand)]
pub(crate) enum MigrateCommand {
    /// List who is only in the old database; the exit code is 1 until nobody is
    Status(StatusArgs),
}

#[derive(Args)]
pub(crate) struct StatusArgs {
    /// The old database; without the two, those of gosdDriver and gosdDriverAlso
    #[arg(requires = "new")]
    pub(crate) old: Option<String>,
    /// The new database
    pub(crate) new: Option<String>,
}

fn pair(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("a key and a value, such as zone=b")?;
    match key.is_empty() {
        true => Err("the key is empty".into()),
        false => Ok((key.into(), value.into())),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
