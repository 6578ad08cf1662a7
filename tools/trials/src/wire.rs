//! A simulated network between clients and a server.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use gosd_core::BoxFuture;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::sleep;

use crate::fault::Fault;
use crate::history::{Event, Recorder};

/// The delay of a [`Fault::Delay`].
const LATE: Duration = Duration::from_millis(300);
/// For how long a [`Fault::Flap`] refuses connections, and for how long it then leaves them alone.
const FLAP: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(5));
/// How many bytes of a [`Fault::Trickle`] pass at a time, and how often.
const TRICKLE: (usize, Duration) = (64, Duration::from_millis(50));

/// A simulated network between the clients and a server, in which faults can be made.
#[derive(Debug)]
pub struct Wire {
    port: u16,
    fault: watch::Sender<Option<Fault>>,
    task: JoinHandle<()>,
    /// The task of a [`Fault::Flap`], which ends when it is dropped.
    flapping: Option<JoinSet<()>>,
}

impl Wire {
    /// Connects to a port of the loopback interface. Each connection of a client is recorded.
    pub async fn to(server: u16, recorder: Recorder) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        let here = listener.local_addr().expect("it is bound");
        let (fault, faults) = watch::channel(None);
        let task = tokio::spawn(listen(listener, here, server, faults, recorder));
        Self { port: here.port(), fault, task, flapping: None }
    }

    /// The port to connect to instead of the server's.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Begins or ends a fault.
    pub fn set(&mut self, fault: Option<Fault>) {
        self.flapping = None;
        if fault == Some(Fault::Flap) {
            let flaps = self.fault.clone();
            let mut flapping = JoinSet::new();
            flapping.spawn(flap(flaps));
            self.flapping = Some(flapping);
        } else {
            self.fault.send_replace(fault);
        }
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Breaks all connections for a moment, again and again.
async fn flap(fault: watch::Sender<Option<Fault>>) {
    loop {
        fault.send_replace(Some(Fault::Refuse));
        sleep(FLAP.0).await;
        fault.send_replace(None);
        sleep(FLAP.1).await;
    }
}

type Faults = watch::Receiver<Option<Fault>>;

async fn listen(
    mut listener: TcpListener,
    here: SocketAddr,
    server: u16,
    faults: Faults,
    recorder: Recorder,
) {
    let mut changes = faults.clone();
    let mut connections = JoinSet::new();
    let there = ([127, 0, 0, 1], server).into();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let (client, _) = accepted.expect("the listener works");
                recorder.record(Event::Connected);
                connections.spawn(join(client, there, faults.clone()));
            }
            Some(_) = connections.join_next() => {}
            () = until(&mut changes, |fault| fault == Some(Fault::Refuse)) => {
                drop(listener);
                until(&mut changes, |fault| fault != Some(Fault::Refuse)).await;
                listener = TcpListener::bind(here).await.expect("the port is ours");
            }
        }
    }
}

/// Forwards between a client and the server until one of them or a fault ends the connection.
async fn join(client: TcpStream, server: SocketAddr, mut faults: Faults) {
    let Ok(server) = TcpStream::connect(server).await else { return };
    for socket in [&client, &server] {
        socket.set_nodelay(true).expect("it is connected");
    }
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let requests = pump(from_client, to_server, faults.clone(), Fault::LoseRequests);
    let replies = pump(from_server, to_client, faults.clone(), Fault::LoseReplies);
    // The end of one direction ends both, so a reset is passed on in the same way as a regular close.
    tokio::select! {
        _ = requests => {}
        _ = replies => {}
        () = until(&mut faults, |fault| fault == Some(Fault::Refuse)) => {}
    }
}

/// Waits until a fault begins or ends.
async fn until(faults: &mut Faults, is_so: impl Fn(Option<Fault>) -> bool) {
    if faults.wait_for(|fault| is_so(*fault)).await.is_err() {
        // The wire was dropped, and this task is about to be.
        std::future::pending::<()>().await;
    }
}

fn pump(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut faults: Faults,
    lose: Fault,
) -> BoxFuture<'static, io::Result<()>> {
    Box::pin(async move {
        let mut buffer = vec![0; 16 * 1024];
        loop {
            let read = from.read(&mut buffer).await?;
            if read == 0 {
                return Ok(());
            }
            let fault = *faults.borrow_and_update();
            match fault {
                Some(Fault::Reset) => {
                    to.as_ref().set_zero_linger()?;
                    from.as_ref().set_zero_linger()?;
                    return Ok(());
                }
                Some(Fault::Cut) if lose == Fault::LoseReplies => {
                    return to.write_all(&buffer[..read / 2]).await;
                }
                Some(Fault::Delay) => {
                    sleep(LATE).await;
                    to.write_all(&buffer[..read]).await?;
                }
                Some(Fault::Trickle) => {
                    for few in buffer[..read].chunks(TRICKLE.0) {
                        to.write_all(few).await?;
                        sleep(TRICKLE.1).await;
                    }
                }
                Some(fault) if fault == lose => {
                    // What was lost is sent again until it arrives, as TCP does.
                    until(&mut faults, |now| now != Some(lose)).await;
                    to.write_all(&buffer[..read]).await?;
                }
                _ => to.write_all(&buffer[..read]).await?,
            }
        }
    })
}
