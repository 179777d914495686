//! Dropping repeats: predictions arrive at least once, and the first one wins. Seen offsets are
//! kept per (deployment, version, role, topic, partition) as blocks of 65,536 offsets, each a
//! sorted list, a bitmap or "all" (after Roaring, arXiv 1402.6407), above a low-water mark. Memory
//! is bounded: when the blocks run out the lowest one goes, and what lies below the mark counts as
//! a repeat.

use std::collections::BTreeMap;

use forebay_core::prediction::Role;
use hashbrown::HashMap;

const BLOCK_BITS: u32 = 16;
const BLOCK_OFFSETS: usize = 1 << BLOCK_BITS;
/// Longest sorted list; a bitmap takes as much memory.
const LIST_MAX: usize = BLOCK_OFFSETS / 16;

#[derive(Debug, Clone)]
enum Block {
    List(Vec<u16>),
    Bitmap { words: Box<[u64]>, ones: u32 },
    All,
}

impl Block {
    /// Whether `low` was new.
    fn insert(&mut self, low: u16) -> bool {
        match self {
            Self::All => false,
            Self::List(list) => {
                // Logs are read in order: almost always the new offset goes to the end.
                let place = match list.last() {
                    Some(last) if *last < low => list.len(),
                    _ => match list.binary_search(&low) {
                        Ok(_) => return false,
                        Err(place) => place,
                    },
                };
                list.insert(place, low);
                if list.len() > LIST_MAX {
                    *self = Self::bitmap(list);
                }
                true
            }
            Self::Bitmap { words, ones } => {
                let (word, bit) = (usize::from(low) / 64, 1_u64 << (low % 64));
                let new = words[word] & bit == 0;
                words[word] |= bit;
                *ones += u32::from(new);
                if *ones as usize == BLOCK_OFFSETS {
                    *self = Self::All;
                }
                new
            }
        }
    }

    fn bitmap(list: &[u16]) -> Self {
        let mut words = vec![0_u64; BLOCK_OFFSETS / 64].into_boxed_slice();
        for low in list {
            words[usize::from(*low) / 64] |= 1 << (low % 64);
        }
        Self::Bitmap {
            words,
            ones: u32::try_from(list.len()).unwrap_or(u32::MAX),
        }
    }
}

/// A bounded set of offsets.
#[derive(Debug, Clone, Default)]
pub(crate) struct OffsetSet {
    blocks: BTreeMap<i64, Block>,
    low_water_block: Option<i64>,
}

impl OffsetSet {
    /// Remember `offset`; whether it was new. At most `blocks_max` blocks are kept.
    pub(crate) fn insert(&mut self, offset: i64, blocks_max: usize) -> bool {
        let block = offset >> BLOCK_BITS;
        if self.low_water_block.is_some_and(|low| block < low) {
            return false;
        }
        let low = (offset & (BLOCK_OFFSETS as i64 - 1)) as u16;
        let new = self
            .blocks
            .entry(block)
            .or_insert_with(|| Block::List(Vec::new()))
            .insert(low);
        while self.blocks.len() > blocks_max.max(1) {
            if let Some((dropped, _)) = self.blocks.pop_first() {
                self.low_water_block = Some(dropped + 1);
            }
        }
        new
    }
}

/// Where a prediction came from, as the filter distinguishes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Lineage<'a> {
    pub(crate) deployment: &'a str,
    pub(crate) version: u32,
    pub(crate) role: Role,
    pub(crate) topic: &'a str,
    pub(crate) partition: i32,
}

type OwnedLineage = (String, u32, Role, String, i32);

/// All offset sets of one monitor.
#[derive(Debug, Default)]
pub(crate) struct RepeatFilter {
    positions: HashMap<OwnedLineage, usize>,
    sets: Vec<OffsetSet>,
}

impl RepeatFilter {
    /// The set of `lineage`; None when there are `sets_max` others already. Callers keep the
    /// position for a run of rows.
    pub(crate) fn set_of(&mut self, lineage: &Lineage<'_>, sets_max: usize) -> Option<usize> {
        let Lineage {
            deployment,
            version,
            role,
            topic,
            partition,
        } = *lineage;
        let owned = (
            deployment.to_owned(),
            version,
            role,
            topic.to_owned(),
            partition,
        );
        if let Some(position) = self.positions.get(&owned) {
            return Some(*position);
        }
        if self.sets.len() >= sets_max {
            return None;
        }
        self.sets.push(OffsetSet::default());
        self.positions.insert(owned, self.sets.len() - 1);
        Some(self.sets.len() - 1)
    }

    /// Whether `offset` is new in the set at `position`.
    pub(crate) fn insert(&mut self, position: usize, offset: i64, blocks_max: usize) -> bool {
        self.sets[position].insert(offset, blocks_max)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn agrees_with_a_set(offsets in proptest::collection::vec(-300_000_i64..300_000, 0..400)) {
            let (mut ours, mut oracle) = (OffsetSet::default(), BTreeSet::new());
            for offset in offsets {
                prop_assert_eq!(ours.insert(offset, 100), oracle.insert(offset));
            }
        }
    }

    #[test]
    fn a_block_goes_from_list_to_bitmap_to_all() {
        let mut set = OffsetSet::default();
        for step in [2, 1] {
            for offset in (0..BLOCK_OFFSETS as i64).step_by(step) {
                assert_eq!(
                    set.insert(offset, 4),
                    step == 2 || offset % 2 == 1,
                    "offset {offset}, step {step}"
                );
            }
        }
        assert!(matches!(set.blocks[&0], Block::All));
        assert!(!set.insert(17, 4));
    }

    #[test]
    fn the_lowest_block_goes_at_the_limit_and_counts_as_seen() {
        let mut set = OffsetSet::default();
        for block in 0..3_i64 {
            assert!(set.insert(block << BLOCK_BITS, 2));
        }
        assert!(!set.insert(5, 2), "below the low-water mark");
        assert!(set.insert((1 << BLOCK_BITS) + 5, 2));
    }

    #[test]
    fn lineages_are_kept_apart_up_to_the_limit() {
        let mut filter = RepeatFilter::default();
        let live = Lineage {
            deployment: "d",
            version: 1,
            role: Role::Live,
            topic: "t",
            partition: 0,
        };
        let shadow = Lineage {
            role: Role::Shadow,
            ..live
        };
        assert_eq!(filter.set_of(&live, 2), Some(0));
        assert_eq!(filter.set_of(&shadow, 2), Some(1));
        assert_eq!(filter.set_of(&live, 2), Some(0));
        assert_eq!(
            filter.set_of(
                &Lineage {
                    partition: 1,
                    ..live
                },
                2
            ),
            None
        );
        assert!(filter.insert(0, 7, 4) && filter.insert(1, 7, 4) && !filter.insert(0, 7, 4));
    }
}
