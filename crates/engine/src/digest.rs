//! Digests of definitions: what says whether an applied text is the one that state, models and
//! manifests were made with. 128 bits of XXH3 over length-prefixed parts, so that no two lists of
//! parts are one text. They compare definitions of one owner and guard nothing against forgery.

use forebay_core::key::key_hash;

/// 32 hex digits over `parts`, in their order.
pub(crate) fn digest<'a>(parts: impl IntoIterator<Item = &'a str>) -> String {
    // The hash is one of 64 bits: the two halves differ in their first byte.
    let mut bytes = vec![0_u8];
    for part in parts {
        bytes.extend_from_slice(&(part.len() as u64).to_le_bytes());
        bytes.extend_from_slice(part.as_bytes());
    }
    let low = key_hash(&bytes);
    bytes[0] = 1;
    format!("{:016x}{low:016x}", key_hash(&bytes))
}

#[cfg(test)]
mod tests {
    use super::digest;

    #[test]
    fn parts_are_kept_apart_and_the_digest_is_stable() {
        assert_ne!(digest(["ab", "c"]), digest(["a", "bc"]));
        assert_ne!(digest(["a"]), digest(["a", ""]));
        assert_eq!(digest(["create source s", "1"]).len(), 32);
        assert_eq!(digest(["x"]), digest(["x"]));
    }
}
