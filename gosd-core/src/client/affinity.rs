//! The instance that a key belongs to, by rendezvous hashing over the ids.
//!
//! Every pair of an id and a key has a weight, and the heaviest wins. So all processes agree without
//! communication, and an instance that leaves gives up only its own keys. The weights must never change,
//! because processes of two versions of gosd would disagree.

/// The hash of an id or a key: FNV-1a of 64 bits, well mixed.
pub(super) fn hash(bytes: &[u8]) -> u64 {
    let fold = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    mix(bytes.iter().fold(0xcbf2_9ce4_8422_2325, fold))
}

/// The index of the id that the key belongs to.
pub(super) fn choose(ids: &[u64], key: &[u8]) -> Option<usize> {
    let key = hash(key);
    let weights = ids.iter().enumerate().map(|(place, id)| (mix(id ^ key), *id, place));
    weights.max().map(|(_, _, place)| place)
}

/// The last steps of SplitMix64, which make every bit of the result depend on every bit.
fn mix(mut value: u64) -> u64 {
    value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEYS: u32 = 10_000;

    fn ids(count: usize) -> Vec<u64> {
        (0..count).map(|i| hash(format!("mail-{i}").as_bytes())).collect()
    }

    #[test]
    fn the_weights_are_those_of_every_version() {
        let places: Vec<_> =
            (0..12_u32).map(|key| choose(&ids(5), &key.to_be_bytes()).unwrap()).collect();
        // A program in another language computes the same weights.
        assert_eq!(places, [4, 4, 3, 1, 3, 3, 3, 3, 2, 1, 0, 0]);
    }

    #[test]
    fn an_id_that_leaves_gives_up_only_its_own_keys() {
        let all = ids(10);
        for gone in 0..all.len() {
            let mut rest = all.clone();
            rest.swap_remove(gone);
            let mut moved = 0;
            for key in 0..KEYS {
                let key = key.to_be_bytes();
                let before = all[choose(&all, &key).unwrap()];
                let after = rest[choose(&rest, &key).unwrap()];
                assert!(before == after || before == all[gone]);
                moved += u32::from(before != after);
            }
            let fair = KEYS / 10;
            assert!(moved.abs_diff(fair) <= fair / 5, "{moved}");
        }
        assert_eq!(choose(&[], b"key"), None);
    }
}
