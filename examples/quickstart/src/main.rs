//! Two providers and a consumer, three processes that share one SQLite file, to watch gosd at work.
//!
//! ```sh
//! cargo run -p quickstart
//! ```
//!
//! The program runs itself again for each of the three; [`provider`] and [`consumer`] are the parts to read.
//! It removes everything that it made, even when it is ended with Ctrl-C.
//!
//! It speaks HTTP by hand, so that there is little to compile before it runs. `examples/provider.rs` and
//! `examples/consumer.rs` are the same two programs with axum and reqwest.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "it is there to be watched")]

use std::env;
use std::error::Error;
use std::path::Path;
use std::process::{ExitCode, Stdio};
use std::time::Duration;

use futures_util::StreamExt;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, ChildStdout, Command};
use tokio::time::timeout;

type Result<T = ()> = std::result::Result<T, Box<dyn Error>>;

/// How many seconds an instance outlives its last heartbeat: few, so that there is little to wait for.
const LEASE: &str = "2";

#[tokio::main]
async fn main() -> ExitCode {
    let args: Vec<String> = env::args().skip(1).collect();
    let ended = match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => show().await,
        ["provider", name] => provider(name).await,
        ["consumer"] => consumer().await,
        _ => Err("usage: quickstart".into()),
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// A service that registers itself and answers requests, until SIGTERM.
async fn provider(name: &str) -> Result {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}", listener.local_addr()?);

    let gosd = gosd::start("provider", &url).await?;
    println!("registered at {url}");
    tokio::select! {
        served = serve(&listener, name) => served,
        // The client says goodbye first, and requests are still served here while the others hear of it.
        () = gosd.shutdown_on_signal() => Ok(()),
    }
}

/// Answers every request with the provider's name.
async fn serve(listener: &TcpListener, name: &str) -> Result {
    loop {
        let (mut connection, _) = listener.accept().await?;
        let answer = format!("HTTP/1.0 200 OK\r\n\r\n\"Provider: {name}\"");
        tokio::spawn(async move {
            let mut request = BufReader::new(&mut connection).lines();
            // The head of a request ends with an empty line.
            while request.next_line().await?.is_some_and(|line| !line.is_empty()) {}
            connection.write_all(answer.as_bytes()).await
        });
    }
}

/// A program that finds the providers by name, and registers nothing.
async fn consumer() -> Result {
    let gosd = gosd::connect().await?;
    let request = async || -> Result {
        let provider = gosd.next("provider").await?;
        println!("{}", get(provider.url()).await?);
        Ok(())
    };
    let mut changes = gosd.changes();
    for _ in 0..10 {
        request().await?;
    }
    while gosd.instances("provider").len() > 1 {
        changes.next().await;
    }
    for _ in 0..5 {
        request().await?;
    }
    while !gosd.instances("provider").is_empty() {
        changes.next().await;
    }
    match gosd.next("provider").await {
        Ok(provider) => Err(format!("{} should be gone", provider.url()).into()),
        Err(error) => {
            println!("{error}");
            Ok(())
        }
    }
}

/// The body of the answer to a GET request.
async fn get(url: &str) -> Result<String> {
    let address = url.strip_prefix("http://").ok_or("the providers here speak plain HTTP")?;
    let mut connection = TcpStream::connect(address).await?;
    connection.write_all(b"GET /ping HTTP/1.0\r\n\r\n").await?;
    let mut answer = String::new();
    connection.read_to_string(&mut answer).await?;
    match answer.split_once("\r\n\r\n") {
        Some((head, body)) if head.starts_with("HTTP/1.0 200 ") => Ok(body.to_owned()),
        _ => Err(format!("{url} answered {answer:?}").into()),
    }
}

/// Runs the three processes, and cleans up after them.
async fn show() -> Result {
    let interrupted = interruption()?;
    let folder = tempfile::tempdir()?;
    let mut cast = Vec::new();
    let ended = tokio::select! {
        biased;
        () = interrupted => Err("interrupted".into()),
        ended = timeout(Duration::from_secs(60), story(folder.path(), &mut cast)) => {
            ended.unwrap_or_else(|_| Err("it takes too long; is the machine very busy?".into()))
        }
    };
    // The consumer first, because it would complain of the providers' end.
    for actor in cast.iter_mut().rev() {
        // This fails only if the process has ended already.
        let _ = actor.child.kill().await;
    }
    folder.close()?;
    ended
}

async fn story(folder: &Path, cast: &mut Vec<Actor>) -> Result {
    println!("Two providers start, and register their URLs in a new SQLite file:\n");
    for name in ["1", "2"] {
        cast.push(Actor::start(&["provider", name], folder)?);
    }
    for (actor, name) in cast.iter_mut().zip(1..) {
        println!("provider {name} {}", actor.line().await?);
    }

    println!(
        "\nA consumer starts. Ten times it looks \"provider\" up, and asks the URL it gets:\n"
    );
    cast.push(Actor::start(&["consumer"], folder)?);
    let [first, second, consumer] = &mut cast[..] else { unreachable!("the three") };
    for _ in 0..10 {
        println!("{}", consumer.line().await?);
    }

    println!("\nProvider 1 gets SIGTERM. It leaves the registry; the next five reach the other:\n");
    terminate(&mut first.child)?;
    for _ in 0..5 {
        println!("{}", consumer.line().await?);
    }
    println!("\nProvider 1 has ended: {}", first.child.wait().await?);

    println!(
        "\nProvider 2 gets SIGKILL, and cannot say goodbye. Its lease of {LEASE} s runs out, and"
    );
    println!("the lookup fails:\n");
    second.child.kill().await?;
    println!("{}", consumer.line().await?);

    println!("\nThere was no server: the registry was the file. To read on: examples/provider.rs");
    Ok(())
}

/// One of the three processes.
struct Actor {
    child: Child,
    said: Lines<BufReader<ChildStdout>>,
}

impl Actor {
    /// Runs this program again, with these arguments and a registry in the folder.
    fn start(args: &[&str], folder: &Path) -> Result<Self> {
        let mut child = Command::new(env::current_exe()?)
            .args(args)
            // The bare scheme stands for the file gosd.db in the working directory.
            .current_dir(folder)
            .env("gosdDriver", "sqlite")
            .env("gosdLeaseTTL", LEASE)
            .env("gosdTryFindServiceAmount", "1")
            .env("gosdTryFindServiceDelay", "1")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let stdout = child.stdout.take().ok_or("its output is piped")?;
        Ok(Self { child, said: BufReader::new(stdout).lines() })
    }

    async fn line(&mut self) -> Result<String> {
        self.said.next_line().await?.ok_or_else(|| "one of the three has ended early".into())
    }
}

#[cfg(unix)]
fn terminate(child: &mut Child) -> Result {
    use rustix::process::{Pid, Signal, kill_process};

    let id = child.id().and_then(|id| Pid::from_raw(id.try_into().ok()?));
    Ok(kill_process(id.ok_or("it has ended already")?, Signal::TERM)?)
}

#[cfg(not(unix))]
fn terminate(child: &mut Child) -> Result {
    Ok(child.start_kill()?)
}

/// Waits for Ctrl-C or SIGTERM, neither of which ends the process from this call on.
#[cfg(unix)]
fn interruption() -> Result<impl Future<Output = ()>> {
    use tokio::signal::unix::{SignalKind, signal};

    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
}

#[cfg(not(unix))]
fn interruption() -> Result<impl Future<Output = ()>> {
    Ok(async {
        let _ = tokio::signal::ctrl_c().await;
    })
}
