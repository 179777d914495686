//! All that is known of one key of one view at one epoch: its tree of tiles, the states of its
//! expired lifetime rows, its presence, and the last finished answer. Immutable but for that
//! answer: a commit makes a new one, so an answer never outlives the rows that it was computed
//! from. A part of the tree may be on disk alone (`stub`).

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use forebay_core::aggregate::Partial;
use forebay_core::aggregate::cells::Cell;
use forebay_core::time::Micros;
use forebay_core::view::FeatureStatus;

use crate::error::OnlineResult;
use crate::format::TileId;
use crate::stub::{Places, change_stub, memory_bytes, trim, trimmed_bytes};
use crate::tree::{Node, Record, Stub, assemble};

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
    pub(crate) values: Box<[Cell]>,
}

impl HotRow {
    pub(crate) fn answers(&self, at: Micros) -> bool {
        self.valid_from_us <= at && at < self.valid_until_us
    }
}

/// A key is trimmed where that frees at least this part (1 in N) of its memory.
const TRIM_LEAST_PART: usize = 8;

/// Insertions elsewhere after which a place is given up.
const PLACE_UNUSED_MAX: u8 = 32;

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
    /// Partial states of its view: what merged states of a node hold.
    pub(crate) partials: usize,
    /// Where the last rows went, and the last ones far from there: where the next are expected.
    places: Places,
    /// Insertions since rows last went to each of them.
    unused: [u8; 2],
    /// Insertions since it was loaded.
    insertions: u32,
    /// Upper bound of the memory of its tree, bytes.
    pub(crate) memory_bytes: usize,
    /// The last finished answer.
    pub(crate) hot: ArcSwapOption<HotRow>,
}

impl KeyState {
    /// From what the disk holds of a known key.
    pub(crate) fn from_nodes(
        nodes: Vec<Node>,
        partials: usize,
        gone_newest_us: Option<Micros>,
        folded: Option<Folded>,
    ) -> Self {
        let roots = assemble(nodes);
        Self {
            memory_bytes: memory_bytes(&roots, partials),
            roots,
            folded: folded.map(Arc::new),
            gone_newest_us,
            known: true,
            partials,
            places: [Micros::MAX; 2],
            unused: [0; 2],
            insertions: 0,
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
            partials: self.partials,
            places: self.places,
            unused: self.unused,
            insertions: self.insertions,
            memory_bytes: self.memory_bytes,
            hot: ArcSwapOption::empty(),
        }
    }

    /// Rows up to `time` were inserted: the place that is nearer moves there.
    pub(crate) fn arrive(&mut self, time: Micros) {
        self.insertions = self.insertions.wrapping_add(1);
        if self.roots.is_empty() {
            self.places = [time; 2];
        }
        let [first, second] = self.places.map(|place| place.abs_diff(time));
        let nearer = usize::from(second < first);
        self.places[nearer] = time;
        self.unused[nearer] = 0;
        let other = &mut self.unused[1 - nearer];
        *other = other.saturating_add(1);
        if *other >= PLACE_UNUSED_MAX {
            (self.places, self.unused) = ([time; 2], [0; 2]);
        }
    }

    /// The same rows with those alone in memory that lie where rows arrive; None where that frees
    /// too little.
    pub(crate) fn trimmed(&self) -> Option<Self> {
        let frees = |memory_bytes: usize| {
            let freed = self.memory_bytes.saturating_sub(memory_bytes);
            freed > 0 && freed.saturating_mul(TRIM_LEAST_PART) >= self.memory_bytes
        };
        if !frees(trimmed_bytes(&self.roots, self.places, self.partials)) {
            return None;
        }
        let roots = trim(&self.roots, self.places);
        let memory_bytes = memory_bytes(&roots, self.partials);
        frees(memory_bytes).then(|| self.with_roots(roots, memory_bytes))
    }

    /// What a branch is noted to have that its last insertion changed.
    pub(crate) fn record(&self) -> Record {
        Record::None {
            since: self.insertions,
        }
    }

    /// Where its last rows went.
    pub(crate) fn places(&self) -> Places {
        self.places
    }

    /// The same rows with what `change` makes of the stub `id`.
    pub(crate) fn with_stub(
        &self,
        id: TileId,
        change: impl FnOnce(&Stub) -> OnlineResult<Arc<Node>>,
    ) -> OnlineResult<Self> {
        let roots = change_stub(&self.roots, id, change)?;
        let memory_bytes = memory_bytes(&roots, self.partials);
        Ok(self.with_roots(roots, memory_bytes))
    }

    /// The same rows in other nodes: its answer stays right.
    fn with_roots(&self, roots: Vec<Arc<Node>>, memory_bytes: usize) -> Self {
        Self {
            roots,
            memory_bytes,
            hot: ArcSwapOption::new(self.hot.load_full()),
            ..self.fork()
        }
    }

    /// Note that its tree has grown by so many bytes, or got smaller.
    pub(crate) fn grow_by(&mut self, change: isize) {
        self.memory_bytes = self.memory_bytes.saturating_add_signed(change);
    }

    /// Number of its tiles that are in memory.
    pub(crate) fn tiles(&self) -> usize {
        let mut count = 0;
        self.roots
            .iter()
            .for_each(|root| root.for_each_tile(&mut |_| count += 1));
        count
    }
}
