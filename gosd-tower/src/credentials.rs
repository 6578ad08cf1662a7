//! The user and the password in a URL, which a request carries in a header instead.
//!
//! The same in gosd-tonic: core knows no HTTP, and the two depend on core alone.

use std::borrow::Cow;

use gosd_core::split_credentials;
use http::header::{AUTHORIZATION, HeaderMap, HeaderValue};

/// Takes the user and the password out of a URL, and puts them into the header `Authorization`, unless there is one.
/// Returns the URL without them.
pub(crate) fn move_to_header<'a>(url: &'a str, headers: &mut HeaderMap) -> Cow<'a, str> {
    let (bare, basic) = split_credentials(url);
    // Any header may have what `basic` consists of.
    if let Some(Ok(mut basic)) = basic.map(HeaderValue::try_from) {
        basic.set_sensitive(true);
        headers.entry(AUTHORIZATION).or_insert(basic);
    }
    bare
}
