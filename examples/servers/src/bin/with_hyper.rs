//! A service with hyper, which leaves the accept loop and the graceful end to its user.
//!
//! ```sh
//! gosdDriver=sqlite:/tmp/gosd.db cargo run -p gosd-servers --bin with_hyper
//! ```
//!
//! It listens on the port that is its first argument, or on any.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "it is there to be watched")]

use std::convert::Infallible;
use std::env;
use std::error::Error;
use std::pin::pin;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};

/// How long the requests that are under way at the end may take.
const LAST_REQUESTS: Duration = Duration::from_secs(10);
/// How long to wait when the system has no more sockets to give.
const NO_SOCKETS: Duration = Duration::from_millis(100);

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let port = env::args().nth(1).unwrap_or_else(|| "0".into());
    let listener = TcpListener::bind(format!("0.0.0.0:{port}")).await?;

    let url = gosd::advertise(listener.local_addr()?)?;
    let gosd = gosd::start("orders", &url).await?;
    println!("registered at {url}");

    let connections = GracefulShutdown::new();
    let mut end = pin!(gosd.shutdown_on_signal());
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((socket, _)) => serve(socket, &connections),
                Err(_) => sleep(NO_SOCKETS).await,
            },
            () = &mut end => break,
        }
    }
    drop(listener);
    let _ = timeout(LAST_REQUESTS, connections.shutdown()).await;
    println!("left");
    Ok(())
}

fn serve(socket: TcpStream, connections: &GracefulShutdown) {
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .serve_connection(TokioIo::new(socket), service_fn(ping));
    let connection = connections.watch(connection);
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            eprintln!("a connection ended: {error}");
        }
    });
}

async fn ping(request: Request<Incoming>) -> Result<Response<String>, Infallible> {
    let is_ping = request.uri().path() == "/ping";
    let mut response = Response::new(if is_ping { "pong".into() } else { String::new() });
    if !is_ping {
        *response.status_mut() = hyper::StatusCode::NOT_FOUND;
    }
    Ok(response)
}
