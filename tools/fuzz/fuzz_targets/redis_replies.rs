//! What a Redis server answers to the question for the registry: the outcome does not depend on how
//! the network cuts it, and no more comes of it than there is in it.
#![no_main]

use futures_util::FutureExt;
use gosd_core::{Instance, Result};
use gosd_redis::fuzzing::snapshot;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (u8, &[u8])| {
    let (piece, replies) = input;
    let (whole, skipped) = read(replies, usize::MAX);
    if let Ok(instances) = &whole {
        // The shortest field takes twelve bytes: `$0`, `$0` and four line ends.
        assert!((instances.len() + skipped) * 12 <= replies.len());
    }
    let (cut, skipped_too) = read(replies, 1 + usize::from(piece));
    assert_eq!(skipped, skipped_too);
    match (whole, cut) {
        (Ok(whole), Ok(cut)) => assert_eq!(whole, cut),
        (Err(whole), Err(cut)) => assert_eq!(whole.to_string(), cut.to_string()),
        (whole, cut) => panic!("{whole:?} and {cut:?}"),
    }
});

fn read(replies: &[u8], piece: usize) -> (Result<Vec<Instance>>, usize) {
    snapshot(replies, piece).now_or_never().expect("all replies are there")
}
