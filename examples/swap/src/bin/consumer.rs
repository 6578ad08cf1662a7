//! The consumer of the examples with one more driver; nothing else differs.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "it is there to be watched")]

use std::error::Error;
use std::time::Duration;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let gosd = gosd::Drivers::compiled().with("memcache", gosd_memcache::open).connect().await?;
    tokio::select! {
        asked = ask(&gosd) => asked,
        // Ctrl-C or SIGTERM. This works in a container, too, whose first process has to handle them itself.
        () = gosd.shutdown_on_signal() => Ok(()),
    }
}

/// Sends ten requests to the providers.
async fn ask(gosd: &gosd::Client) -> Result<(), Box<dyn Error>> {
    let http = reqwest::Client::new();
    let mut pace = tokio::time::interval(Duration::from_millis(500));
    for _ in 0..10 {
        pace.tick().await;
        // The next provider in turn. An error says that none appeared in time.
        let provider = gosd.next("provider").await?;
        match http.get(format!("{}/ping", provider.url())).send().await {
            Ok(answer) => println!("{}", answer.error_for_status()?.text().await?),
            // The provider may have died just now. The next in turn is probably alive.
            Err(error) => eprintln!("{}: {error}", provider.url()),
        }
    }
    Ok(())
}
