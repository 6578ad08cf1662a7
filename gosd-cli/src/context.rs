//! The context of every command: the variables, the flags for all commands, and the chosen database.

use std::fmt::Display;
use std::io::Write as _;

use gosd::{Client, ClientBuilder, Drivers, Environment, Result};

use crate::backend::Backend;
use crate::cli::Global;
use crate::failure::Failure;
use crate::output::clean;

/// The context of a command.
pub(crate) struct Context {
    pub(crate) environment: Environment,
    /// The variables that correspond to flags, with their values.
    #[cfg_attr(not(unix), expect(dead_code, reason = "what is run there is not told"))]
    own: Vec<(&'static str, String)>,
    /// Whether programs read the output.
    pub(crate) json: bool,
    quiet: bool,
}

impl Context {
    pub(crate) fn new(global: Global) -> std::result::Result<Self, Failure> {
        // A flag that names a database means only that one.
        let also = global.driver.is_some().then(String::new);
        let own = [
            ("gosdDriver", global.driver),
            ("gosdDriverAlso", also),
            ("gosdNamespace", global.namespace),
        ];
        let own: Vec<_> =
            own.into_iter().filter_map(|(variable, value)| Some((variable, value?))).collect();
        let mut environment = Environment::process();
        for (variable, value) in &own {
            environment = environment.with(variable, value)?;
        }
        Ok(Self { environment, own, json: global.json, quiet: global.quiet })
    }

    /// The variables that correspond to flags, so that a command that gosd runs finds the same registry.
    #[cfg(unix)]
    pub(crate) fn own_variables(&self) -> impl Iterator<Item = (&'static str, &str)> {
        self.own.iter().map(|(variable, value)| (*variable, value.as_str()))
    }

    /// The database, which is not connected yet, with the settings of the environment. Everything in it is
    /// watched, for the commands show whatever there is.
    pub(crate) async fn backend(&self) -> Result<Backend> {
        let driver = self.environment.driver(&Drivers::compiled()).await?;
        let mut settings = self.environment.settings()?.watch_on_demand(false);
        // The file is that of the service with this environment. A command of another registry or namespace would
        // replace it, and commands tell what the database says, and not what it once said.
        settings.snapshot_path = None;
        Ok(Backend::new(driver, settings))
    }

    /// A client of the database.
    pub(crate) async fn client(&self) -> Result<(ClientBuilder, Backend)> {
        let backend = self.backend().await?;
        let builder = Client::builder(backend.driver()).settings(backend.settings().clone());
        Ok((builder, backend))
    }

    /// Writes a message to standard error, which is not the command's output.
    pub(crate) fn note(&self, text: impl Display) {
        if !self.quiet {
            // If standard error is closed, the message is lost.
            let _ = writeln!(anstream::stderr(), "gosd: {}", clean(&text.to_string()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_snapshot_file_of_a_service_is_left_alone() {
        let variables =
            [("gosdDriver", "redis://localhost"), ("gosdSnapshotPath", "/var/lib/view")];
        let environment = variables
            .into_iter()
            .try_fold(Environment::process(), |environment, (variable, value)| {
                environment.with(variable, value)
            });
        let environment = environment.unwrap();
        assert!(environment.settings().unwrap().snapshot_path.is_some());
        let context = Context { environment, own: Vec::new(), json: false, quiet: false };
        assert_eq!(context.backend().await.unwrap().settings().snapshot_path, None);
    }
}
