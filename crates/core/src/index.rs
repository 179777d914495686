//! Indices with their bound in the type: the shard of a key and the row of a batch. They are built
//! where the bound holds, once, by a constructor that states the invariant; nothing converts a
//! number into them by inventing a value.
//!
//! Where a port or a format still carries the plain number, [`ShardId::number`] and
//! [`RowIndex::number`] give it.

use crate::invariant;
use crate::limits::SHARDS_MAX;

/// Number of a shard: 0 to [`SHARDS_MAX`] - 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ShardId(u16);

impl ShardId {
    /// The shard at `index` of a list of shards.
    ///
    /// # Panics
    /// The list is longer than any deployment may be.
    #[must_use]
    pub fn at(index: usize) -> Self {
        invariant!(
            ShardInRange,
            index < usize::from(SHARDS_MAX),
            "shard {index}"
        );
        Self(u16::try_from(index).expect("SHARDS_MAX fits u16"))
    }

    /// The shard of a key with this hash among `shards`, which is not 0.
    #[must_use]
    pub fn of_hash(hash: u64, shards: u16) -> Self {
        let remainder = hash % u64::from(shards.max(1));
        Self(u16::try_from(remainder).expect("a remainder of division by a u16 fits u16"))
    }

    /// How many shards a list of `length` shards stands for.
    ///
    /// # Panics
    /// As [`Self::at`].
    #[must_use]
    pub fn count(length: usize) -> u16 {
        invariant!(
            ShardInRange,
            length <= usize::from(SHARDS_MAX),
            "{length} shards"
        );
        u16::try_from(length).expect("SHARDS_MAX fits u16")
    }

    /// The plain number.
    #[must_use]
    pub fn number(self) -> u16 {
        self.0
    }

    /// Its index in a list of shards.
    #[must_use]
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

/// Index of a row in one batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RowIndex(u32);

impl RowIndex {
    /// Row `row` of a batch.
    ///
    /// # Panics
    /// The batch has more than 2^32 rows: Arrow's own limits and ours lie far below.
    #[must_use]
    pub fn at(row: usize) -> Self {
        Self(u32::try_from(row).expect("a batch has fewer than 2^32 rows"))
    }

    /// All rows of a batch of `rows`.
    pub fn all(rows: usize) -> impl Iterator<Item = Self> {
        let end = Self::at(rows);
        (0..end.0).map(Self)
    }

    /// The plain number.
    #[must_use]
    pub fn number(self) -> u32 {
        self.0
    }

    /// As an index into a column.
    #[must_use]
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn indices_are_what_they_were_built_from() {
        assert_eq!(ShardId::at(255).number(), 255);
        assert_eq!(ShardId::count(256), 256);
        assert_eq!(ShardId::of_hash(u64::MAX, 10).index(), 5);
        assert_eq!(RowIndex::at(8_191).index(), 8_191);
        let rows: Vec<u32> = RowIndex::all(3).map(RowIndex::number).collect();
        assert_eq!(rows, [0, 1, 2]);
    }

    #[test]
    #[should_panic(expected = "shard_in_range")]
    fn a_shard_beyond_the_limit_is_a_broken_invariant() {
        let _shard = ShardId::at(usize::from(SHARDS_MAX));
    }
}
