//! The URI of a service, `gosd://NAME/path?query`, taken apart.

use gosd_core::{Error, ErrorKind, Instance, Result, split_credentials};
use http::Uri;
use http::header::HeaderMap;
use http::request::Parts;

use crate::credentials;

/// The service that a URI names, and the path and query for its instance.
#[derive(Debug)]
pub(crate) struct Target {
    pub(crate) service: String,
    path_and_query: String,
}

impl Target {
    pub(crate) fn of(uri: &Uri) -> Result<Self> {
        let service = uri.host().filter(|_| uri.scheme_str() == Some("gosd"));
        let Some(service) = service.filter(|name| !name.is_empty()) else {
            let message = "the URI of a service is gosd://NAME/path, and this one is another";
            return Err(Error::new(ErrorKind::Config, message));
        };
        if let Some(port) = uri.port() {
            let message = format!(
                "gosd://{service}:{port} has a port, but each instance has its own; leave it out"
            );
            return Err(Error::new(ErrorKind::Config, message));
        }
        let path_and_query = uri.path_and_query().map_or("/", |it| it.as_str());
        if path_and_query.split(['?', '#']).next().is_some_and(leads_out) {
            let message = format!(
                "the path of gosd://{service} has a segment `..`, which leads out of what an instance \
                 serves; resolve it first"
            );
            return Err(Error::new(ErrorKind::Config, message));
        }
        Ok(Self { service: service.to_owned(), path_and_query: path_and_query.to_owned() })
    }

    /// The head of this request to an instance; an error if no request can be sent to the instance's URL.
    pub(crate) fn head(&self, instance: &Instance, parts: &Parts) -> Result<Parts> {
        let mut head = parts.clone();
        head.uri = self.at(instance, &mut head.headers)?;
        Ok(head)
    }

    /// The URI of an instance for this request. A user and a password of the instance become a header.
    ///
    /// An error if no request can be sent to the instance's URL, which somebody else may have registered unjudged.
    fn at(&self, instance: &Instance, headers: &mut HeaderMap) -> Result<Uri> {
        let data = |what: &str| {
            let message = format!("{} is registered with a URL that {what}", instance.id());
            Error::new(ErrorKind::Data, message)
        };
        let parse =
            |url: &str| url.parse::<Uri>().map_err(|error| data(&format!("is none: {error}")));
        // The instance's own URL is judged without the path, of which `http://` would make a host.
        let own = parse(&split_credentials(instance.url()).0)?;
        if !matches!(own.scheme_str(), Some("http" | "https")) {
            // Not even the scheme is shown, because in `user:password@host` it is the user.
            return Err(data("begins with neither http:// nor https://; give the whole URL"));
        }
        parse(&credentials::move_to_header(&instance.url_with(&self.path_and_query), headers))
    }
}

/// Whether a path leads out of the one that it is appended to. Nothing resolves dot segments before the
/// request is sent.
fn leads_out(path: &str) -> bool {
    let path = path.to_ascii_lowercase().replace("%2e", ".");
    path.split(['/', '\\']).any(|segment| segment == "..")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(instance: &str, asked: &str) -> String {
        let instance = Instance::new("orders", instance).unwrap();
        Target::of(&asked.parse().unwrap())
            .unwrap()
            .at(&instance, &mut HeaderMap::new())
            .unwrap()
            .to_string()
    }

    #[test]
    fn the_path_is_below_that_of_the_instance() {
        let table = [
            ("http://10.0.0.7:8885", "gosd://orders", "http://10.0.0.7:8885/"),
            ("http://10.0.0.7:8885", "gosd://orders/7?a=b", "http://10.0.0.7:8885/7?a=b"),
            ("https://host/api/", "gosd://Orders/7", "https://host/api/7"),
            ("http://[::1]:1/api", "gosd://orders/7..8?..", "http://[::1]:1/api/7..8?.."),
            ("http://svc:se^same@host", "gosd://user:mine@orders/7", "http://host/7"),
        ];
        for (instance, asked, uri) in table {
            assert_eq!(at(instance, asked), uri);
        }
    }

    #[test]
    fn other_uris_are_errors_that_say_what_to_do() {
        for uri in [
            "http://orders/7",
            "/7",
            "gosd://orders:80/7",
            "gosd://orders/../admin",
            "gosd://orders/a/%2E%2e/../admin",
        ] {
            let error = Target::of(&uri.parse().unwrap()).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Config, "{uri}");
            assert!(error.to_string().contains("gosd://"), "{error}");
        }
    }
}
