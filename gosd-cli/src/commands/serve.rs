//! `gosd serve`: the registry server, over any driver.

use std::fmt::Display;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use futures_util::FutureExt;
use gosd::{Driver, Drivers, Environment, Error, ErrorKind};
use gosd_server::{Limits, Server, Settings};
use tracing::warn;

use crate::cli::ServeArgs;
use crate::context::Context;
use crate::failure::{DONE, Failure, Outcome, USAGE};
use crate::output::announce;

pub(crate) async fn run(context: &Context, args: &ServeArgs) -> Outcome {
    let own = context.backend().await?.driver();
    let namespace = context.environment.namespace(&Drivers::compiled())?;
    let mut settings = Settings::new().namespace(&namespace, own)?;
    // Any other name tells.
    let other = if namespace == "gosd" { "other" } else { "gosd" };
    if open(&context.environment, other).is_ok() {
        settings = settings.namespaces(namespaces(context.environment.clone()));
    } else {
        context.note(format!(
            "only the namespace {namespace} is served, because the URL of the database has it; with \
             gosdNamespace in place of namespace= in the URL, all are"
        ));
    }
    if let Some(clients) = args.clients_per_address {
        settings = settings.limits(Limits::default().for_clients_of_one_address(clients));
    }
    for token in tokens(args.token_file.as_deref())? {
        settings = settings.token(&token)?;
    }
    for token in tokens(args.read_only_token_file.as_deref())? {
        settings = settings.read_only_token(&token)?;
    }
    if let (Some(cert), Some(key)) = (&args.cert, &args.key) {
        settings = settings.tls(cert, key);
    }
    #[cfg(unix)]
    if let Some(path) = &args.unix {
        let server = gosd_server::serve_unix(path, settings).await?;
        return until_asked(server, format!("http+unix://{}", path.display())).await;
    }
    let server = gosd_server::serve(&*args.address, settings).await?;
    let scheme = if args.cert.is_some() { "https" } else { "http" };
    let url = format!("{scheme}://{}", server.address());
    until_asked(server, url).await
}

/// Opens the database for each other namespace that clients ask for.
fn namespaces(environment: Environment) -> impl Fn(&str) -> Option<Arc<dyn Driver>> + Send + Sync {
    move |namespace| {
        open(&environment, namespace)
            .inspect_err(|error| warn!(%error, "the namespace {namespace} cannot be served"))
            .ok()
    }
}

fn open(environment: &Environment, namespace: &str) -> Result<Arc<dyn Driver>, Error> {
    let environment = environment.clone().with("gosdNamespace", namespace)?;
    // An opener does no I/O, so the future is ready at once.
    let opened = environment.driver(&Drivers::compiled()).now_or_never();
    opened.unwrap_or_else(|| Err(Error::new(ErrorKind::Config, "the driver does not open at once")))
}

async fn until_asked<A>(server: Server<A>, url: impl Display) -> Outcome {
    announce(&format!("{url}\n"))?;
    server.shutdown_on_signal().await?;
    Ok(DONE)
}

/// The tokens of a file, one a line.
fn tokens(file: Option<&Path>) -> Result<Vec<String>, Failure> {
    let Some(file) = file else { return Ok(Vec::new()) };
    let shown = file.display();
    let usage = |problem: &dyn Display| Failure::Said(USAGE, format!("{shown}: {problem}"));
    let text = fs::read_to_string(file).map_err(|error| usage(&error))?;
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let tokens: Vec<String> = lines.map(str::to_owned).collect();
    // An empty list of tokens would let in everybody on this host.
    if tokens.is_empty() { Err(usage(&"there is no token in it")) } else { Ok(tokens) }
}
