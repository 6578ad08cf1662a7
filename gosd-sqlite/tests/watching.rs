//! How often a watcher wakes when many changes come.

mod support;

use std::time::Instant;

use futures_util::{FutureExt, StreamExt};
use gosd_core::Event;

use support::{LONG_LEASE, Place, instance, next};

#[tokio::test]
async fn changes_that_come_together_are_read_together() {
    const CHANGES: usize = 200;
    const TIMES_A_SECOND: f64 = 20.0;
    let place = Place::new();
    let (driver, other) = (place.driver("gosd").await, place.driver("gosd").await);
    let mut watch = driver.watch().unwrap();
    assert_eq!(next(&mut watch).await.unwrap(), Event::Reset(vec![]));
    let begun = Instant::now();
    let changing = async {
        for _ in 0..CHANGES {
            other.register(&instance("mail"), LONG_LEASE).await.unwrap();
        }
    };
    let watching = async {
        let (mut seen, mut times) = (0, 0);
        while seen < CHANGES {
            next(&mut watch).await.unwrap();
            seen += 1;
            // Those that are ready together, as core takes them.
            while let Some(item) = watch.next().now_or_never() {
                item.unwrap().unwrap();
                seen += 1;
            }
            times += 1;
        }
        times
    };
    let ((), times) = tokio::join!(changing, watching);
    let most = TIMES_A_SECOND * (begun.elapsed().as_secs_f64() + 0.1);
    assert!(f64::from(times) <= most, "{times} times in {:?}", begun.elapsed());
}
