//! The environment. Nothing else in gosd reads it; here only [`process`] and [`names`] do.

mod database;

use std::ffi::OsString;
use std::time::Duration;

use gosd_core::limits::{self, shown};
use gosd_core::{Error, ErrorKind, Result, Settings};

pub(crate) use self::database::databases;

pub(crate) const DRIVER: &str = "gosdDriver";
pub(crate) const ALSO: &str = "gosdDriverAlso";
pub(crate) const NAMESPACE: &str = "gosdNamespace";
const SNAPSHOT_PATH: &str = "gosdSnapshotPath";
const WATCH_ON_DEMAND: &str = "gosdWatchOnDemand";
const ADVERTISE: &str = "gosdAdvertise";
const REDIS_ADDR: &str = "gosdRedisAddr";
const REDIS_DB: &str = "gosdRedisDB";
const REDIS_PASSWORD: &str = "gosdRedisPassword";

/// A function that looks variables up by name.
pub(crate) type Lookup<'a> = &'a (dyn Fn(&str) -> Option<OsString> + Sync);

/// The environment of the process.
#[expect(clippy::disallowed_methods, reason = "this is the place for it")]
pub(crate) fn process(name: &str) -> Option<OsString> {
    std::env::var_os(name)
}

/// The names of all variables of the process that are valid Unicode.
#[expect(clippy::disallowed_methods, reason = "this is the place for it")]
pub(crate) fn names() -> Vec<String> {
    std::env::vars_os().filter_map(|(name, _)| name.into_string().ok()).collect()
}

/// A variable that contains a whole number, and the setting that it sets.
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
const OTHERS: [&str; 9] = [
    DRIVER,
    ALSO,
    NAMESPACE,
    SNAPSHOT_PATH,
    WATCH_ON_DEMAND,
    ADVERTISE,
    REDIS_ADDR,
    REDIS_DB,
    REDIS_PASSWORD,
];

/// Every variable that gosd reads.
pub(crate) fn known() -> impl Iterator<Item = &'static str> + Clone {
    NUMBERS.iter().map(|number| number.name).chain(OTHERS)
}

/// The settings from the environment, with defaults for those that it does not set.
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
    let expected = "true or false";
    if let Some(value) = text(lookup, WATCH_ON_DEMAND, expected)? {
        let yes = value.parse().map_err(|_| bad(WATCH_ON_DEMAND, &shown(&value), expected))?;
        settings = settings.watch_on_demand(yes);
    }
    Ok(settings)
}

/// The host or URL under which others reach this service, with placeholders.
pub(crate) fn advertise(lookup: Lookup<'_>) -> Result<Option<String>> {
    let Some(text) = text(lookup, ADVERTISE, ADVERTISED)? else { return Ok(None) };
    let known = text.replace("{ip}", "").replace("{port}", "").replace("{hostname}", "");
    match known.contains(['{', '}', ' ']) || text.trim().is_empty() && !text.is_empty() {
        true => Err(bad_advertise(&text)),
        false => Ok(Some(text).filter(|text| !text.is_empty())),
    }
}

const ADVERTISED: &str = "a host or a URL, with {ip}, {port} and {hostname} if need be";

/// The error for a value that is neither a host nor a URL.
pub(crate) fn bad_advertise(text: &str) -> Error {
    bad(ADVERTISE, &shown(text), ADVERTISED)
}

fn text(lookup: Lookup<'_>, name: &str, expected: &str) -> Result<Option<String>> {
    let value = lookup(name).map(OsString::into_string).transpose();
    value.map_err(|_| bad(name, "not Unicode", expected))
}

fn number(text: &str) -> Option<u32> {
    // `parse` alone would accept a plus sign.
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

/// Whether this is a host, with or without a port.
pub(crate) fn is_address(text: &str) -> bool {
    !text.contains(['@', '/', '?', ',']) && limits::split_host(text).is_ok()
}

fn bad(name: &str, is: &str, expected: &str) -> Error {
    Error::new(ErrorKind::Config, format!("{name} is {is}; expected {expected}"))
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

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

    /// The error of either reader, one of which reads each variable.
    fn error_of(lookup: Lookup<'_>) -> Error {
        let error = settings(lookup).err().or(databases(lookup, None).err());
        error.expect("a bad value must be an error")
    }

    #[test]
    fn the_defaults() {
        assert_eq!(settings_of(&[]).unwrap(), Settings::default());
    }

    #[test]
    fn every_value_reaches_its_setting() {
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
            ("gosdWatchOnDemand", "true"),
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
            .snapshot_path("/var/lib/a b".into())
            .watch_on_demand(true);
        assert_eq!(settings_of(&env).unwrap(), expected);
        let env = [("gosdWatchOnDemand", "false")];
        assert_eq!(settings_of(&env).unwrap(), Settings::default());
    }

    #[test]
    fn only_numbers_within_their_range_are_accepted() {
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
            ("gosdWatchOnDemand", &["", " ", "1", "yes", "True", "true ", "on"]),
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
    fn a_value_that_is_not_unicode_is_an_error_for_every_variable() {
        use std::os::unix::ffi::OsStringExt;

        let others = [
            "gosdDriver",
            "gosdDriverAlso",
            "gosdNamespace",
            "gosdSnapshotPath",
            "gosdWatchOnDemand",
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
}
