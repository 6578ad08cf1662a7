//! The user and the password in a URL, which a request carries in a header instead.

use gosd_core::split_credentials;
use reqwest::header::{AUTHORIZATION, HeaderValue};
use reqwest::{Request, Url};

/// Moves the user and the password from the URL of a request into its header `Authorization`, unless the request
/// has one of its own.
///
/// reqwest does so when a request is built, but not when a request is given another URL. Left in the URL they
/// would not be sent, and errors of reqwest would show them.
pub(crate) fn move_to_header(request: &mut Request) {
    let (bare, basic) = split_credentials(request.url().as_str());
    let Some(basic) = basic else { return };
    // Both are good: without its user a URL is one as well, and any header may have what `basic` consists of.
    if let (Ok(bare), Ok(mut basic)) = (Url::parse(&bare), HeaderValue::try_from(basic)) {
        basic.set_sensitive(true);
        *request.url_mut() = bare;
        request.headers_mut().entry(AUTHORIZATION).or_insert(basic);
    }
}
