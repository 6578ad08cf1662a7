//! The user and the password in a URL, which an HTTP request carries in a header instead.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;

use crate::limits::split_url;

/// Takes the user and the password out of a URL, for a request by HTTP or gRPC.
///
/// Returns the URL without them, and the value of the header `Authorization` that carries them instead; `None` if
/// the URL has neither. They do not belong into the URL of a request: hardly any client sends them from there, and
/// many show them in errors.
///
/// ```
/// use gosd_core::split_credentials;
///
/// let (url, authorization) = split_credentials("http://svc:sesame@10.0.0.7:8885/api");
/// assert_eq!(url, "http://10.0.0.7:8885/api");
/// assert_eq!(authorization.as_deref(), Some("Basic c3ZjOnNlc2FtZQ=="));
/// ```
pub fn split_credentials(url: &str) -> (Cow<'_, str>, Option<String>) {
    let Some(parts) = split_url(url) else { return (url.into(), None) };
    let Some(credentials) = parts.user_info else { return (url.into(), None) };
    let bare = format!("{}://{}{}", parts.scheme, parts.address, parts.rest).into();
    let (user, password) = credentials.split_once(':').unwrap_or((credentials, ""));
    if user.is_empty() && password.is_empty() {
        return (bare, None);
    }
    let mut pair: Vec<u8> = percent_decode_str(user).collect();
    pair.push(b':');
    pair.extend(percent_decode_str(password));
    (bare, Some(format!("Basic {}", base64(&pair))))
}

/// Base64 with padding, which is too little for this crate to depend on another one.
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let byte = |i: usize| u32::from(chunk.get(i).copied().unwrap_or_default());
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for (i, shift) in [18, 12, 6, 0].into_iter().enumerate() {
            let digit = DIGITS[(bits >> shift & 63) as usize];
            text.push(if i <= chunk.len() { digit.into() } else { '=' });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_and_a_password_are_taken_out() {
        for (url, bare, pair) in [
            ("http://svc:sesame@host:1/a?b#c", "http://host:1/a?b#c", Some("svc:sesame")),
            ("https://svc@[::1]", "https://[::1]", Some("svc:")),
            ("http://:sesame@host/", "http://host/", Some(":sesame")),
            ("http://a%40b:p%3Aq:r@host?x=y@z", "http://host?x=y@z", Some("a@b:p:q:r")),
            ("http://svc:se@same@host", "http://host", Some("svc:se@same")),
            ("http://svc:sesame@host:fake", "http://host:fake", Some("svc:sesame")),
            ("http://:@host", "http://host", None),
            ("http://@host", "http://host", None),
            ("http://host/a@b", "http://host/a@b", None),
            ("svc:sesame@host:1", "svc:sesame@host:1", None),
            ("", "", None),
        ] {
            let expected = pair.map(|pair| format!("Basic {}", base64(pair.as_bytes())));
            assert_eq!(split_credentials(url), (bare.into(), expected), "{url}");
        }
    }

    #[test]
    fn base64_is_that_of_rfc_4648() {
        let table = ["", "Zg==", "Zm8=", "Zm9v", "Zm9vYg==", "Zm9vYmE=", "Zm9vYmFy"];
        for (len, encoded) in table.into_iter().enumerate() {
            assert_eq!(base64(&b"foobar"[..len]), encoded);
        }
        assert_eq!(base64(&[0xfb, 0xff, 0xbf]), "+/+/");
    }
}
