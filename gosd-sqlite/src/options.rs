//! The options of a driver URL.

use std::path::{PathBuf, absolute};

use gosd_core::{DriverUrl, Error, ErrorKind, Result};

const DEFAULT_PATH: &str = "gosd.db";

/// The options of a driver URL, with the path made absolute: a program may change its working directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Options {
    pub(crate) path: PathBuf,
    pub(crate) namespace: String,
}

impl Options {
    pub(crate) fn parse(url: &str) -> Result<Self> {
        let url = DriverUrl::parse(url)?;
        let bad = |problem: &str| Err(Error::new(ErrorKind::Config, problem));
        if url.scheme() != "sqlite" {
            return bad("the scheme of an SQLite URL is sqlite, as in sqlite:gosd.db");
        }
        if url.path().trim() != url.path() {
            return bad("the path of an SQLite URL begins or ends with a space: remove it");
        }
        if url.path().contains(char::is_control) {
            return bad("the path of an SQLite URL holds a control character: choose another path");
        }
        url.allow_keys(&["namespace"])?;
        if !url.hosts().is_empty() || url.user().is_some() || url.password().is_some() {
            return bad("after sqlite:// stands a host, and a file has none: write sqlite:path");
        }
        // After `sqlite:///` comes a path from the root.
        let root = if url.has_authority() { "/" } else { "" };
        let path: PathBuf = match url.path() {
            "" if url.has_authority() => {
                return bad("sqlite:/// needs a path, as in sqlite:gosd.db");
            }
            "" => DEFAULT_PATH.into(),
            path if path.ends_with('/') => {
                return bad("the path of an SQLite URL ends with /: name a file in that folder");
            }
            ":memory:" => return bad("a database in memory cannot be shared: name a file"),
            path => format!("{root}{path}").into(),
        };
        let path = absolute(path).map_err(|error| {
            Error::new(ErrorKind::Config, "the working directory is gone: write a whole path")
                .caused_by(error)
        })?;
        Ok(Self { path, namespace: url.namespace()?.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form() {
        for (url, path, namespace) in [
            ("sqlite", "gosd.db", "gosd"),
            ("SQLITE:", "gosd.db", "gosd"),
            ("sqlite:?namespace=staging", "gosd.db", "staging"),
            ("sqlite:a b/x%3F.db", "a b/x?.db", "gosd"),
            ("sqlite:file:x?namespace=n", "file:x", "n"),
            ("sqlite:/var/lib/x.db", "/var/lib/x.db", "gosd"),
            ("sqlite:///var/lib/x.db?namespace=n", "/var/lib/x.db", "n"),
        ] {
            let path = absolute(path).unwrap();
            let expected = Options { path, namespace: namespace.into() };
            assert_eq!(Options::parse(url).unwrap(), expected, "{url}");
        }
    }

    #[test]
    fn what_cannot_work_is_a_config_error() {
        for url in [
            "sqlite://relative/x.db",
            "sqlite://",
            "sqlite:///",
            "sqlite::memory:",
            "sqlite:x.db?mode=ro",
            "sqlite:a%00b",
            "sqlite:a%0Ab",
            "sqlite:%7F",
            "sqlite: ",
            "sqlite: x.db",
            "sqlite:x.db ",
            "sqlite:/",
            "sqlite:folder/",
            "sqlite:x.db?namespace=a/b",
            "sqlite://u:sesame@/x.db",
            "redis://h",
        ] {
            let error = Options::parse(url).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Config, "{url}");
            assert!(!error.to_string().contains("sesame"), "{error}");
        }
    }
}
