//! Driver URLs, as every driver takes them: good, or an error that tells no secret.
#![no_main]

use futures_util::FutureExt;
use gosd::{DriverUrl, Drivers, ErrorKind};
use gosd_fuzz::words;
use libfuzzer_sys::fuzz_target;

/// The corpus has it in the place of the password.
const SECRET: &str = "sesame";

fuzz_target!(|text: &str| {
    let opened = Drivers::compiled().open(text).now_or_never().expect("an opener does no I/O");
    let parsed = DriverUrl::parse(text);
    let mut said = String::new();
    for error in [opened.as_ref().err(), parsed.as_ref().err()].into_iter().flatten() {
        assert_eq!(error.kind(), ErrorKind::Config, "{error}");
        said += &words(error);
    }
    if let Ok(url) = &parsed {
        if url.has_authority() {
            said += &format!("{url} {url:?}");
        }
        assert!(!url.hosts_or("localhost", 1).is_empty());
    } else {
        assert!(opened.is_err(), "no driver takes more than the parser does");
    }
    assert!(!has_only_a_secret(text) || !said.contains(SECRET), "{text:?}: {said}");
});

/// Whether the secret stands where a password does, raw or encoded, and nowhere else.
fn has_only_a_secret(text: &str) -> bool {
    let Some((scheme, rest)) = text.split_once(':') else { return false };
    // What stands after another scheme without the slashes is a path; but they may be forgotten.
    let rest = match rest.strip_prefix("//") {
        None if scheme.eq_ignore_ascii_case("sqlite") => return false,
        with => with.unwrap_or(rest),
    };
    let Some((before, after)) = rest.rsplit_once('@') else { return false };
    // The user's name goes before it, and there is no secret in a path without a host.
    let is_password = before
        .find(':')
        .is_some_and(|at| !before[..at].contains(['/', '?']) && !before[..at].contains(SECRET));
    is_password && !scheme.contains(SECRET) && !after.contains(SECRET)
}
