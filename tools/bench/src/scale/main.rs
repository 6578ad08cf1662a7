//! What a fleet costs its database: as many clients as are asked for, in this process, on a real
//! server. Each has a driver, and so connections, of its own, as a process of a fleet has.
//!
//! `cargo run --release --manifest-path tools/bench/Cargo.toml --no-default-features --features scale
//! --bin gosd-scale -- redis 10 200 2000`. The drivers are `sqlite`, `redis`, `etcd` and `http`.

mod backend;
mod fleet;
mod usage;

use backend::Backend;

#[tokio::main]
async fn main() {
    let mut arguments = std::env::args().skip(1);
    let driver = arguments.next().expect("the first argument is a driver");
    if driver == "serve" {
        return backend::serve().await;
    }
    println!("{}", fleet::HEADER);
    for size in arguments {
        let size = size.parse().expect("sizes are numbers");
        let backend = Backend::start(&driver).await;
        println!("| {driver} {}", fleet::simulate(&backend, size).await);
    }
}
