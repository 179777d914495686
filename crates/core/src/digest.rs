//! Digests of texts: what says whether an applied definition is the one that state, models and
//! manifests were made with. XXH3 of 128 bits over length-prefixed parts, so that no two lists of
//! parts are one text. They compare what one owner wrote and guard nothing against forgery.
//!
//! A digest outlives the process (catalog, manifests of models): the parts and their prefix are a
//! format.

use xxhash_rust::xxh3::xxh3_128;

/// 32 hex digits over `parts`, in their order.
#[must_use]
pub fn digest<'a>(parts: impl IntoIterator<Item = &'a str>) -> String {
    let mut bytes = Vec::new();
    for part in parts {
        bytes.extend_from_slice(&(part.len() as u64).to_le_bytes());
        bytes.extend_from_slice(part.as_bytes());
    }
    format!("{:032x}", xxh3_128(&bytes))
}

#[cfg(test)]
mod tests {
    use super::digest;

    #[test]
    fn parts_are_kept_apart() {
        assert_ne!(digest(["ab", "c"]), digest(["a", "bc"]));
        assert_ne!(digest(["a"]), digest(["a", ""]));
        assert_ne!(digest([]), digest([""]));
    }

    /// From the `xxhash` package of Python, over the prefixed bytes of the parts.
    #[test]
    fn golden_digests() {
        assert_eq!(digest([]), "99aa06d3014798d86001c324468d497f");
        assert_eq!(
            digest(["create source s", "1"]),
            "96dc935db0efa54564acb84e4db09fc2"
        );
    }
}
