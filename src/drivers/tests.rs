//! The table of drivers, and the choice by the environment.

use std::ffi::OsString;
use std::sync::Mutex;

use gosd_core::Memory;

use super::*;

/// A table without any driver.
fn none() -> Drivers {
    Drivers { openers: BTreeMap::new() }
}

/// An opener that records its URLs.
fn noting(
    urls: &Arc<Mutex<Vec<String>>>,
) -> impl for<'a> Fn(&'a str) -> BoxFuture<'a, Result<Arc<dyn Driver>>> + Send + Sync + 'static {
    let urls = Arc::clone(urls);
    move |url| {
        urls.lock().unwrap().push(url.to_owned());
        Box::pin(async { Ok(Arc::new(Memory::new()) as Arc<dyn Driver>) })
    }
}

fn refusing(_: &str) -> BoxFuture<'_, Result<Arc<dyn Driver>>> {
    Box::pin(async { Err(config("no such place")) })
}

fn error(result: Result<Arc<dyn Driver>>) -> Error {
    let error = result.err().expect("it must be refused");
    assert_eq!(error.kind(), ErrorKind::Config);
    error
}

async fn choose(drivers: &Drivers, env: &[(&str, &str)]) -> Result<Arc<dyn Driver>> {
    let env: BTreeMap<String, OsString> =
        env.iter().map(|&(name, value)| (name.into(), value.into())).collect();
    drivers.choose(&|name: &str| env.get(name).cloned()).await
}

#[tokio::test]
async fn a_driver_gets_the_url_as_it_was_given() {
    let urls = Arc::default();
    let drivers = none().with("Mine+x", noting(&urls));
    for url in ["mine+x", "MINE+X:any thing|at all", "mine+x://u:p@h/?a#b"] {
        drivers.open(url).await.unwrap();
        choose(&drivers, &[("gosdDriver", url)]).await.unwrap();
        assert_eq!(std::mem::take(&mut *urls.lock().unwrap()), [url, url]);
    }
}

#[tokio::test]
async fn the_driver_added_last_wins() {
    let urls = Arc::default();
    let drivers = Drivers::compiled().with("sqlite", refusing).with("SQLite", noting(&urls));
    drivers.open("sqlite:x").await.unwrap();
    assert_eq!(*urls.lock().unwrap(), ["sqlite:x"]);
}

#[tokio::test]
async fn the_environment_chooses() {
    let (redis, sqlite) = (Arc::default(), Arc::default());
    let drivers = none().with("redis", noting(&redis)).with("sqlite", noting(&sqlite));
    choose(&drivers, &[]).await.unwrap();
    choose(&drivers, &[("gosdDriver", ""), ("gosdNamespace", "n")]).await.unwrap();
    choose(&drivers, &[("gosdDriver", ""), ("gosdRedisPassword", "a@b")]).await.unwrap();
    choose(&drivers, &[("gosdDriver", "redis"), ("gosdNamespace", "n")]).await.unwrap();
    assert_eq!(*sqlite.lock().unwrap(), ["sqlite", "sqlite:?namespace=n"]);
    assert_eq!(*redis.lock().unwrap(), ["redis://:a%40b@localhost:6379/0", "redis:?namespace=n"]);
}

#[tokio::test]
async fn an_error_of_an_unknown_scheme_lists_the_schemes() {
    let drivers = none().with("b", refusing).with("a", refusing);
    let text = error(drivers.open("mysql://u:sesame@h").await).to_string();
    assert_eq!(text, r#"the URL asks for "mysql", which is unknown; compiled in are: a, b"#);
    let text = error(choose(&drivers, &[("gosdDriver", "nats")]).await).to_string();
    assert_eq!(text, r#"gosdDriver asks for "nats", which is unknown; compiled in are: a, b"#);
}

#[tokio::test]
async fn an_error_of_a_scheme_without_its_feature_names_the_feature() {
    for (feature, schemes) in FEATURES {
        for scheme in *schemes {
            let text = error(none().open(&format!("{scheme}:x")).await).to_string();
            assert!(text.contains(&format!("enable the feature {feature:?}")), "{text}");
        }
    }
    let text = error(choose(&none(), &[("gosdRedisDB", "1")]).await).to_string();
    assert!(text.starts_with(r#"gosdRedisDB asks for "redis", which is not"#), "{text}");
}

#[tokio::test]
async fn an_error_of_another_library_s_scheme_says_what_to_write() {
    for (schemes, advice) in MISTAKEN {
        for scheme in *schemes {
            let error = error(none().open(&format!("{scheme}://:sesame@h/x")).await);
            let text = error.to_string();
            assert!(text.contains(advice) && !text.contains("sesame"), "{text}");
            let known = FEATURES.iter().any(|(_, all)| all.contains(scheme));
            assert!(!known, "{scheme} would never be looked up");
        }
    }
}

#[tokio::test]
async fn an_error_without_a_choice_says_how_to_choose() {
    let text = error(choose(&none(), &[]).await).to_string();
    assert!(text.contains("set gosdDriver") && text.contains("(sqlite, redis"), "{text}");
    let text = error(choose(&none().with("mine", refusing), &[]).await).to_string();
    assert!(text.contains("set gosdDriver") && text.contains("are: mine"), "{text}");
}

#[tokio::test]
async fn an_error_of_a_refused_url_names_its_driver_and_variable() {
    let drivers = none().with("mine", refusing);
    let refused = error(drivers.open("mine:x").await);
    assert_eq!(refused.to_string(), "mine: open: no such place");
    let refused = error(choose(&drivers, &[("gosdDriver", "mine:x")]).await);
    assert_eq!(refused.to_string(), "mine: open gosdDriver: no such place");
}

#[tokio::test]
async fn an_error_of_a_text_without_a_scheme_shows_no_secret() {
    let drivers = none().with("mine", refusing);
    for url in
        ["", " ", "1a://h", "/var/x.db", "//u:sesame@h", ":sesame@h", "u@sesame:1", "a b:sesame"]
    {
        let text = error(drivers.open(url).await).to_string();
        assert!(text.starts_with("the URL begins with ") && !text.contains("sesame"), "{text}");
    }
}

#[tokio::test]
async fn a_scheme_that_no_url_has_fails_every_use() {
    for scheme in ["", "my driver", "mine:", "mine://", "1a"] {
        let drivers = none().with(scheme, refusing).with("b", noting(&Arc::default()));
        let text = error(drivers.open("b").await).to_string();
        assert!(text.contains(&format!("{scheme:?}, which is not a scheme")), "{text}");
    }
}

#[tokio::test]
async fn a_second_database_is_opened_beside_the_first() {
    let (old, new) = (Arc::default(), Arc::default());
    let drivers = none().with("old", noting(&old)).with("new", noting(&new));
    let env = [("gosdDriver", "old:a"), ("gosdDriverAlso", "new:b"), ("gosdNamespace", "n")];
    let both = choose(&drivers, &env).await.unwrap();
    assert_eq!(*old.lock().unwrap(), ["old:a?namespace=n"]);
    assert_eq!(*new.lock().unwrap(), ["new:b?namespace=n"]);
    assert_eq!(both.name(), "memory (gosdDriver) and memory (gosdDriverAlso)");
    assert!(both.identity().is_some_and(|identity| identity.contains(" and ")));
    let alone = choose(&drivers, &[("gosdDriver", "old:a"), ("gosdDriverAlso", "")]).await.unwrap();
    assert_eq!(alone.name(), "memory");
}

#[tokio::test]
async fn an_error_of_two_databases_names_the_variable() {
    let drivers = none().with("mine", noting(&Arc::default())).with("bad", refusing);
    for (env, expected) in [
        (
            &[("gosdDriver", "mine"), ("gosdDriverAlso", "bad:x")],
            "bad: open gosdDriverAlso: no such",
        ),
        (&[("gosdDriver", "bad:x"), ("gosdDriverAlso", "mine")], "bad: open gosdDriver: no such"),
        (
            &[("gosdDriver", "mine"), ("gosdDriverAlso", "nats")],
            r#"gosdDriverAlso asks for "nats""#,
        ),
        (
            &[("gosdDriver", "mine"), ("gosdDriverAlso", "mine")],
            "gosdDriver and gosdDriverAlso are the",
        ),
        (&[("gosdDriver", ""), ("gosdDriverAlso", "mine")], "no driver is chosen: set gosdDriver"),
    ] {
        let text = error(choose(&drivers, env).await).to_string();
        assert!(text.starts_with(expected), "{text}");
    }
}
