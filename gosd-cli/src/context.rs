//! What every command goes by: the variables, the flags for all, and the database that they choose.

use std::fmt::Display;
use std::io::Write as _;

use gosd::{Client, ClientBuilder, Drivers, Environment, Result};

use crate::backend::Backend;
use crate::cli::Global;
use crate::failure::Failure;
use crate::output::clean;

/// What every command goes by.
pub(crate) struct Context {
    pub(crate) environment: Environment,
    /// The variables that flags stand for, and their values.
    #[cfg_attr(not(unix), expect(dead_code, reason = "what is run there is not told"))]
    own: Vec<(&'static str, String)>,
    /// Whether programs read the output.
    pub(crate) json: bool,
    quiet: bool,
}

impl Context {
    pub(crate) fn new(global: Global) -> std::result::Result<Self, Failure> {
        // Who names a database means that one alone.
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

    /// The variables that flags stand for, so that a command that is run here finds the same registry.
    #[cfg(unix)]
    pub(crate) fn own_variables(&self) -> impl Iterator<Item = (&'static str, &str)> {
        self.own.iter().map(|(variable, value)| (*variable, value.as_str()))
    }

    /// The database; it is not connected to yet.
    pub(crate) async fn backend(&self) -> Result<Backend> {
        let driver = self.environment.driver(&Drivers::compiled()).await?;
        Ok(Backend::new(driver, self.environment.settings()?))
    }

    /// A client of the database, with the settings of the environment.
    pub(crate) async fn client(&self) -> Result<(ClientBuilder, Backend)> {
        let backend = self.backend().await?;
        let builder = Client::builder(backend.driver()).settings(backend.settings().clone());
        Ok((builder, backend))
    }

    /// Says something on standard error that is not the output.
    pub(crate) fn note(&self, text: impl Display) {
        if !self.quiet {
            // Without standard error there is nobody to tell.
            let _ = writeln!(anstream::stderr(), "gosd: {}", clean(&text.to_string()));
        }
    }
}
