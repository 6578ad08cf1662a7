//! The page for people, at the root of the server. Its files are the same for everybody, so they need no
//! token. Their data comes from the API, which needs one.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, LazyLock};

use axum::Router;
use axum::extract::{OriginalUri, Request};
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, IF_NONE_MATCH, REFERRER_POLICY,
    X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderMap, HeaderName, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use crate::shared::Shared;

/// Only scripts and styles of this server are allowed, and no text may be used as a script.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
    img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
    require-trusted-types-for 'script'; trusted-types 'none'";
const OPENER: HeaderName = HeaderName::from_static("cross-origin-opener-policy");

/// A file of the page.
struct File {
    path: &'static str,
    content_type: &'static str,
    text: &'static str,
    tag: String,
}

static FILES: LazyLock<[File; 4]> = LazyLock::new(|| {
    let script = "text/javascript; charset=utf-8";
    [
        File::new("/", "text/html; charset=utf-8", include_str!("page/index.html")),
        File::new("/app.css", "text/css; charset=utf-8", include_str!("page/app.css")),
        File::new("/app.js", script, include_str!("page/app.js")),
        File::new("/registry.js", script, include_str!("page/registry.js")),
    ]
});

impl File {
    fn new(path: &'static str, content_type: &'static str, text: &'static str) -> Self {
        let mut hasher = DefaultHasher::new();
        text.hash(&mut hasher);
        Self { path, content_type, text, tag: format!("\"{:016x}\"", hasher.finish()) }
    }

    fn answer(&self, headers: &HeaderMap) -> Response {
        self.answer_with(self.text, headers)
    }

    fn answer_with(&self, text: impl IntoResponse, headers: &HeaderMap) -> Response {
        let known = headers.get(IF_NONE_MATCH).and_then(|tag| tag.to_str().ok());
        let is_known = known.is_some_and(|known| known.trim_start_matches("W/") == self.tag);
        let headers = [
            (CONTENT_TYPE, self.content_type),
            (ETAG, &self.tag),
            (CACHE_CONTROL, "no-cache"),
            (CONTENT_SECURITY_POLICY, POLICY),
            (X_CONTENT_TYPE_OPTIONS, "nosniff"),
            (REFERRER_POLICY, "no-referrer"),
            (OPENER, "same-origin"),
        ];
        match is_known {
            true => (StatusCode::NOT_MODIFIED, headers).into_response(),
            false => (headers, text).into_response(),
        }
    }
}

/// Adds the page to the API's routes.
pub(crate) fn add(mut router: Router<Arc<Shared>>) -> Router<Arc<Shared>> {
    for file in FILES.iter().skip(1) {
        router = router.route(file.path, get(async |headers: HeaderMap| file.answer(&headers)));
    }
    router.route("/", get(index))
}

/// Whether a request is for one of the page's files.
pub(crate) fn is_asked_for(request: &Request) -> bool {
    matches!(*request.method(), Method::GET | Method::HEAD)
        && FILES.iter().any(|file| file.path == request.uri().path())
}

/// The HTML of the page, whose other files have paths below its own.
async fn index(OriginalUri(uri): OriginalUri, headers: HeaderMap) -> Response {
    let [index, ..] = &*FILES;
    let (_, last) = uri.path().rsplit_once('/').unwrap_or_default();
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    if last.is_empty() {
        return index.answer(&headers);
    } else if !last.bytes().all(is_plain) {
        return StatusCode::NOT_FOUND.into_response();
    }
    // Mounted at /registry, the page would otherwise look for its files beside that path.
    let text = index.text.replace("=\"app.", &format!("=\"{last}/app."));
    index.answer_with(text, &headers)
}
