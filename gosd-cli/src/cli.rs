//! The command line.

#[cfg(unix)]
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgAction, Args, ColorChoice, Parser, Subcommand, ValueEnum};

use crate::commands::completions;
use crate::spans::{lease, span, within};

/// Service discovery on a database that you already have: shows what is registered, and what comes and goes.
///
/// The database is the one that the variable gosdDriver names, as for every service: an SQLite file
/// (sqlite:gosd.db, which is also the default), Redis (redis://host:6379), PostgreSQL
/// (postgres://user:password@host/db), or a registry server (http://host:4673). gosdNamespace and the other
/// variables count, too.
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

/// The flags of every command.
#[derive(Args)]
pub(crate) struct Global {
    /// The database, instead of gosdDriver; other users of this host can see this flag, so keep passwords in
    /// the variable
    #[arg(short, long, global = true, value_name = "URL")]
    pub(crate) driver: Option<String>,
    /// The namespace, instead of gosdNamespace
    #[arg(short, long, global = true, value_name = "NAME")]
    pub(crate) namespace: Option<String>,
    /// Output for programs: one JSON object a line
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// When to use color
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto")]
    pub(crate) color: ColorChoice,
    /// Log more on standard error; given twice, log each event
    #[arg(short, long, global = true, action = ArgAction::Count)]
    pub(crate) verbose: u8,
    /// Write nothing to standard error except why a command failed
    #[arg(short, long, global = true)]
    pub(crate) quiet: bool,
}

#[derive(Subcommand)]
pub(crate) enum Command {
    /// List the services, or the instances of one
    Ls(LsArgs),
    /// Print the URL of one instance of a service, for `curl $(gosd get orders)/ping`
    Get(GetArgs),
    /// Print what comes and goes, until interrupted
    Watch(WatchArgs),
    /// Run a command as a service: registered while it serves, and deregistered before it ends
    #[cfg(unix)]
    Run(RunArgs),
    /// Register an instance by hand
    Register(RegisterArgs),
    /// Remove instances, such as orphans that no process renews
    Deregister(DeregisterArgs),
    /// Take an instance out of every client's rotation for a while
    Drain(DrainArgs),
    /// End a drain before its time
    Undrain(UndrainArgs),
    /// Check the environment, the database and the records, and say how to fix what is wrong; exits with 1 if
    /// something is
    Doctor(DoctorArgs),
    /// Serve the database to other hosts and languages, over the HTTP API
    Serve(ServeArgs),
    /// Print all instances, one JSON object a line
    Export,
    /// Register exported instances, read from standard input, for one lease
    Import(ImportArgs),
    /// Show how far the services have moved from one database to another
    #[command(subcommand)]
    Migrate(MigrateCommand),
    /// Print the completion script of a shell
    Completions(completions::CompletionsArgs),
    /// Print the manual page
    Man,
}

#[cfg(unix)]
impl Command {
    /// Whether the command itself handles the signals that ask it to end.
    pub(crate) fn handles_signals(&self) -> bool {
        match self {
            Self::Run(_) | Self::Serve(_) => true,
            Self::Register(args) => args.hold,
            Self::Watch(args) => args.exec.is_some(),
            _ => false,
        }
    }
}

#[derive(Args)]
pub(crate) struct LsArgs {
    /// The service whose instances to list
    pub(crate) service: Option<String>,
    /// The column to print, without the others
    #[arg(short, long, value_enum, conflicts_with = "json")]
    pub(crate) output: Option<Column>,
    #[command(flatten)]
    pub(crate) labels: Labels,
}

/// A column of the list of instances.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Column {
    /// Their URLs, one a line
    Url,
    /// Their ids, one a line
    Id,
}

/// A selection of instances by their metadata.
#[derive(Args, Clone)]
pub(crate) struct Labels {
    /// Only instances with this metadata; given more than once, all of it must match
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
    /// Wait for an instance to appear, for this long at most, such as 30s; a day is the longest
    #[arg(long, value_name = "TIME", value_parser = within("0s", "1d"))]
    pub(crate) wait: Option<Duration>,
    #[command(flatten)]
    pub(crate) labels: Labels,
}

#[derive(Args)]
pub(crate) struct WatchArgs {
    /// The service to watch; all services if none is given
    pub(crate) service: Option<String>,
    /// Run this command in a shell, with the list on its standard input, now and after each change; it never
    /// runs twice at once, and always runs once more after the last change
    #[arg(long, value_name = "COMMAND")]
    pub(crate) exec: Option<String>,
    /// The format of the list; drained instances are left out
    #[arg(short, long, value_enum, default_value = "json", requires = "exec")]
    pub(crate) output: Format,
    /// How long nothing may change before the command runs; it is delayed by ten times that at most
    #[arg(long, value_name = "TIME", default_value = "500ms", value_parser = span, requires = "exec")]
    pub(crate) settle: Duration,
    /// End the command, and all that it has started, after this time, 10ms to 1d; it then counts as failed, and
    /// is run again
    #[cfg_attr(unix, arg(
        long, value_name = "TIME", value_parser = within("10ms", "1d"), requires = "exec"
    ))]
    #[cfg_attr(not(unix), arg(skip))]
    pub(crate) timeout: Option<Duration>,
}

/// A format of the list of instances.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// One object a line, as from `gosd get --json`
    Json,
    /// One shell variable for each service: MAIL_URLS='http://a http://b'
    Env,
    /// One `upstream` for each service
    Nginx,
    /// One `backend` for each service
    Haproxy,
}

/// The command runs in its own process group, without the terminal as its input. A signal that asks it to end
/// (SIGTERM, Ctrl-C, SIGQUIT) is passed on after the goodbye was sent and --drain has passed. A second such
/// signal is passed on at once, and so is every other signal. The exit code is the command's, or 128 plus the
/// number of the signal that ended it.
///
/// The command sees PORT, OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES in its environment. On Linux it gets
/// SIGTERM if gosd itself is killed.
#[cfg(unix)]
#[derive(Args)]
pub(crate) struct RunArgs {
    /// The name of the service
    pub(crate) service: String,
    /// The port that the service listens on, passed in the variable PORT; 0 chooses a free one
    #[arg(short, long, required_unless_present = "url")]
    pub(crate) port: Option<u16>,
    /// The URL for other hosts; by default, gosdAdvertise or this host's address that faces the database
    #[arg(short, long)]
    pub(crate) url: Option<String>,
    /// A health check, such as /health or a URL: the service counts as ready while the answer is 200 to 299,
    /// and not as soon as its port accepts connections
    #[arg(short, long, value_name = "URL")]
    pub(crate) check: Option<String>,
    /// How often to check that the service is ready, 10ms to 1h
    #[arg(long, value_name = "TIME", default_value = "2s", value_parser = within("10ms", "1h"))]
    pub(crate) every: Duration,
    /// How long the service runs on after its goodbye, 1h at most; gosdDrain by default
    #[arg(long, value_name = "TIME", value_parser = within("0s", "1h"))]
    pub(crate) drain: Option<Duration>,
    /// Metadata of the instance
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
    /// The URL under which others reach it
    pub(crate) url: String,
    /// Metadata of the instance
    #[arg(short, long = "metadata", value_name = "KEY=VALUE", value_parser = pair)]
    pub(crate) metadata: Vec<(String, String)>,
    /// Keep running, and keep the instance registered until Ctrl-C or SIGTERM
    #[arg(long, conflicts_with = "lease")]
    pub(crate) hold: bool,
    /// How long the instance stays registered without being renewed; gosdLeaseTTL by default
    #[arg(long = "for", id = "lease", value_name = "TIME", value_parser = lease)]
    pub(crate) lease: Option<Duration>,
}

#[derive(Args)]
pub(crate) struct DeregisterArgs {
    /// The ids of the instances
    #[arg(required_unless_present = "url")]
    pub(crate) ids: Vec<String>,
    /// Remove every instance with this URL
    #[arg(long, conflicts_with = "ids")]
    pub(crate) url: Option<String>,
}

#[derive(Args)]
pub(crate) struct DrainArgs {
    /// The id of the instance; `gosd ls SERVICE` shows it
    pub(crate) id: String,
    /// How long the drain lasts, 2s to 1d; afterwards the instance is back in the rotation
    #[arg(long = "for", id = "lease", value_name = "TIME", default_value = "1h", value_parser = lease)]
    pub(crate) lease: Duration,
}

#[derive(Args)]
pub(crate) struct UndrainArgs {
    /// The id of the instance
    pub(crate) id: String,
}

/// Checks the variables, the database, what is registered there, and the rights of this user. For the last it
/// registers a record for a moment, which no client shows.
#[derive(Args)]
pub(crate) struct DoctorArgs {
    /// Also try to connect to each instance's URL, for a minute at most
    #[arg(long)]
    pub(crate) dial: bool,
}

#[derive(Args)]
pub(crate) struct ServeArgs {
    /// The address to listen on; without tokens, it has to be on loopback
    #[arg(default_value = "127.0.0.1:4673")]
    pub(crate) address: String,
    /// Listen on a Unix socket instead; whoever may open its file is let in
    #[cfg(unix)]
    #[arg(long, value_name = "PATH", conflicts_with_all = ["address", "cert", "key"])]
    pub(crate) unix: Option<PathBuf>,
    /// How many clients may share an address, as those behind a NAT or a proxy do; 1,024 by default
    #[arg(long, value_name = "CLIENTS", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) clients_per_address: Option<u32>,
    /// A file of tokens, one a line, with which clients may read and write
    #[arg(long, value_name = "FILE")]
    pub(crate) token_file: Option<PathBuf>,
    /// A file of tokens, one a line, with which clients may only read
    #[arg(long, value_name = "FILE")]
    pub(crate) read_only_token_file: Option<PathBuf>,
    /// The certificate chain, for TLS
    #[arg(long, value_name = "FILE", requires = "key")]
    pub(crate) cert: Option<PathBuf>,
    /// The private key of the certificate
    #[arg(long, value_name = "FILE", requires = "cert")]
    pub(crate) key: Option<PathBuf>,
}

#[derive(Args)]
pub(crate) struct ImportArgs {
    /// How long the instances stay registered without being renewed; gosdLeaseTTL by default
    #[arg(long = "for", id = "lease", value_name = "TIME", value_parser = lease)]
    pub(crate) lease: Option<Duration>,
}

#[derive(Subcommand)]
pub(crate) enum MigrateCommand {
    /// List the instances that are only in the old database; the exit code is 1 while there are any
    Status(StatusArgs),
}

#[derive(Args)]
pub(crate) struct StatusArgs {
    /// The old database; by default the old and the new one are those of gosdDriver and gosdDriverAlso
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
