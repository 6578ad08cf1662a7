//! The user and the password in a URL, which a request carries in a header instead.

use base64::prelude::{BASE64_STANDARD, Engine};
use percent_encoding::percent_decode_str;
use reqwest::header::{AUTHORIZATION, HeaderValue};
use reqwest::{Request, Url};

/// Moves the user and the password from the URL of a request into its header `Authorization`, unless the request
/// has one of its own.
///
/// reqwest does so when a request is built, but not when a request is given another URL. Left in the URL they
/// would not be sent, and errors of reqwest would show them.
pub(crate) fn move_to_header(request: &mut Request) {
    if let Some(basic) = take(request.url_mut()) {
        request.headers_mut().entry(AUTHORIZATION).or_insert(basic);
    }
}

fn take(url: &mut Url) -> Option<HeaderValue> {
    if url.username().is_empty() && url.password().is_none() {
        return None;
    }
    let mut basic: Vec<u8> = percent_decode_str(url.username()).collect();
    basic.push(b':');
    basic.extend(percent_decode_str(url.password().unwrap_or_default()));
    // Neither call can fail, because a URL with a user or a password has a host.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    let mut basic =
        HeaderValue::try_from(format!("Basic {}", BASE64_STANDARD.encode(basic))).ok()?;
    basic.set_sensitive(true);
    Some(basic)
}
