//! Records of branches of many tiles: what a stub needs to stand for a branch, so that a key is
//! read in parts, and the merged states of its rows. `closing` writes them, `load` reads them. Each
//! follows from the tiles of its span; a commit that changes one of these deletes it.
//!
//! Key in `branch`: view id u32 BE, entity key, start i64 BE sign flipped, hash u32 BE, 255 less
//! the level u8. So the records of a key lie in the order of time, each before those of the
//! branches below it, and what follows a span is found without a look at what is in it.
//!
//! Fields behind the version code: least and greatest event time, levels of its tiles as bits u64,
//! tiles u64, bytes of these u64, states in the encoding of `core::aggregate`.

use forebay_core::bytes::{Reader, Writer};
use forebay_core::invariant;
use forebay_core::time::Micros;

use super::{Decoded, TileId, VIEW_BYTES};

/// Version code of a branch's record. 0 is reserved.
const BRANCH_VERSION: u8 = 1;
/// Bytes of its key behind the entity key.
const BRANCH_SUFFIX_BYTES: usize = 13;

/// What is stored of a branch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BranchRecord<'a> {
    pub(crate) min_us: Micros,
    pub(crate) max_us: Micros,
    pub(crate) levels: u64,
    pub(crate) tiles: u64,
    pub(crate) bytes: u64,
    pub(crate) states: &'a [u8],
}

/// Append the part of a branch's key that follows the entity key.
pub(crate) fn push_branch_suffix(out: &mut Vec<u8>, id: TileId) {
    out.extend_from_slice(&((id.start as u64) ^ (1 << 63)).to_be_bytes());
    out.extend_from_slice(&id.sub.to_be_bytes());
    out.push(u8::MAX - id.level);
}

/// Entity key and branch of a key in `branch`.
pub(crate) fn parse_branch_key(bytes: &[u8]) -> Decoded<(&[u8], TileId)> {
    let body = bytes
        .get(VIEW_BYTES..)
        .filter(|b| b.len() > BRANCH_SUFFIX_BYTES)
        .ok_or("a branch's key is too short")?;
    let (key, suffix) = body.split_at(body.len() - BRANCH_SUFFIX_BYTES);
    let mut reader = Reader::new(suffix);
    let start = (u64::from_be_bytes(reader.array()?) ^ (1 << 63)) as i64;
    let sub = u32::from_be_bytes(reader.array()?);
    let level = u8::MAX - reader.u8()?;
    Ok((key, TileId { level, start, sub }))
}

/// From the first record of the key whose prefix is `prefix` to one past its last.
pub(crate) fn branches_of_key(prefix: &[u8]) -> (Vec<u8>, Vec<u8>) {
    // Longer than any record's key, so that it lies behind all of them.
    let end = [prefix, &[u8::MAX; BRANCH_SUFFIX_BYTES + 1]].concat();
    (prefix.to_vec(), end)
}

/// From the first record below the branch `id` to one past its last, where `last` is the last place
/// of its span.
pub(crate) fn branches_below(prefix: &[u8], id: TileId, last: (Micros, u32)) -> (Vec<u8>, Vec<u8>) {
    let mut from = prefix.to_vec();
    push_branch_suffix(&mut from, id);
    from.push(0);
    (from, behind_branches(prefix, last))
}

/// One past the last record of a key that begins at or before `place`.
pub(crate) fn behind_branches(prefix: &[u8], (start, sub): (Micros, u32)) -> Vec<u8> {
    let mut key = prefix.to_vec();
    let level = 0;
    push_branch_suffix(&mut key, TileId { level, start, sub });
    key.push(0);
    key
}

impl<'a> BranchRecord<'a> {
    pub(crate) fn encode(&self) -> Vec<u8> {
        invariant!(
            StubHasTiles,
            self.levels != 0 && self.tiles > 1,
            "{} tiles on levels {:#x}",
            self.tiles,
            self.levels
        );
        let mut w = Writer::versioned(BRANCH_VERSION);
        w.i64(self.min_us);
        w.i64(self.max_us);
        [self.levels, self.tiles, self.bytes]
            .into_iter()
            .for_each(|value| w.u64(value));
        w.bytes(self.states);
        w.finish()
    }

    pub(crate) fn decode(bytes: &'a [u8]) -> Decoded<Self> {
        let mut r = Reader::versioned(bytes, BRANCH_VERSION)?;
        let record = Self {
            min_us: r.i64()?,
            max_us: r.i64()?,
            levels: r.u64()?,
            tiles: r.u64()?,
            bytes: r.u64()?,
            states: r.bytes()?,
        };
        r.end()?;
        Ok(record)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::{key_prefix, prefix_len};
    use crate::testing::{assert_golden, bytes_of};

    #[test]
    fn golden_bytes_of_the_records_of_branches() {
        // The states are one count of 300 rows, as `core::aggregate` writes it.
        let states = bytes_of("10ac02");
        let record = BranchRecord {
            min_us: -2,
            max_us: 258,
            levels: 0x21,
            tiles: 300,
            bytes: 65_536,
            states: &states,
        };
        let golden = "01 feffffffffffffff 0201000000000000 2100000000000000 2c01000000000000 \
             0000010000000000 03000000 10ac02";
        let owned = |r: BranchRecord<'_>| {
            let ends = (r.min_us, r.max_us, r.levels);
            (ends, r.tiles, r.bytes, r.states.to_vec())
        };
        assert_golden(&owned(record), &record.encode(), golden, |bytes| {
            BranchRecord::decode(bytes).map(owned)
        });
    }

    #[test]
    fn golden_bytes_of_keys_of_branches_whose_order_is_that_of_a_walk() {
        let entity = bytes_of("40c3a90001");
        let branch = |level, start, sub| TileId { level, start, sub };
        let walk = [
            (branch(20, -256, 0), "7fffffffffffff00 00000000 eb"),
            (branch(19, -256, 0), "7fffffffffffff00 00000000 ec"),
            (branch(17, -4, 0), "7ffffffffffffffc 00000000 ee"),
            (branch(37, 0, 0), "8000000000000000 00000000 da"),
            (branch(16, 3, 0), "8000000000000003 00000000 ef"),
            (branch(15, 3, 1 << 30), "8000000000000003 40000000 f0"),
        ];
        let mut keys = Vec::new();
        for (id, golden) in walk {
            let mut key = Vec::new();
            key_prefix(&mut key, 258, &entity);
            let prefix = key.clone();
            assert_eq!(prefix.len(), prefix_len(&entity));
            push_branch_suffix(&mut key, id);
            let golden = format!("00000102 40c3a90001 {golden}");
            assert_eq!(key, bytes_of(&golden), "{id:?}");
            assert_eq!(parse_branch_key(&key), Ok((&*entity, id)));
            let (first, end) = branches_of_key(&prefix);
            assert!(first < key && key < end, "{id:?}");
            keys.push(key);
        }
        assert!(keys.is_sorted());
        let prefix = &keys[0][..prefix_len(&entity)];
        // What lies below the first one, and what follows it.
        let (from, to) = branches_below(prefix, walk[0].0, (-1, u32::MAX));
        assert!(keys[0] < from && from < keys[1] && keys[2] < to && to < keys[3]);
    }
}
