//! Variables that look like gosd's and are none of them: whoever set one believes that it counts.

use std::cmp::Reverse;
use std::sync::Once;

use tracing::warn;

use crate::env::known;

/// Warns of such variables, such as `gosdDriverr`: once in a process.
pub(crate) fn warn_of(names: &[String]) {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        for (name, meant) in misspelt(names) {
            warn!("the variable {name} is none of gosd's and changes nothing; is {meant} meant?");
        }
    });
}

/// Those of the names that look like ours, each with the variable that it is most like.
pub(crate) fn misspelt(names: &[String]) -> Vec<(&str, &'static str)> {
    let bare = |name: &str| name.replace('_', "").to_ascii_lowercase();
    let in_common = |one: &str, other: &str| {
        bare(one).bytes().zip(bare(other).bytes()).take_while(|(a, b)| a == b).count()
    };
    let mut found: Vec<(&str, &str)> = names
        .iter()
        .filter(|name| bare(name).starts_with("gosd") && known().all(|known| known != *name))
        .filter_map(|name| {
            // Of two that are as like, the shorter: the other is it and something else.
            let meant =
                known().max_by_key(|known| (in_common(name, known), Reverse(known.len())))?;
            // Something more than the prefix, or it may be another program's.
            (in_common(name, meant) > "gosd".len() + 1).then_some((name.as_str(), meant))
        })
        .collect();
    found.sort_unstable();
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_looks_like_a_variable_of_ours_is_told_with_the_one_that_is_meant() {
        let names = [
            "gosdDriverr",
            "GOSD_DRIVER",
            "gosdLeaseTtl",
            "GOSDDRIVER",
            "gosd_namespace",
            "gosdTimeout",
            "gosdRedisAddress",
            "gosdDriver",
            "gosdRedisDB",
            "GOSDIR",
            "PATH",
            "gosd",
            "gosdTryFindService",
            "gosdDriverAlsoo",
            "GOSD_DRIVER_ALSO",
        ];
        assert_eq!(
            misspelt(&names.map(String::from)),
            [
                ("GOSDDRIVER", "gosdDriver"),
                ("GOSD_DRIVER", "gosdDriver"),
                ("GOSD_DRIVER_ALSO", "gosdDriverAlso"),
                ("gosdDriverAlsoo", "gosdDriverAlso"),
                ("gosdDriverr", "gosdDriver"),
                ("gosdLeaseTtl", "gosdLeaseTTL"),
                ("gosdRedisAddress", "gosdRedisAddr"),
                ("gosdTryFindService", "gosdTryFindServiceDelay"),
                ("gosd_namespace", "gosdNamespace"),
            ]
        );
    }
}
