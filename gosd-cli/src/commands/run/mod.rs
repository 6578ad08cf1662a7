//! `gosd run`: runs a command in any language as a service that comes and goes as one in Rust does.

mod child;
mod health;
mod probe;
mod signals;
pub(crate) mod stub;

use std::cell::OnceCell;
use std::net::{Ipv4Addr, TcpListener};
use std::pin::pin;
use std::time::Duration;

use futures_util::future::{Either, pending};
use gosd::{Client, ClientBuilder, Instance, Registration};
use rustix::process::Signal;
use tokio::time::{sleep, timeout};

use self::child::Child;
use self::health::Health;
use self::probe::Probe;
use self::signals::{PASSED_ON, asks_to_end};
use crate::cli::RunArgs;
use crate::context::Context;
use crate::failure::{Failure, Outcome, tell};
use crate::signals::Signals;

/// How long the end of the service waits for a database that hangs: a supervisor soon kills a process that
/// does not end.
const GRACE: Duration = Duration::from_secs(3);

pub(crate) async fn run(context: &Context, args: &RunArgs) -> Outcome {
    let port = match args.port {
        Some(0) => Some(free_port()?),
        port => port,
    };
    let (url, probe) = match (&args.url, port) {
        (Some(url), _) => (url.clone(), Probe::new(args.check.as_deref(), port, url, false)?),
        (None, port) => {
            let bound = (Ipv4Addr::UNSPECIFIED, port.unwrap_or_default()).into();
            let url = context.environment.advertise(bound)?;
            let is_advertised = context.environment.is_set("gosdAdvertise");
            (url.clone(), Probe::new(args.check.as_deref(), port, &url, is_advertised)?)
        }
    };
    let mut instance = Instance::new(&args.service, &url)?;
    for (key, value) in &args.metadata {
        instance = instance.with_metadata(key, value);
    }
    instance.check()?;
    context.environment.check_reachable(&url)?;
    let (builder, backend) = context.client().await?;
    let mut settings = backend.settings().clone();
    if let Some(drain) = args.drain {
        settings = settings.drain(drain);
    }
    // The client would refuse them when the command has started already.
    settings.check()?;
    let builder = builder.settings(settings);
    let builder = builder.register_instance(instance.clone()).start_unready();

    // Before the command starts, so that no signal meant for it is lost.
    let signals = Signals::of(&PASSED_ON)?;
    let child = Child::start(context, &instance, port, &args.command)?;
    let health = Health {
        context,
        backend: &backend,
        instance: &instance,
        probe,
        every: args.every,
        // Several instances may share a URL that the caller chose.
        takes_over: args.url.is_none(),
    };
    Supervisor { context, health, client: OnceCell::new() }.run(builder, signals, child).await
}

struct Supervisor<'a> {
    context: &'a Context,
    health: Health<'a>,
    /// The client, once it has started, which takes a while if the database does not answer.
    client: OnceCell<Client>,
}

impl Supervisor<'_> {
    /// Runs until the command has ended.
    async fn run(&self, builder: ClientBuilder, mut signals: Signals, mut child: Child) -> Outcome {
        let mut keeping = pin!(self.keep(builder));
        let mut leaving = pin!(Either::Left(pending()));
        // The signal that is passed on once other clients have heard of the goodbye.
        let mut waits = None;
        let mut is_leaving = false;
        let mut refused = None;
        let ended = loop {
            tokio::select! {
                ended = child.ended() => break ended,
                failed = &mut keeping, if !is_leaving => {
                    // An error such as a refused password ends the command now rather than later. It is
                    // told first, for the command may take long to end.
                    refused = Some(tell(failed));
                    self.context.note("this cannot succeed: the command is asked to end");
                    is_leaving = true;
                    child.signal(Signal::TERM);
                }
                () = &mut leaving => {
                    leaving.set(Either::Left(pending()));
                    if let Some(signal) = waits.take() {
                        child.signal(signal);
                    }
                }
                signal = signals.next() => match asks_to_end(signal) {
                    true if !is_leaving => {
                        is_leaving = true;
                        waits = Some(signal);
                        leaving.set(Either::Right(self.depart()));
                    }
                    // A second signal means that the sender does not want to wait.
                    true => {
                        waits.take().into_iter().chain([signal]).for_each(|it| child.signal(it));
                    }
                    false => child.signal(signal),
                },
            }
        };
        if let Some(client) = self.client.get() {
            // A failure has been logged, and then the lease ends the registration.
            let _ = timeout(GRACE, client.shutdown()).await;
        }
        Ok(refused.unwrap_or(ended))
    }

    /// Keeps the registration in step with the command. Ends only if registering can never succeed.
    async fn keep(&self, builder: ClientBuilder) -> Failure {
        match builder.start().await {
            Ok(client) => self.health.keep(self.client.get_or_init(|| client)).await,
            Err(error) => error.into(),
        }
    }

    /// Sends the goodbye, and waits until other clients have heard of it.
    async fn depart(&self) {
        let Some(client) = self.client.get() else { return };
        let was_found = matches!(
            client.status().registration,
            Registration::Registered | Registration::Retrying { .. }
        );
        let said = timeout(GRACE, client.leave()).await;
        let drain = client.drain_time();
        if was_found && matches!(said, Ok(Ok(()))) && !drain.is_zero() {
            self.context.note(format!("said goodbye; the command is asked to end in {drain:?}"));
            sleep(drain).await;
        }
    }
}

/// A free port. Another process may take it before the command does.
fn free_port() -> Result<u16, Failure> {
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    Ok(listener.local_addr()?.port())
}
