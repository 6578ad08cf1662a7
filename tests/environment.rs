//! The effect of environment variables, in programs that are started with them.
#![cfg(target_os = "linux")]

mod support;

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use gosd::{
    BoxFuture, Driver, Drivers, ErrorKind, Instance, InstanceId, Memory, Result, async_trait,
};
use support::{Cast, Process, tell};
use tokio::runtime::Runtime;

/// A driver that prints the leases that it is asked for.
struct Telling(Memory);

#[async_trait]
impl Driver for Telling {
    async fn register(&self, instance: &Instance, ttl: Duration) -> Result<()> {
        tell(&format!("lease {ttl:?}"));
        self.0.register(instance, ttl).await
    }

    async fn deregister(&self, id: &InstanceId) -> Result<()> {
        self.0.deregister(id).await
    }

    async fn list(&self) -> Result<Vec<Instance>> {
        self.0.list().await
    }
}

fn open(url: &str) -> BoxFuture<'_, Result<Arc<dyn Driver>>> {
    tell(&format!("open {url}"));
    Box::pin(async { Ok(Arc::new(Telling(Memory::new())) as Arc<dyn Driver>) })
}

fn drivers() -> Drivers {
    Drivers::compiled().with("telling", open)
}

fn told<T>(what: &str, result: Result<T>) {
    match result {
        Ok(_) => tell(&format!("{what}: done")),
        Err(error) => tell(&format!("{what}: {error}")),
    }
}

/// The role of a program that uses everything that depends on the environment.
fn program() {
    Runtime::new().unwrap().block_on(async {
        told("settings", gosd::settings());
        told("connect", drivers().connect().await);
        told("start", drivers().start("mail", "http://127.0.0.1:1").await);
    });
    tell("end");
}

fn said(program: &Process) -> Vec<String> {
    program.wait_for("settings"); // Lines of the test runner come first.
    let lines = std::iter::repeat_with(|| program.line());
    lines.take_while(|line| line != "end").collect()
}

#[test]
fn a_variable_that_is_set_reaches_the_driver() {
    let cast = Cast::new("a_variable_that_is_set_reaches_the_driver", &[("program", program)]);
    let env = [("gosdDriver", "telling:x"), ("gosdNamespace", "n"), ("gosdLeaseTTL", "7")];
    let open = "open telling:x?namespace=n";
    let expected = [open, "connect: done", open, "lease 7s", "start: done"];
    assert_eq!(said(&cast.start("program", &env)), expected);
}

#[test]
fn a_bad_value_is_an_error_before_anything_is_opened() {
    let cast =
        Cast::new("a_bad_value_is_an_error_before_anything_is_opened", &[("program", program)]);
    let error = r#"gosdLeaseTTL is "7s"; expected a whole number, 2 to 86400 (seconds)"#;
    let program = cast.start("program", &[("gosdDriver", "telling"), ("gosdLeaseTTL", "7s")]);
    assert_eq!(said(&program), [format!("connect: {error}"), format!("start: {error}")]);

    let error = "gosdNamespace is not Unicode; expected 1 to 64 characters of A-Z a-z 0-9 . _ -";
    let mut command = cast.command("program");
    command.env("gosdDriver", "telling").env("gosdNamespace", OsStr::from_bytes(b"n\xff"));
    let program = Process::start(&mut command);
    assert_eq!(said(&program), [format!("connect: {error}"), format!("start: {error}")]);
}

#[test]
fn a_start_outside_a_runtime_is_an_error_and_no_panic() {
    fn program() {
        let (drivers, mut context) = (drivers(), Context::from_waker(Waker::noop()));
        let start = pin!(drivers.start("mail", "http://127.0.0.1:1"));
        let Poll::Ready(Err(error)) = start.poll(&mut context) else { panic!("it is an error") };
        assert_eq!(error.kind(), ErrorKind::Config);
        told::<()>("start", Err(error));
    }
    let cast =
        Cast::new("a_start_outside_a_runtime_is_an_error_and_no_panic", &[("program", program)]);
    let program = cast.start("program", &[("gosdDriver", "telling")]);
    assert!(program.wait_for("start: ").contains("tokio runtime"));
}
