//! The URL of a service, `gosd://NAME/path?query`, taken apart.

use gosd_core::{Error, ErrorKind, Instance, Result};
use reqwest::Url;

/// The scheme of a service's URL.
const SCHEME: &str = "gosd";

/// The service that a URL names, and the path and query for its instance.
#[derive(Debug)]
pub(crate) struct Target {
    pub(crate) service: String,
    path_and_query: String,
}

/// Whether a URL is that of a service.
#[cfg(feature = "middleware")]
pub(crate) fn is_of_service(url: &Url) -> bool {
    url.scheme() == SCHEME
}

impl Target {
    /// Parses a URL. A user and a password in it are for the [credentials](crate::credentials).
    pub(crate) fn of(url: &Url) -> Result<Self> {
        let config = |message: String| Err(Error::new(ErrorKind::Config, message));
        if url.scheme() != SCHEME {
            let scheme = url.scheme();
            return config(format!(
                "the URL of a service is gosd://NAME/path, and this one begins with {scheme:?}"
            ));
        }
        let Some(service) = url.host_str().filter(|host| !host.is_empty()) else {
            return config(
                "the URL of a service is gosd://NAME/path, and this one has no name".into(),
            );
        };
        if let Some(port) = url.port() {
            return config(format!(
                "gosd://{service}:{port} has a port, but each instance has its own; leave it out"
            ));
        }
        // URLs of instances treat a backslash as a slash, which could lead out of the instance's own path.
        let mut path_and_query = url.path().replace('\\', "%5C");
        if let Some(query) = url.query() {
            path_and_query.push('?');
            path_and_query.push_str(query);
        }
        Ok(Self { service: service.to_owned(), path_and_query })
    }

    /// The URL of an instance for this request, with the user and the password of the instance.
    pub(crate) fn at(&self, instance: &Instance) -> Result<Url> {
        let data = |what: &str| {
            let message = format!("{} is registered with a URL that {what}", instance.id());
            Error::new(ErrorKind::Data, message)
        };
        let parse = |url: &str| Url::parse(url).map_err(|error| data(&format!("is none: {error}")));
        // The instance's own URL is judged without the path, of which `http://` would make a host.
        if !matches!(parse(instance.url())?.scheme(), "http" | "https") {
            // Not even the scheme is shown, because in `user:password@host` it is the user.
            return Err(data("begins with neither http:// nor https://; give the whole URL"));
        }
        parse(&instance.url_with(&self.path_and_query))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(instance: &str, asked: &str) -> String {
        let instance = Instance::new("orders", instance).unwrap();
        Target::of(&Url::parse(asked).unwrap()).unwrap().at(&instance).unwrap().into()
    }

    #[test]
    fn the_path_is_below_that_of_the_instance() {
        let table = [
            ("http://10.0.0.7:8885", "gosd://orders", "http://10.0.0.7:8885/"),
            ("http://10.0.0.7:8885", "gosd://orders/7?a=b%20c#d", "http://10.0.0.7:8885/7?a=b%20c"),
            ("https://host/api/", "gosd://orders/7", "https://host/api/7"),
            ("http://[::1]:1/api", "gosd://orders?a=b", "http://[::1]:1/api?a=b"),
            // No path leads out of the instance's own.
            ("http://host/api", "gosd://orders/../../admin", "http://host/api/admin"),
            (
                "http://host/api",
                r"gosd://orders/a\..\..\admin",
                "http://host/api/a%5C..%5C..%5Cadmin",
            ),
            ("http://host/api", "gosd://orders//admin", "http://host/api//admin"),
        ];
        for (instance, asked, url) in table {
            assert_eq!(at(instance, asked), url);
        }
    }

    #[test]
    fn a_name_is_kept_unchanged() {
        let target = Target::of(&Url::parse("gosd://Or_ders.v2/").unwrap()).unwrap();
        assert_eq!(target.service, "Or_ders.v2");
    }

    #[test]
    fn other_urls_are_errors_that_say_what_to_do() {
        for url in ["http://orders/7", "gosd:orders", "gosd:///7", "gosd://orders:80/7"] {
            let error = Target::of(&Url::parse(url).unwrap()).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Config, "{url}");
            assert!(error.to_string().contains("gosd://"), "{error}");
        }
    }
}
