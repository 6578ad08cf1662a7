//! A TCP proxy that simulates network faults.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

/// A port in front of a server, with a switch that cuts the connection.
#[derive(Debug)]
pub struct Proxy {
    port: u16,
    mode: watch::Sender<Mode>,
    /// How many connections are late or held.
    late: watch::Sender<usize>,
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
    /// Passes on the traffic of new connections. What clients send on existing ones is kept until
    /// [`Pass`](Self::Pass), and passed on once the client has closed the connection.
    Late,
    /// Passes on the traffic of new connections. What clients send on existing ones is kept until
    /// [`Pass`](Self::Pass), and then these go on.
    Held,
}

impl Proxy {
    /// Starts a proxy for a port of the loopback interface.
    pub async fn to(server: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        let port = listener.local_addr().expect("it is bound").port();
        let (mode, changes) = watch::channel(Mode::Pass);
        let late = watch::Sender::new(0);
        let delayed = late.clone();
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                tokio::select! {
                    accepted = listener.accept() => {
                        let (client, _) = accepted.expect("the listener works");
                        connections.spawn(serve(client, ([127, 0, 0, 1], server).into(), changes.clone(), delayed.clone()));
                    }
                    Some(_) = connections.join_next() => {}
                }
            }
        });
        Self { port, mode, late, task }
    }

    /// The port to connect to instead of the server's.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Changes what the proxy does, with existing connections too.
    pub fn set(&self, mode: Mode) {
        self.mode.send_replace(mode);
    }

    /// Makes the existing connections [late](Mode::Late). There has to be one.
    pub async fn delay(&self) {
        self.change_existing(Mode::Late).await;
    }

    /// Makes the existing connections [held](Mode::Held). There has to be one.
    pub async fn hold(&self) {
        self.change_existing(Mode::Held).await;
    }

    async fn change_existing(&self, mode: Mode) {
        self.set(mode);
        self.late.subscribe().wait_for(|late| *late > 0).await.expect("this is here");
    }

    /// Delivers what came on late or held connections, and waits until these are closed.
    pub async fn deliver(&self) {
        self.set(Mode::Pass);
        self.late.subscribe().wait_for(|late| *late == 0).await.expect("this is here");
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(
    mut client: TcpStream,
    server: SocketAddr,
    mut changes: watch::Receiver<Mode>,
    late: watch::Sender<usize>,
) {
    let mode = *changes.borrow_and_update();
    let mut kept = None;
    if matches!(mode, Mode::Pass | Mode::Heal | Mode::Late | Mode::Held) {
        let Ok(mut server) = TcpStream::connect(server).await else { return };
        for socket in [&client, &server] {
            socket.set_nodelay(true).expect("it is connected");
        }
        let changed = changes.wait_for(|now| match now {
            Mode::Refuse | Mode::Silent => true,
            // What was made while others are late is not late itself.
            Mode::Late | Mode::Held => mode != *now,
            Mode::Pass | Mode::Heal => false,
        });
        let now = tokio::select! {
            // In this order, so that nothing passes that was sent after the switch.
            biased;
            now = changed => now.map(|now| *now),
            _ = tokio::io::copy_bidirectional(&mut client, &mut server) => return,
        };
        if let Ok(now @ (Mode::Late | Mode::Held)) = now {
            late.send_modify(|late| *late += 1);
            match now {
                Mode::Late => deliver_late(client, server, changes).await,
                _ => deliver_held(client, server, changes).await,
            }
            late.send_modify(|late| *late -= 1);
            return;
        }
        kept = Some(server);
    }
    // A dead connection: neither end learns that the other one is gone.
    let _ = changes.wait_for(|mode| matches!(mode, Mode::Pass | Mode::Refuse)).await;
    drop(kept);
}

async fn deliver_held(
    mut client: TcpStream,
    mut server: TcpStream,
    mut changes: watch::Receiver<Mode>,
) {
    // The sockets keep what is sent meanwhile.
    if changes.wait_for(|mode| *mode == Mode::Pass).await.is_ok() {
        let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
    }
}

async fn deliver_late(
    mut client: TcpStream,
    mut server: TcpStream,
    mut changes: watch::Receiver<Mode>,
) {
    let mut sent = Vec::new();
    let passes = async { changes.wait_for(|mode| *mode == Mode::Pass).await.is_ok() };
    // A connection that breaks has sent what it could.
    let (_, passes) = tokio::join!(client.read_to_end(&mut sent), passes);
    if passes {
        // The server may have closed it.
        let _ = server.write_all(&sent).await;
        let _ = server.shutdown().await;
        let _ = server.read_to_end(&mut Vec::new()).await;
    }
}
