//! The consumer of the examples, with one more driver; nothing else differs.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "it is there to be watched")]

use std::error::Error;
use std::time::Duration;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let gosd = gosd::Drivers::compiled().with("memcache", gosd_memcache::open).connect().await?;
    tokio::select! {
        asked = ask(&gosd) => asked,
        // Ctrl-C or SIGTERM, also in a container, whose first process nothing else ends.
        () = gosd.shutdown_on_signal() => Ok(()),
    }
}

/// Asks the providers, ten times in all.
async fn ask(gosd: &gosd::Client) -> Result<(), Box<dyn Error>> {
    let http = reqwest::Client::new();
    let mut pace = tokio::time::interval(Duration::from_millis(500));
    for _ in 0..10 {
        pace.tick().await;
        // The next provider in turn. An error says that none appeared in time.
        let provider = gosd.next("provider").await?;
        match http.get(format!("{}/ping", provider.url())).send().await {
            Ok(answer) => println!("{}", answer.error_for_status()?.text().await?),
            // It may have died just now. The next in turn may well be alive.
            Err(error) => eprintln!("{}: {error}", provider.url()),
        }
    }
    Ok(())
}
