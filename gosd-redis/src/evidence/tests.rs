//! The conclusions from a server's clock and from its writes.

use super::*;

const SECOND: Duration = Duration::from_secs(1);

/// A driver that has run for long, on a server that accepts writes.
fn seasoned() -> Evidence {
    let evidence = Evidence::new();
    read(&evidence, 1_000_000, 0);
    evidence.wrote(Ok(()), false).unwrap();
    evidence.state().began = None;
    evidence
}

/// Reads a clock some seconds after the origin.
fn read(evidence: &Evidence, now: u64, seconds: u32) -> Steps {
    let at = evidence.origin + SECOND * seconds;
    evidence.read_clock(now, at, at)
}

fn refused(code: &str) -> RedisResult<()> {
    Err(redis::make_extension_error(code.into(), None))
}

#[test]
fn only_a_clock_that_was_set_is_a_step() {
    let evidence = seasoned();
    assert_eq!(read(&evidence, 1_010_100, 10).count, 0);
    assert_eq!(read(&evidence, 1_620_000, 20), Steps { count: 1, last: 599_900 });
    assert_eq!(evidence.dead(1_620_000), None, "the living renew first");
    assert_eq!(read(&evidence, 1_630_000, 30).count, 1);
    assert_eq!(read(&evidence, 1_040_000, 40), Steps { count: 2, last: -600_000 });
}

#[test]
fn a_slow_answer_is_no_step() {
    let evidence = seasoned();
    let (sent, received) = (evidence.origin + SECOND, evidence.origin + SECOND * 8);
    assert_eq!(evidence.read_clock(1_007_900, sent, received).count, 0);
    assert_eq!(read(&evidence, 1_009_000, 9).count, 0);
}

#[test]
fn after_a_start_only_leases_that_end_from_then_on_count() {
    let evidence = Evidence::new();
    assert_eq!(evidence.dead(1_000_000), None, "nobody has written yet");
    read(&evidence, 1_000_000, 0);
    evidence.wrote(Ok(()), false).unwrap();
    assert_eq!(evidence.dead(1_001_000), Some(Span { after: 1_000_000, until: 1_001_000 }));
    assert_eq!(evidence.hidden(1_001_000), Some(Span { after: 0, until: 1_001_000 }));
}

#[test]
fn refused_writes_are_an_outage_for_a_process_that_could_write() {
    for code in ["READONLY", "NOPERM", "OOM", "MISCONF", "NOREPLICAS"] {
        let evidence = seasoned();
        assert!(evidence.dead(1).is_some());
        let error = evidence.wrote(refused(code), false).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
        assert!(error.to_string().contains(code), "{error}");
        assert_eq!((evidence.dead(1), evidence.hidden(1)), (None, None), "{code}");
        evidence.wrote(Ok(()), false).unwrap();
        assert_eq!(evidence.dead(1), None, "{code}: the living renew first");
    }
}

#[test]
fn a_process_that_never_could_write_goes_on_reading() {
    for (code, must_be_master, reads) in [
        ("NOPERM", false, true),
        ("NOPERM", true, true),
        ("READONLY", false, true),
        ("READONLY", true, false),
        ("OOM", false, false),
    ] {
        let evidence = Evidence::new();
        assert_eq!(evidence.wrote(refused(code), must_be_master).is_ok(), reads, "{code}");
        assert_eq!(evidence.only_reads(), reads, "{code}");
        assert_eq!(evidence.dead(1), None, "{code}: nobody is seen to renew");
    }
}
