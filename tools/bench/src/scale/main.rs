//! What a fleet costs its database: real clients in several processes, on real servers of this machine.
//!
//! `cargo run --release --manifest-path tools/bench/Cargo.toml --no-default-features --features scale
//! --bin gosd-scale -- [--markdown FILE] DRIVER:CLIENTS...`, such as `redis:1000 tier:2000`. The drivers are
//! `sqlite`, `redis`, `postgres`, `etcd`, `http` (a registry server over memory) and `tier` (three registry
//! servers over one Redis). `gosd-scale kills CLIENTS` does nothing but kill each server of a tier in turn, and says
//! why if a client misses an instance. Each client has a driver, and so connections, of its own, as a service has.

mod agent;
mod backend;
mod bare;
mod crew;
mod look;
mod page;
mod reconnect;
mod run;
mod server;
mod truth;
mod usage;

#[tokio::main]
async fn main() {
    let mut arguments: Vec<String> = std::env::args().skip(1).collect();
    let text = |n: usize| arguments.get(n).expect("an argument is missing").as_str();
    let number = |n: usize| text(n).parse().expect("a number");
    match arguments.first().map(String::as_str) {
        Some("agent") => return agent::run(text(1), number(2), number(3)).await,
        Some("bare") => return bare::run(text(1), text(2), number(3)).await,
        Some("kills") => return println!("{}", run::kills(number(1)).await),
        Some("serve") => {
            return server::run(text(1), text(2), arguments.get(3).map(String::as_str)).await;
        }
        _ => {}
    }
    let file = match arguments.iter().position(|argument| argument == "--markdown") {
        Some(at) => {
            arguments.remove(at);
            Some(arguments.remove(at))
        }
        None => None,
    };
    // Of the last minute.
    let load = std::fs::read_to_string("/proc/loadavg").expect("this is Linux");
    let load = load.split(' ').next().expect("a number");
    let mut rows = Vec::new();
    println!("{}", page::HEADER);
    for fleet in arguments {
        let (driver, clients) = fleet.split_once(':').expect("DRIVER:CLIENTS");
        let clients = clients.parse().expect("a number of clients");
        let row = run::simulate(driver, clients).await;
        println!("{row}");
        rows.push(row);
        // After each, so that a run that is broken off leaves the page of what it has measured.
        if let Some(file) = &file {
            std::fs::write(file, page::written(&rows, load)).expect("the page can be written");
        }
    }
}
