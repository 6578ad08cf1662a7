//! The databases that the environment chooses, each with the variable that an error has to name.

use gosd_core::Result;
use gosd_core::limits::{self, shown};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use super::{
    ALSO, DRIVER, Lookup, NAMESPACE, REDIS_ADDR, REDIS_DB, REDIS_PASSWORD, bad, is_address, number,
    text,
};

/// The driver URLs that the environment chooses: none, one, or two.
pub(crate) fn databases(
    lookup: Lookup<'_>,
    default: Option<&str>,
) -> Result<Vec<(&'static str, String)>> {
    let namespace = namespace(lookup)?;
    let also = match text(lookup, ALSO, "a driver's URL, such as redis://host:6379")? {
        Some(url) if url.eq_ignore_ascii_case("redis") => {
            Some((ALSO, redis_url(lookup)?.map_or(url, |(_, url)| url)))
        }
        url => url.filter(|url| !url.is_empty()).map(|url| (ALSO, url)),
    };
    let chosen = driver_url(lookup, default)?.into_iter().chain(also);
    Ok(chosen
        .map(|(variable, url)| (variable, with_namespace(url, namespace.as_deref())))
        .collect())
}

fn driver_url(lookup: Lookup<'_>, default: Option<&str>) -> Result<Option<(&'static str, String)>> {
    let driver = text(lookup, DRIVER, "a driver's URL, such as sqlite:gosd.db")?;
    let chosen = match driver.filter(|url| !url.is_empty()) {
        Some(url) if !url.eq_ignore_ascii_case("redis") => Some((DRIVER, url)),
        bare => redis_url(lookup)?.or(bare.map(|scheme| (DRIVER, scheme))),
    };
    Ok(chosen.or_else(|| Some((DRIVER, default?.to_owned()))))
}

/// The URL that the Go library's variables stand for, and the first of them that is set.
fn redis_url(lookup: Lookup<'_>) -> Result<Option<(&'static str, String)>> {
    let expected = "host[:port], such as localhost:6379";
    let addr = text(lookup, REDIS_ADDR, expected)?;
    if let Some(addr) = addr.as_deref().filter(|addr| !is_address(addr)) {
        return Err(bad(REDIS_ADDR, &shown(addr), expected));
    }
    let expected = "the number of a database, such as 0";
    let db = text(lookup, REDIS_DB, expected)?;
    if let Some(db) = db.as_deref().filter(|db| number(db).is_none()) {
        return Err(bad(REDIS_DB, &shown(db), expected));
    }
    let password = text(lookup, REDIS_PASSWORD, "text")?.filter(|password| !password.is_empty());

    let variable = match (&addr, &db, &password) {
        (Some(_), _, _) => REDIS_ADDR,
        (_, Some(_), _) => REDIS_DB,
        (_, _, Some(_)) => REDIS_PASSWORD,
        (None, None, None) => return Ok(None),
    };
    let login = password.map_or_else(String::new, |password| {
        format!(":{}@", utf8_percent_encode(&password, NON_ALPHANUMERIC))
    });
    let addr = addr.as_deref().unwrap_or("localhost:6379");
    let db = db.as_deref().unwrap_or("0");
    Ok(Some((variable, format!("redis://{login}{addr}/{db}"))))
}

fn namespace(lookup: Lookup<'_>) -> Result<Option<String>> {
    let expected = "1 to 64 characters of A-Z a-z 0-9 . _ -";
    let Some(namespace) = text(lookup, NAMESPACE, expected)? else { return Ok(None) };
    match limits::check_namespace(&namespace) {
        Ok(()) => Ok(Some(namespace)),
        Err(_) => Err(bad(NAMESPACE, &shown(&namespace), expected)),
    }
}

/// The URL with the namespace as a query key, unless it has one already.
fn with_namespace(url: String, namespace: Option<&str>) -> String {
    let Some(namespace) = namespace else { return url };
    let query = url.split_once('?').map(|(_, query)| query);
    if query.is_some_and(|query| query.split('&').any(|pair| pair.starts_with("namespace="))) {
        return url;
    }
    let separator = match query {
        None if url.contains(':') => "?",
        None => ":?",
        Some(query) if query.is_empty() || query.ends_with('&') => "",
        Some(_) => "&",
    };
    format!("{url}{separator}namespace={namespace}")
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::ffi::OsString;

    use gosd_core::DriverUrl;

    use super::*;

    type Env<'a> = &'a [(&'a str, &'a str)];

    fn lookup(env: Env<'_>) -> impl Fn(&str) -> Option<OsString> + Sync {
        let env: HashMap<String, OsString> =
            env.iter().map(|&(name, value)| (name.into(), value.into())).collect();
        move |name| env.get(name).cloned()
    }

    fn url_of(env: Env<'_>) -> Option<String> {
        databases(&lookup(env), None).unwrap().pop().map(|(_, url)| url)
    }

    #[test]
    fn the_defaults() {
        assert_eq!(databases(&lookup(&[]), None).unwrap(), []);
        for env in [&[("gosdDriver", "")] as Env<'_>, &[("gosdDriverAlso", "")]] {
            let chosen = databases(&lookup(env), Some("sqlite")).unwrap();
            assert_eq!(chosen, [("gosdDriver", "sqlite".into())]);
        }
    }

    #[test]
    fn another_database_goes_by_the_same_rules() {
        for (env, expected) in [
            (&[("gosdDriverAlso", "mine:x")] as Env<'_>, &["sqlite", "mine:x"]),
            (&[("gosdDriver", "a:x"), ("gosdDriverAlso", "mine")], &["a:x", "mine"]),
            (
                &[("gosdDriver", "a:x"), ("gosdDriverAlso", "b:y"), ("gosdNamespace", "n")],
                &["a:x?namespace=n", "b:y?namespace=n"],
            ),
            (
                &[("gosdDriver", "a:x"), ("gosdDriverAlso", "Redis"), ("gosdRedisAddr", "h")],
                &["a:x", "redis://h/0"],
            ),
            (&[("gosdDriver", "a:x"), ("gosdDriverAlso", "redis")], &["a:x", "redis"]),
        ] {
            let chosen = databases(&lookup(env), Some("sqlite")).unwrap();
            let urls: Vec<&str> = chosen.iter().map(|(_, url)| url.as_str()).collect();
            assert_eq!(urls, expected, "{env:?}");
            assert_eq!(chosen[1].0, "gosdDriverAlso");
        }
    }

    #[test]
    fn the_variables_of_the_go_library_make_a_url() {
        for (env, expected) in [
            (&[("gosdRedisAddr", "h:7000")] as Env<'_>, "redis://h:7000/0"),
            (&[("gosdRedisAddr", "[::1]")], "redis://[::1]/0"),
            (&[("gosdRedisDB", "3")], "redis://localhost:6379/3"),
            (&[("gosdRedisDB", "3"), ("gosdRedisPassword", "")], "redis://localhost:6379/3"),
            (&[("gosdRedisDB", "3"), ("gosdDriver", "Redis")], "redis://localhost:6379/3"),
            (&[("gosdDriver", "redis")], "redis"),
            (&[("gosdDriver", "redis://h"), ("gosdRedisDB", "x")], "redis://h"),
            (&[("gosdDriver", "sqlite:a"), ("gosdRedisAddr", "h")], "sqlite:a"),
        ] {
            assert_eq!(url_of(env).as_deref(), Some(expected), "{env:?}");
        }
        assert_eq!(url_of(&[("gosdRedisPassword", "")]), None);
    }

    #[test]
    fn any_password_survives() {
        let password = "p@s/s:w?o&r%41d#ä \"";
        let url = url_of(&[("gosdRedisPassword", password)]).unwrap();
        assert_eq!(DriverUrl::parse(&url).unwrap().password(), Some(password));
    }

    #[test]
    fn the_namespace_joins_a_url_that_has_none() {
        for (url, expected) in [
            ("mine", "mine:?namespace=n"),
            ("redis", "redis:?namespace=n"),
            ("sqlite:a.db", "sqlite:a.db?namespace=n"),
            ("sqlite:a.db?", "sqlite:a.db?namespace=n"),
            ("redis://h/0?ca=x", "redis://h/0?ca=x&namespace=n"),
            ("redis://h/0?ca=x&", "redis://h/0?ca=x&namespace=n"),
            ("redis://h?namespace=own", "redis://h?namespace=own"),
            ("redis://h?ca=x&namespace=own", "redis://h?ca=x&namespace=own"),
            ("mine://h?my-namespace=own", "mine://h?my-namespace=own&namespace=n"),
            ("mine:any thing|at all", "mine:any thing|at all?namespace=n"),
        ] {
            let url = url_of(&[("gosdDriver", url), ("gosdNamespace", "n")]).unwrap();
            assert_eq!(url, expected);
        }
        let chosen = databases(&lookup(&[("gosdNamespace", "n")]), Some("sqlite")).unwrap();
        assert_eq!(chosen, [("gosdDriver", "sqlite:?namespace=n".into())]);
        assert_eq!(
            url_of(&[("gosdDriver", "mine:any thing|at all")]).unwrap(),
            "mine:any thing|at all"
        );
    }
}
