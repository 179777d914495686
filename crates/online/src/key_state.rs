//! All that is known of one key of one view at one epoch: its tree of tiles, the states of its
//! expired lifetime rows, its presence, and the last finished answer. Immutable but for that
//! answer: a commit makes a new one, so an answer never outlives the rows that it was computed
//! from.

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use forebay_core::aggregate::Partial;
use forebay_core::time::Micros;
use forebay_core::value::Value;
use forebay_core::view::FeatureStatus;

use crate::tree::{Node, Tile, assemble};

/// States, over the partials of a view's lifetime windows, of the rows that have expired.
#[derive(Debug, Clone)]
pub(crate) struct Folded {
    pub(crate) newest_us: Micros,
    pub(crate) rows: u64,
    pub(crate) states: Box<[Partial]>,
}

/// A finished answer and the span of instants for which it is right while no event is applied.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct HotRow {
    pub(crate) valid_from_us: Micros,
    /// Exclusive; `Micros::MAX` means without end.
    pub(crate) valid_until_us: Micros,
    pub(crate) newest_us: Option<Micros>,
    pub(crate) status: FeatureStatus,
    /// As the view's aggregates; all NULL unless present.
    pub(crate) values: Box<[Value]>,
}

impl HotRow {
    pub(crate) fn answers(&self, at: Micros) -> bool {
        self.valid_from_us <= at && at < self.valid_until_us
    }
}

/// One key of one view.
#[derive(Debug, Default)]
pub(crate) struct KeyState {
    /// Sorted by time.
    pub(crate) roots: Vec<Arc<Node>>,
    pub(crate) folded: Option<Arc<Folded>>,
    /// Newest event time among rows that were too late or have expired: the key is known although
    /// no tile holds them.
    pub(crate) gone_newest_us: Option<Micros>,
    /// Whether the key has a presence record: it has or had a row.
    pub(crate) known: bool,
    /// Upper bound of the memory of its tiles, bytes.
    pub(crate) memory_bytes: usize,
    /// The last finished answer.
    pub(crate) hot: ArcSwapOption<HotRow>,
}

impl KeyState {
    /// From what the disk holds of a known key.
    pub(crate) fn from_tiles(
        tiles: Vec<Tile>,
        partials: usize,
        gone_newest_us: Option<Micros>,
        folded: Option<Folded>,
    ) -> Self {
        Self {
            memory_bytes: tiles.iter().map(|tile| tile.memory_bytes(partials)).sum(),
            roots: assemble(tiles),
            folded: folded.map(Arc::new),
            gone_newest_us,
            known: true,
            hot: ArcSwapOption::empty(),
        }
    }

    /// The same rows, to be changed into the next version.
    pub(crate) fn fork(&self) -> Self {
        Self {
            roots: self.roots.clone(),
            folded: self.folded.clone(),
            gone_newest_us: self.gone_newest_us,
            known: self.known,
            memory_bytes: self.memory_bytes,
            hot: ArcSwapOption::empty(),
        }
    }

    /// Number of its tiles.
    pub(crate) fn tiles(&self) -> usize {
        let mut count = 0;
        self.roots
            .iter()
            .for_each(|root| root.for_each_tile(&mut |_| count += 1));
        count
    }
}
