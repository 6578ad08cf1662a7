//! Streams of events: what is read does not depend on how the network cuts them, and no event is
//! longer than allowed.
#![no_main]

use gosd_http::fuzzing::messages;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (u8, u8, &[u8])| {
    let (piece, limit, stream) = input;
    let in_pieces = || stream.chunks(1 + usize::from(piece));
    let read = |messages: Vec<gosd_core::Result<_>>| -> Vec<_> {
        messages.into_iter().map(|message| message.expect("it is short enough")).collect()
    };
    let whole = read(messages([stream], usize::MAX));
    assert_eq!(read(messages(in_pieces(), usize::MAX)), whole);
    // Up to where it goes, the limit changes nothing.
    let limit = usize::from(limit);
    let limited = messages(in_pieces(), limit);
    for (message, expected) in limited.into_iter().zip(whole) {
        let Ok(message) = message else { break };
        assert!(message.1.len() <= limit);
        assert_eq!(message, expected);
    }
});
