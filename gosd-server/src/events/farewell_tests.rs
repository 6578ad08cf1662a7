//! A test of how the watchers of a server that ends go.

use futures_util::StreamExt;
use futures_util::future::join_all;
use gosd_core::Memory;

use super::*;
use crate::feed::Common;
use crate::limits::{Clients, Limits};
use crate::peer::Peer;

#[tokio::test(start_paused = true)]
async fn the_watchers_of_a_server_that_ends_go_one_after_another() {
    const WATCHERS: usize = 400;
    let time = Duration::from_secs(2);
    let feed = Arc::new(Feed::new(Arc::new(Memory::new()), &Common::default()));
    let clients = Clients::new(Limits::default());
    let (closing, closes) = watch::channel(Closing::No);
    feed.contact().await.expect("the backend is there");
    let watchers = (0..WATCHERS).map(|_| {
        let slot = clients.watcher(Peer::Unknown, 0).expect("there are few");
        Watcher::new(Arc::clone(&feed), closes.clone(), Wanted::all(), None, slot)
    });
    let ends = watchers.map(async |watcher| {
        let stream = watcher.into_stream().map(|piece| piece.expect("it cannot fail"));
        let mut last = Bytes::new();
        let mut stream = std::pin::pin!(stream);
        while let Some(piece) = stream.next().await {
            last = piece;
        }
        assert!(last.starts_with(b"retry: "), "the watcher is told when to come again");
        Instant::now()
    });
    let ending = async {
        tokio::time::sleep(HEARTBEAT / 2).await;
        closing.send_replace(Closing::Within(time));
        Instant::now()
    };
    let (ends, began) = tokio::join!(join_all(ends), ending);
    let mut slots = [0; 20];
    for end in ends {
        let after = end.duration_since(began).min(time - Duration::from_millis(1));
        slots[(after.as_millis() / 100) as usize] += 1;
    }
    // Each tenth of a second has some twenty of them.
    let most = slots.into_iter().max().unwrap_or_default();
    assert!(most <= 3 * WATCHERS / slots.len(), "{slots:?}");
}
