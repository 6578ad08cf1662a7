//! The command: started in its own process group, signalled, and reaped with all its orphans.

use std::env;
use std::ffi::{OsStr, OsString};
use std::io::{IsTerminal, stdin};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use gosd::Instance;
use rustix::io::Errno;
use rustix::process::{
    Pid, Signal, WaitId, WaitIdOptions, WaitOptions, WaitStatus, kill_process, kill_process_group,
    wait, waitid,
};
use tokio::sync::oneshot;

use super::{signals, stub};
use crate::context::Context;
use crate::failure::{FAILED, Failure};

pub(crate) struct Child {
    /// `None` once the command has ended, because another process may then get its id.
    pid: Arc<Mutex<Option<Pid>>>,
    ended: oneshot::Receiver<u8>,
}

impl Child {
    /// Starts the command.
    ///
    /// It gets its own process group. Otherwise it would receive Ctrl-C from the terminal before the goodbye
    /// is sent, and then again from gosd. Call this on the first thread of the process: the kernel takes the
    /// end of the thread that started the command for the end of the parent.
    pub(crate) fn start(
        context: &Context,
        instance: &Instance,
        port: Option<u16>,
        command: &[OsString],
    ) -> Result<Self, Failure> {
        let mut start = Command::new(this_program()?);
        start.arg0("gosd").arg(stub::NAME).arg(std::process::id().to_string()).args(command);
        start.process_group(0);
        if stdin().is_terminal() {
            // A process group in the background is stopped when it reads from the terminal.
            start.stdin(Stdio::null());
        }
        start.envs(context.own_variables());
        if let Some(port) = port {
            start.env("PORT", port.to_string());
        }
        start.envs(telemetry(instance));
        let pid = start.spawn()?.id();
        let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).expect("a number of a process");
        let (tell, ended) = oneshot::channel();
        let running = Arc::new(Mutex::new(Some(pid)));
        let child = Self { pid: Arc::clone(&running), ended };
        // The thread ends with the last child, or with this process.
        thread::Builder::new()
            .name("gosd-reaper".into())
            .spawn(move || reap(pid, &running, tell))?;
        Ok(child)
    }

    /// Waits for the end of the command. Returns its exit code, or 128 plus the number of the signal that
    /// ended it.
    pub(crate) async fn ended(&mut self) -> u8 {
        (&mut self.ended).await.unwrap_or(FAILED)
    }

    /// Signals the command. Signals that a terminal would send to all its processes, and those that end the
    /// command, go to the whole group, so that a shell between gosd and the command loses nothing.
    pub(crate) fn signal(&self, signal: Signal) {
        let pid = self.pid.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(pid) = *pid else { return };
        // This fails if the command is ending at this moment.
        let _ = match signals::is_for_all(signal) {
            true => kill_process_group(pid, signal),
            false => kill_process(pid, signal),
        };
        if signal == Signal::TSTP {
            // gosd stops as well, which the signal alone does not do, because gosd handles it.
            let _ = kill_process(rustix::process::getpid(), Signal::STOP);
        }
    }
}

/// Reaps every child. As the first process of a container, this process inherits all orphans.
fn reap(command: Pid, running: &Mutex<Option<Pid>>, tell: oneshot::Sender<u8>) {
    let mut tell = Some(tell);
    loop {
        match waitid(WaitId::All, WaitIdOptions::EXITED | WaitIdOptions::NOWAIT) {
            Ok(_) => {}
            Err(Errno::INTR) => continue,
            Err(_) => return,
        }
        // A child has ended, and keeps its process id until it is reaped below.
        let mut running = running.lock().unwrap_or_else(PoisonError::into_inner);
        if let Ok(Some((pid, status))) = wait(WaitOptions::NOHANG)
            && pid == command
        {
            *running = None;
            if let Some(tell) = tell.take() {
                let _ = tell.send(exit_code(status));
            }
        }
    }
}

fn exit_code(status: WaitStatus) -> u8 {
    let code = status.exit_status().or_else(|| Some(128 + status.terminating_signal()?));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(FAILED)
}

/// The path to execute this program again, even if its file was replaced by a newer one.
fn this_program() -> std::io::Result<PathBuf> {
    let running = PathBuf::from("/proc/self/exe");
    if running.exists() { Ok(running) } else { env::current_exe() }
}

/// The variables by which OpenTelemetry's libraries name the service, unless they are set already.
#[expect(clippy::disallowed_methods, reason = "they are OpenTelemetry's, not gosd's")]
fn telemetry(instance: &Instance) -> Vec<(&'static str, OsString)> {
    const NAME: &str = "OTEL_SERVICE_NAME";
    const ATTRIBUTES: &str = "OTEL_RESOURCE_ATTRIBUTES";
    let mut variables = Vec::new();
    if env::var_os(NAME).is_none_or(|name| name.is_empty()) {
        variables.push((NAME, instance.service().into()));
    }
    let given = env::var_os(ATTRIBUTES).unwrap_or_default();
    variables.push((ATTRIBUTES, attributes(&given, instance)));
    variables
}

fn attributes(given: &OsStr, instance: &Instance) -> OsString {
    let mut all = given.to_owned();
    let is_there =
        given.to_string_lossy().split(',').any(|it| it.starts_with("service.instance.id="));
    if !is_there {
        if !given.is_empty() {
            all.push(",");
        }
        all.push(format!("service.instance.id={}", instance.id()));
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn existing_attributes_are_kept() {
        let instance = Instance::new("mail", "http://h").unwrap();
        let own = format!("service.instance.id={}", instance.id());
        for (given, expected) in [
            ("", own.clone()),
            ("a=b", format!("a=b,{own}")),
            ("a=b,service.instance.id=x", "a=b,service.instance.id=x".into()),
        ] {
            assert_eq!(attributes(given.as_ref(), &instance), *expected);
        }
    }
}
