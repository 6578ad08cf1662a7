//! What the databases themselves take for a message to many: subscribers without gosd.

use std::sync::Arc;

use etcd_client::{Client as EtcdClient, WatchOptions};
use futures_util::StreamExt;
use futures_util::stream;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, stdin};
use tokio::net::TcpStream;
use tokio_postgres::{AsyncMessage, NoTls};

use crate::agent::{Arrivals, note, taken};

/// The channel, the key and the prefix of what is sent.
const NAME: &str = "bare";

/// Subscribes so many times, says `ready`, and answers each line of the input with what has arrived.
pub async fn run(kind: &str, address: &str, count: usize) {
    let arrivals = Arrivals::default();
    for _ in 0..count {
        subscribe(kind, address, Arc::clone(&arrivals)).await;
    }
    println!("ready");
    let mut lines = BufReader::new(stdin()).lines();
    while let Ok(Some(_)) = lines.next_line().await {
        println!("{}", taken(&arrivals));
    }
}

/// Makes a subscription on a connection of its own; the task that reads it ends with the process.
async fn subscribe(kind: &str, address: &str, arrivals: Arrivals) {
    match kind {
        "redis" => {
            let mut stream = BufReader::new(TcpStream::connect(address).await.expect("it listens"));
            let request = format!("SUBSCRIBE {NAME}\r\n");
            stream.write_all(request.as_bytes()).await.expect("a request");
            let mut lines = stream.lines();
            // The confirmation ends with how many subscriptions there are.
            while lines.next_line().await.expect("an answer").expect("it is open") != ":1" {}
            tokio::spawn(async move {
                while let Ok(Some(line)) = lines.next_line().await {
                    // The lines of a message are lengths and names, and the number.
                    if let Ok(number) = line.parse() {
                        note(&arrivals, number);
                    }
                }
            });
        }
        "postgres" => {
            let (client, mut connection) =
                tokio_postgres::connect(address, NoTls).await.expect("it listens");
            tokio::spawn(async move {
                let mut messages = stream::poll_fn(move |context| connection.poll_message(context));
                while let Some(Ok(message)) = messages.next().await {
                    if let AsyncMessage::Notification(it) = message {
                        note(&arrivals, it.payload().parse().expect("a number"));
                    }
                }
            });
            client.batch_execute(&format!("LISTEN {NAME}")).await.expect("it listens");
            // Without its client the connection would be closed.
            std::mem::forget(client);
        }
        "etcd" => {
            let mut client = EtcdClient::connect([address], None).await.expect("it listens");
            let options = WatchOptions::new().with_prefix();
            let mut watch = client.watch(NAME, Some(options)).await.expect("a watch");
            tokio::spawn(async move {
                let _client = client;
                while let Ok(Some(answer)) = watch.message().await {
                    for value in answer.events().iter().filter_map(|event| event.kv()) {
                        let text = value.value_str().expect("text");
                        note(&arrivals, text.parse().expect("a number"));
                    }
                }
            });
        }
        other => panic!("nothing bare compares with {other}"),
    }
}

/// A sender of messages.
pub enum Sender {
    Redis(BufReader<TcpStream>),
    Postgres(tokio_postgres::Client),
    Etcd(Box<EtcdClient>),
}

impl Sender {
    pub async fn connect(kind: &str, address: &str) -> Self {
        match kind {
            "redis" => {
                let stream = TcpStream::connect(address).await.expect("it listens");
                Self::Redis(BufReader::new(stream))
            }
            "postgres" => {
                let (client, connection) =
                    tokio_postgres::connect(address, NoTls).await.expect("it listens");
                tokio::spawn(connection);
                Self::Postgres(client)
            }
            _ => Self::Etcd(Box::new(
                EtcdClient::connect([address], None).await.expect("it listens"),
            )),
        }
    }

    /// Sends a number to all.
    pub async fn send(&mut self, number: u64) {
        match self {
            Self::Redis(stream) => {
                let request = format!("PUBLISH {NAME} {number}\r\n");
                stream.write_all(request.as_bytes()).await.expect("a request");
                stream.read_line(&mut String::new()).await.expect("an answer");
            }
            Self::Postgres(client) => {
                let statement = format!("NOTIFY {NAME}, '{number}'");
                client.batch_execute(&statement).await.expect("it is sent");
            }
            Self::Etcd(client) => {
                client.put(NAME, number.to_string(), None).await.expect("it is put");
            }
        }
    }
}
