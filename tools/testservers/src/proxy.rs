//! A TCP proxy that simulates network faults.

use std::net::SocketAddr;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

/// A port in front of a server, with a switch that cuts the connection.
#[derive(Debug)]
pub struct Proxy {
    port: u16,
    mode: watch::Sender<Mode>,
    task: JoinHandle<()>,
}

/// What a [`Proxy`] does with its connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Passes everything on.
    Pass,
    /// Breaks the existing connections, and each new one.
    Refuse,
    /// Keeps the connections and accepts new ones, but passes nothing on.
    Silent,
    /// Passes on the traffic of new connections. Those that fell silent stay silent.
    Heal,
}

impl Proxy {
    /// Starts a proxy for a port of the loopback interface.
    pub async fn to(server: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        let port = listener.local_addr().expect("it is bound").port();
        let (mode, changes) = watch::channel(Mode::Pass);
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                tokio::select! {
                    accepted = listener.accept() => {
                        let (client, _) = accepted.expect("the listener works");
                        connections.spawn(serve(client, ([127, 0, 0, 1], server).into(), changes.clone()));
                    }
                    Some(_) = connections.join_next() => {}
                }
            }
        });
        Self { port, mode, task }
    }

    /// The port to connect to instead of the server's.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Changes what the proxy does, with existing connections too.
    pub fn set(&self, mode: Mode) {
        self.mode.send_replace(mode);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(mut client: TcpStream, server: SocketAddr, mut changes: watch::Receiver<Mode>) {
    let mode = *changes.borrow_and_update();
    let mut kept = None;
    if matches!(mode, Mode::Pass | Mode::Heal) {
        let Ok(mut server) = TcpStream::connect(server).await else { return };
        for socket in [&client, &server] {
            socket.set_nodelay(true).expect("it is connected");
        }
        let changed = changes.wait_for(|mode| matches!(mode, Mode::Refuse | Mode::Silent));
        tokio::select! {
            _ = tokio::io::copy_bidirectional(&mut client, &mut server) => return,
            _ = changed => kept = Some(server),
        }
    }
    // A dead connection: neither end learns that the other one is gone.
    let _ = changes.wait_for(|mode| matches!(mode, Mode::Pass | Mode::Refuse)).await;
    drop(kept);
}
