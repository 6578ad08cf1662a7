//! Variables that look like gosd's but are not: whoever sets one believes that it has an effect.

use std::cmp::Reverse;
use std::sync::Once;

use tracing::warn;

use crate::env::known;

/// Warns of such variables, for example `gosdDriverr`, once in a process.
pub(crate) fn warn_of(names: &[String]) {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        for (name, meant) in misspelt(names) {
            warn!("gosd has no variable {name}, so it changes nothing; is {meant} meant?");
        }
    });
}

/// The names that look like gosd's variables, each with the variable that is most similar.
pub(crate) fn misspelt(names: &[String]) -> Vec<(&str, &'static str)> {
    let bare = |name: &str| name.replace('_', "").to_ascii_lowercase();
    let in_common = |one: &str, other: &str| {
        bare(one).bytes().zip(bare(other).bytes()).take_while(|(a, b)| a == b).count()
    };
    let mut found: Vec<(&str, &str)> = names
        .iter()
        .filter(|name| bare(name).starts_with("gosd") && known().all(|known| known != *name))
        .filter_map(|name| {
            // Of two equally similar variables the shorter is meant, because the longer contains it.
            let meant =
                known().max_by_key(|known| (in_common(name, known), Reverse(known.len())))?;
            // More than the prefix has to be equal, or the variable may belong to another program.
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
    fn a_similar_name_is_reported_with_the_variable_that_is_meant() {
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
