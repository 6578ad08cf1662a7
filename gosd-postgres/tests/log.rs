//! What the log says, behind a pooler. In a process of its own, since logging that begins while another
//! thread logs may miss lines.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::StreamExt;
use gosd_core::{Event, Instance};
use gosd_testservers::{PgBouncer, PostgresServer, Warnings};
use tokio::time::timeout;

const LEASE: Duration = Duration::from_secs(600);
const LATE: Duration = Duration::from_secs(60);
/// More than it takes until the silence is noticed, and as many again.
const CHANGES: usize = 12;

/// A pooler in transaction mode takes `LISTEN`, and passes nothing on.
#[tokio::test]
async fn that_nobody_rings_is_said_once() {
    let server = PostgresServer::start(&[]).await;
    let pooler = PgBouncer::start(&server, 2).await;
    for (port, warnings) in [(pooler.port(), 1), (server.port(), 0)] {
        let log = Arc::new(Mutex::new(Vec::new()));
        let kept = log.clone();
        let collected = Warnings(move |line| kept.lock().unwrap().push(line));
        let _guard = tracing::subscriber::set_default(collected);
        let url = format!("postgres://postgres:p%40ss@127.0.0.1:{port}/postgres");
        let reader = gosd_postgres::open(&url).await.unwrap();
        let writer = gosd_postgres::open(&server.url()).await.unwrap();
        // The second watch is as one that begins again after an outage.
        for round in 0..2 {
            let mut watch = reader.watch().unwrap();
            let first = timeout(LATE, watch.next()).await.unwrap().unwrap();
            assert!(matches!(first, Ok(Event::Reset(_))), "{first:?}");
            for number in 0..CHANGES {
                let url = format!("http://10.0.{round}.{number}:25");
                let mail = Instance::new("mail", &url).unwrap();
                writer.register(&mail, LEASE).await.unwrap();
                let seen = timeout(LATE, watch.next()).await.unwrap().unwrap();
                assert_eq!(seen.unwrap(), Event::Put(mail));
            }
        }
        let said = log.lock().unwrap();
        let silence = said.iter().filter(|line| line.contains("in transaction mode")).count();
        assert_eq!((silence, said.len()), (warnings, warnings), "{said:?}");
    }
}
