//! The signals that ask a server to end.

#[cfg(unix)]
pub(crate) use unix::asked_to_end;

/// Waits for Ctrl-C. A second Ctrl-C takes its default action.
#[cfg(not(unix))]
pub(crate) async fn asked_to_end() -> std::io::Result<()> {
    tokio::signal::ctrl_c().await?;
    tokio::spawn(async {
        if tokio::signal::ctrl_c().await.is_ok() {
            // The exit code that the system gives to a program that Ctrl-C ended.
            std::process::exit(0xC000_013A_u32.cast_signed());
        }
    });
    Ok(())
}

#[cfg(unix)]
mod unix {
    use std::io;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    use signal_hook::consts::{SIGINT, SIGTERM};
    use signal_hook::flag::{register_conditional_default, register_conditional_shutdown};
    use tokio::signal::unix::{SignalKind, signal};

    /// Waits for SIGTERM or SIGINT. After that the next signal takes its default action, at once and whatever
    /// the runtime is doing.
    pub(crate) async fn asked_to_end() -> io::Result<()> {
        let has_come = Arc::new(AtomicBool::new(false));
        for kind in [SIGINT, SIGTERM] {
            // The kernel applies no default action to PID 1, so the exit code follows the shell's convention.
            if std::process::id() == 1 {
                register_conditional_shutdown(kind, 128 + kind, Arc::clone(&has_come))?;
            } else {
                register_conditional_default(kind, Arc::clone(&has_come))?;
            }
        }
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        has_come.store(true, Ordering::SeqCst);
        Ok(())
    }
}
