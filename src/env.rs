//! The environment. Nothing else in gosd reads it, and here only [`process`] does.

use std::ffi::OsString;
use std::time::Duration;

use gosd_core::limits::{self, shown};
use gosd_core::{Error, ErrorKind, Result, Settings};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

pub(crate) const DRIVER: &str = "gosdDriver";
pub(crate) const NAMESPACE: &str = "gosdNamespace";
const SNAPSHOT_PATH: &str = "gosdSnapshotPath";
const ADVERTISE: &str = "gosdAdvertise";
const REDIS_ADDR: &str = "gosdRedisAddr";
const REDIS_DB: &str = "gosdRedisDB";
const REDIS_PASSWORD: &str = "gosdRedisPassword";

/// Where variables are looked up by name.
pub(crate) type Lookup<'a> = &'a (dyn Fn(&str) -> Option<OsString> + Sync);

/// The environment of the process.
#[expect(clippy::disallowed_methods, reason = "this is the one place")]
pub(crate) fn process(name: &str) -> Option<OsString> {
    std::env::var_os(name)
}

/// The names of all variables of the process that are text.
pub(crate) fn names() -> Vec<String> {
    std::env::vars_os().filter_map(|(name, _)| name.into_string().ok()).collect()
}

/// A variable that is a whole number, and the setting that it is for.
struct Number {
    name: &'static str,
    setting: &'static str,
    set: Set,
}

enum Set {
    Amount(fn(Settings, u32) -> Settings),
    Seconds(fn(Settings, Duration) -> Settings),
}

macro_rules! numbers {
    ($($name:literal $kind:ident $setting:ident)*) => {
        [$(Number {
            name: $name,
            setting: stringify!($setting),
            set: Set::$kind(Settings::$setting),
        }),*]
    };
}

const NUMBERS: [Number; 9] = numbers! {
    "gosdTryRefreshAmount" Amount try_refresh_amount
    "gosdTryFindServiceAmount" Amount try_find_service_amount
    "gosdTryFindServiceDelay" Seconds try_find_service_delay
    "gosdLeaseTTL" Seconds lease_ttl
    "gosdRefreshInterval" Seconds refresh_interval
    "gosdMaxStale" Seconds max_stale
    "gosdEjectAfter" Amount eject_after
    "gosdEjectFor" Seconds eject_for
    "gosdDrain" Seconds drain
};

/// The variables that are not numbers.
const OTHERS: [&str; 7] =
    [DRIVER, NAMESPACE, SNAPSHOT_PATH, ADVERTISE, REDIS_ADDR, REDIS_DB, REDIS_PASSWORD];

/// Every variable that gosd reads.
pub(crate) fn known() -> impl Iterator<Item = &'static str> + Clone {
    NUMBERS.iter().map(|number| number.name).chain(OTHERS)
}

/// The settings that the environment gives; the defaults for what it leaves out.
pub(crate) fn settings(lookup: Lookup<'_>) -> Result<Settings> {
    let mut settings = Settings::default();
    for Number { name, setting, set } in NUMBERS {
        let range = Settings::range_in_words(setting).unwrap_or_default();
        let expected = format!("a whole number, {range}");
        if let Some(value) = text(lookup, name, &expected)? {
            let judged = number(&value).map(|number| match set {
                Set::Amount(set) => set(settings, number),
                Set::Seconds(set) => set(settings, Duration::from_secs(number.into())),
            });
            settings = judged
                .filter(|settings| settings.check().is_ok())
                .ok_or_else(|| bad(name, &shown(&value), &expected))?;
        }
    }
    let expected = "the path of a file";
    if let Some(path) = text(lookup, SNAPSHOT_PATH, expected)? {
        if path.trim().is_empty() {
            return Err(bad(SNAPSHOT_PATH, &shown(&path), expected));
        }
        settings = settings.snapshot_path(path.into());
    }
    Ok(settings)
}

/// The driver URL that the environment asks for, and the variable that is to blame for it.
pub(crate) fn driver_url(
    lookup: Lookup<'_>,
    default: Option<&str>,
) -> Result<Option<(&'static str, String)>> {
    let driver = text(lookup, DRIVER, "a driver's URL, such as sqlite:gosd.db")?;
    let chosen = match driver.filter(|url| !url.is_empty()) {
        Some(url) if !url.eq_ignore_ascii_case("redis") => Some((DRIVER, url)),
        bare => redis_url(lookup)?.or(bare.map(|scheme| (DRIVER, scheme))),
    };
    let namespace = namespace(lookup)?;
    let chosen = chosen.or_else(|| Some((DRIVER, default?.to_owned())));
    Ok(chosen.map(|(variable, url)| (variable, with_namespace(url, namespace.as_deref()))))
}

/// The URL that the variables of the Go library amount to, and the first of them that is set.
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

/// The host or URL under which others reach this service, with its placeholders.
pub(crate) fn advertise(lookup: Lookup<'_>) -> Result<Option<String>> {
    let expected = "a host or a URL, with {ip}, {port} and {hostname} if need be";
    let Some(text) = text(lookup, ADVERTISE, expected)? else { return Ok(None) };
    let known = text.replace("{ip}", "").replace("{port}", "").replace("{hostname}", "");
    match known.contains(['{', '}', ' ']) || text.trim().is_empty() && !text.is_empty() {
        true => Err(bad(ADVERTISE, &shown(&text), expected)),
        false => Ok(Some(text).filter(|text| !text.is_empty())),
    }
}

fn namespace(lookup: Lookup<'_>) -> Result<Option<String>> {
    let expected = "1 to 64 characters of A-Z a-z 0-9 . _ -";
    let Some(namespace) = text(lookup, NAMESPACE, expected)? else { return Ok(None) };
    match limits::check_namespace(&namespace) {
        Ok(()) => Ok(Some(namespace)),
        Err(_) => Err(bad(NAMESPACE, &shown(&namespace), expected)),
    }
}

/// The URL with the namespace as a query key, unless it has one; otherwise it stays as it is.
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

fn text(lookup: Lookup<'_>, name: &str, expected: &str) -> Result<Option<String>> {
    let value = lookup(name).map(OsString::into_string).transpose();
    value.map_err(|_| bad(name, "not Unicode", expected))
}

fn number(text: &str) -> Option<u32> {
    // Not left to `parse`, which takes a plus sign.
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

fn is_address(text: &str) -> bool {
    !text.contains(['@', '/', '?', ',']) && limits::split_host(text).is_ok()
}

fn bad(name: &str, is: &str, expected: &str) -> Error {
    Error::new(ErrorKind::Config, format!("{name} is {is}; expected {expected}"))
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use gosd_core::DriverUrl;

    use super::*;

    type Env<'a> = &'a [(&'a str, &'a str)];

    fn lookup(env: Env<'_>) -> impl Fn(&str) -> Option<OsString> + Sync {
        let env: HashMap<String, OsString> =
            env.iter().map(|&(name, value)| (name.into(), value.into())).collect();
        move |name| env.get(name).cloned()
    }

    fn settings_of(env: Env<'_>) -> Result<Settings> {
        settings(&lookup(env))
    }

    fn url_of(env: Env<'_>) -> Option<String> {
        driver_url(&lookup(env), None).unwrap().map(|(_, url)| url)
    }

    /// Both readers, of which every variable concerns one.
    fn error_of(lookup: Lookup<'_>) -> Error {
        let error = settings(lookup).err().or(driver_url(lookup, None).err());
        error.expect("a bad value must be an error")
    }

    #[test]
    fn the_defaults() {
        assert_eq!(settings_of(&[]).unwrap(), Settings::default());
        assert_eq!(driver_url(&lookup(&[]), None).unwrap(), None);
        let chosen = driver_url(&lookup(&[("gosdDriver", "")]), Some("sqlite")).unwrap();
        assert_eq!(chosen, Some(("gosdDriver", "sqlite".into())));
    }

    #[test]
    fn every_number_reaches_its_setting() {
        let env = [
            ("gosdTryRefreshAmount", "11"),
            ("gosdTryFindServiceAmount", "0"),
            ("gosdTryFindServiceDelay", "13"),
            ("gosdLeaseTTL", "14"),
            ("gosdRefreshInterval", "15"),
            ("gosdMaxStale", "016"),
            ("gosdEjectAfter", "17"),
            ("gosdEjectFor", "18"),
            ("gosdDrain", "19"),
            ("gosdSnapshotPath", "/var/lib/a b"),
        ];
        let expected = Settings::default()
            .try_refresh_amount(11)
            .try_find_service_amount(0)
            .try_find_service_delay(Duration::from_secs(13))
            .lease_ttl(Duration::from_secs(14))
            .refresh_interval(Duration::from_secs(15))
            .max_stale(Duration::from_secs(16))
            .eject_after(17)
            .eject_for(Duration::from_secs(18))
            .drain(Duration::from_secs(19))
            .snapshot_path("/var/lib/a b".into());
        assert_eq!(settings_of(&env).unwrap(), expected);
    }

    #[test]
    fn numbers_within_their_range_alone() {
        for (name, least, most) in [
            ("gosdTryRefreshAmount", 1_u64, 1_000),
            ("gosdTryFindServiceAmount", 0, 1_000_000),
            ("gosdTryFindServiceDelay", 0, 86_400),
            ("gosdLeaseTTL", 2, 86_400),
            ("gosdRefreshInterval", 1, 86_400),
            ("gosdMaxStale", 0, 31_622_400),
            ("gosdEjectAfter", 0, 1_000),
            ("gosdEjectFor", 1, 86_400),
            ("gosdDrain", 0, 3_600),
        ] {
            for good in [least, most] {
                assert!(settings_of(&[(name, &good.to_string())]).is_ok(), "{name}={good}");
            }
            for bad in [least.checked_sub(1), Some(most + 1)].into_iter().flatten() {
                let error = settings_of(&[(name, &bad.to_string())]).unwrap_err().to_string();
                assert!(error.contains(&format!("{least} to {most}")), "{name}={bad}: {error}");
            }
        }
    }

    /// The variables that take a whole number.
    fn numbers() -> impl Iterator<Item = &'static str> {
        NUMBERS.iter().map(|number| number.name).chain([REDIS_DB])
    }

    #[test]
    fn a_bad_value_is_named_with_its_variable() {
        let all_numbers = numbers().flat_map(|name| {
            let bad =
                ["", " ", " 5", "5 ", "-1", "+5", "5.0", "5s", "5m", "0x5", "1e2", "five", "٣"];
            bad.into_iter().chain(["4294967296", "99999999999999999999"]).map(move |it| (name, it))
        });
        let others = [
            ("gosdNamespace", &["", " ", "a b", "a/b", "ä", "a&b=c", "a%20b"] as &[&str]),
            ("gosdSnapshotPath", &["", " "]),
            (
                "gosdRedisAddr",
                &[
                    "", " ", ":", ":6379", "h:", "h:x", "h:65536", "h:-1", "h ", "h/0", "a,b",
                    "h?a=b", "::1",
                ],
            ),
        ];
        let others = others.iter().flat_map(|(name, bad)| bad.iter().map(move |bad| (*name, *bad)));
        for (name, value) in all_numbers.chain(others) {
            let error = error_of(&lookup(&[(name, value)]));
            assert_eq!(error.kind(), ErrorKind::Config, "{name}={value}");
            let start = format!("{name} is {}; expected ", shown(value));
            assert!(error.to_string().starts_with(&start), "{name}={value}: {error}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn what_is_not_unicode_is_an_error_for_every_variable() {
        use std::os::unix::ffi::OsStringExt;

        let others = [
            "gosdDriver",
            "gosdNamespace",
            "gosdSnapshotPath",
            "gosdRedisAddr",
            "gosdRedisPassword",
        ];
        for name in numbers().chain(others) {
            let bytes = OsString::from_vec(b"sesame\xff".to_vec());
            let error = error_of(&|asked: &str| (asked == name).then(|| bytes.clone())).to_string();
            assert!(error.starts_with(&format!("{name} is not Unicode; expected ")), "{error}");
            assert!(!error.contains("sesame"), "{error}");
        }
    }

    #[test]
    fn no_error_shows_what_may_be_secret() {
        for name in numbers().chain(["gosdNamespace", "gosdRedisAddr"]) {
            for value in ["redis://:sesame@h", "u:sesame@h:1", "sesame@", "http://h/?t=sesame"] {
                let error = error_of(&lookup(&[(name, value)])).to_string();
                assert!(error.starts_with(name) && !error.contains("sesame"), "{error}");
            }
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
        let chosen = driver_url(&lookup(&[("gosdNamespace", "n")]), Some("sqlite")).unwrap();
        assert_eq!(chosen.unwrap().1, "sqlite:?namespace=n");
        assert_eq!(
            url_of(&[("gosdDriver", "mine:any thing|at all")]).unwrap(),
            "mine:any thing|at all"
        );
    }
}
