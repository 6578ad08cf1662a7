//! Clause 12: odd but valid strings.

use std::collections::BTreeMap;

use gosd_core::{Instance, InstanceId};

use crate::case::{Case, Client, LONG_LEASE, Result, SLACK, difference, instance, moved, view_of};
use crate::follower::{Follower, shown};
use crate::{Fixture, Violation};

/// Clause 12: odd but valid names, URLs, metadata and ids survive `register` and `list`.
pub async fn clause_12_odd_values_survive(fixture: &dyn Fixture) -> Result<(), Violation> {
    let case = Case::new(12, fixture);
    let (client, other) = (case.client().await?, case.client().await?);
    let all = odd_instances();
    register_all(&case, &client, &all).await?;
    let view = other.view().await?;
    for instance in &all {
        if view.get(instance.id()) != Some(instance) {
            let expected = format!("`list` to give back {}", shown(instance));
            return case.fail(expected, shown(&view.get(instance.id())));
        }
    }
    for instance in &all {
        other.deregister(instance.id()).await?;
    }
    client.expect("after `deregister` of every odd id", &[]).await
}

/// Clause 12: the same values survive `watch`, as events and in a `Reset`. Needs a watch.
pub async fn clause_12_odd_values_survive_watching(fixture: &dyn Fixture) -> Result<(), Violation> {
    let case = Case::new(12, fixture);
    let (client, other) = (case.client().await?, case.client().await?);
    let mut follower = Follower::start(&other).await?;
    let all = odd_instances();
    register_all(&case, &client, &all).await?;
    follower.settle(&client, SLACK).await?;
    let snapshot = Follower::start(&other).await?;
    let expected = view_of(all);
    for (what, view) in [("as events", &follower.view), ("in a `Reset`", &snapshot.view)] {
        if let Some(came) = difference(&expected, view) {
            return case.fail(format!("odd values {what} as they were registered"), shown(&came));
        }
    }
    Ok(())
}

async fn register_all(case: &Case<'_>, client: &Client, all: &[Instance]) -> Result<()> {
    for instance in all {
        if let Err(error) = instance.check() {
            return case.fail("the kit's values to be valid", error.to_string());
        }
        client.register(instance, LONG_LEASE).await?;
    }
    Ok(())
}

fn odd_instances() -> Vec<Instance> {
    let mut all: Vec<Instance> = Vec::new();
    let longest_name = "n".repeat(128);
    for name in [".", "..", "-", "_", "a-b-c", "Mail", "mail", "0", "null", "a.b_c-", &longest_name]
    {
        all.push(instance(name));
    }
    let longest_url = format!("http://h/{}", "u".repeat(2_048 - "http://h/".len()));
    for url in [
        "http://h/a b/?q=c d#e f",
        "http://h//x/./../y/",
        "http://h/'\"`;--\\{}[]<>|^",
        "http://h/%00%2F%zz%",
        "http://h/schlüssel/鍵/\u{1f511}?\u{e4}=a\u{308}",
        "http://user:pass@[fe80::1]:8080/$HOME/${x}/$(y)",
        "http://h",
        "HTTP://Host.Example:80?Q",
        "http://h?*=%25s&amp;&_=+,:@!~",
        "grpc+tls.v2://h:1",
        &longest_url,
    ] {
        all.push(moved(&instance("url"), url));
    }
    for (key, value) in [
        ("", ""),
        ("empty", ""),
        ("line\nbreak", "a\r\nb\n\n"),
        ("  space ", " \t "),
        ("control", "\u{1}\u{1b}[0m\u{7f}\u{85}\u{2028}\u{feff}"),
        ("quote\"'`", "\\ \\\\ \\n \\u0000 \"'` ${x} %s {} {\"a\":[1]} <&amp;>"),
        ("schlüssel", "wert \u{1f980} a\u{308} \u{e4} \u{202e}"),
        ("null", "null"),
        ("true", "true"),
        ("number", "007"),
        ("float", "1e400"),
        ("__proto__", "NaN"),
        ("url", "http://other"),
        ("expires_at", "0"),
    ] {
        all.push(instance("metadata").with_metadata(key, value));
    }
    let cases = instance("metadata").with_metadata("key", "lower").with_metadata("KEY", "upper");
    let many = (0..32).fold(instance("metadata"), |instance, n| {
        instance.with_metadata(&format!("key-{n}"), &"v".repeat(200))
    });
    let large = instance("metadata").with_metadata("large", &"\u{1f980}".repeat((8_192 - 5) / 4));
    all.extend([cases, many, large]);
    // Ids of other software: the part after the last hyphen may hold any character but a hyphen.
    let longest_id = format!("mail-{}", "i".repeat(200 - "mail-".len()));
    let longest_encoded = format!("mail-{}", "/".repeat(200 - "mail-".len()));
    let longest_encoded_too = format!("mail-{}.", "/".repeat(199 - "mail-".len()));
    for id in [
        "mail-1",
        "mail-20160315122936.17256541",
        "mail-a b/c\\d",
        "mail-'\"`;*%?_",
        "mail-schlüssel \u{1f511}",
        "mail-{x}[y]:z",
        "mail-A",
        "mail-a",
        &longest_id,
        &longest_encoded,
        &longest_encoded_too,
    ] {
        let id = InstanceId::from(id);
        all.push(Instance::from_parts(id, "mail", "http://10.0.0.7:25", BTreeMap::new()));
    }
    all
}
