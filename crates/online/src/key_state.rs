//! All that is known of one key of one view at one epoch: its rows, the states of its expired
//! lifetime rows, its presence, and the last finished answer. Immutable but for that answer: a
//! commit makes a new one, so an answer never outlives the rows that it was computed from.
//!
//! Most keys have few rows, so those take one block of bytes and nothing beside it
//! ([`Rows::Block`]). From [`BLOCK_MAX_ROWS`] rows on it is a tree of tiles, of which a part may be
//! on disk alone (`stub`). Values do not depend on it.

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use forebay_core::aggregate::Partial;
use forebay_core::aggregate::cells::Cell;
use forebay_core::time::Micros;
use forebay_core::view::FeatureStatus;

use crate::error::OnlineResult;
use crate::format::TileId;
use crate::rows::RowView;
use crate::span::LEVEL_ROOT;
use crate::stub::{Places, change_stub, memory_bytes, trim, trimmed_bytes};
use crate::tree::{Node, Record, Stub, Tile, assemble};

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

/// From so many rows on the rows of a key are a tree: merged states pay from there on.
pub(crate) const BLOCK_MAX_ROWS: usize = 8;

/// A key is trimmed where that frees at least this part (1 in N) of its memory.
const TRIM_LEAST_PART: usize = 8;

/// What a tree takes beside its nodes, bytes: itself and its list of roots, which are few.
const TREE_BYTES: usize = size_of::<Tree>() + 64;

/// Insertions elsewhere after which a place is given up.
const PLACE_UNUSED_MAX: u8 = 32;

/// One key of one view.
#[derive(Debug, Default)]
pub(crate) struct KeyState {
    rows: Rows,
    pub(crate) folded: Option<Arc<Folded>>,
    /// See [`Self::gone_newest_us`]: where `has_gone` says that there is one.
    gone_us: Micros,
    has_gone: bool,
    /// Whether the key has a presence record: it has or had a row.
    pub(crate) known: bool,
    /// The last finished answer.
    pub(crate) hot: ArcSwapOption<HotRow>,
}

/// The rows of a key.
#[derive(Debug)]
pub(crate) enum Rows {
    /// All of them, in the block of the tile that is their root; no bytes where there are none.
    Block(Box<[u8]>),
    Tree(Box<Tree>),
}

impl Default for Rows {
    fn default() -> Self {
        Self::Block(Box::default())
    }
}

/// The rows of a key in nodes, and what is known of how they come.
#[derive(Debug, Clone)]
pub(crate) struct Tree {
    /// Sorted by time.
    pub(crate) roots: Vec<Arc<Node>>,
    /// Partial states of its view: what merged states of a node hold.
    partials: usize,
    /// Where the last rows went, and the last ones far from there: where the next are expected.
    places: Places,
    /// Insertions since rows last went to each of them.
    unused: [u8; 2],
    /// Insertions since it was loaded.
    insertions: u32,
    /// Upper bound of the memory of its nodes, bytes.
    memory_bytes: usize,
}

impl Tree {
    fn new(roots: Vec<Arc<Node>>, partials: usize) -> Self {
        Self {
            memory_bytes: memory_bytes(&roots, partials),
            roots,
            partials,
            places: [Micros::MAX; 2],
            unused: [0; 2],
            insertions: 0,
        }
    }

    /// The tree of the rows of a block.
    fn of_block(bytes: Box<[u8]>, partials: usize) -> Self {
        if bytes.is_empty() {
            return Self::new(Vec::new(), partials);
        }
        let tile = Tile::of_root(bytes);
        let places = [tile.max_us(); 2];
        Self {
            places,
            ..Self::new(vec![Arc::new(Node::Tile(tile))], partials)
        }
    }

    /// Rows up to `time` are inserted: the place that is nearer moves there.
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

    /// What a branch has that its last insertion changed.
    pub(crate) fn record(&self) -> Record {
        Record::None {
            since: self.insertions,
        }
    }

    /// Where its last rows went.
    pub(crate) fn places(&self) -> Places {
        self.places
    }

    /// Note that its nodes have grown by so many bytes, or got smaller.
    pub(crate) fn grow_by(&mut self, change: isize) {
        self.memory_bytes = self.memory_bytes.saturating_add_signed(change);
    }

    /// The same rows with those alone in memory that lie where rows arrive; None where that frees
    /// too little.
    fn trimmed(&self) -> Option<Self> {
        let frees = |memory_bytes: usize| {
            let freed = self.memory_bytes.saturating_sub(memory_bytes);
            freed > 0 && freed.saturating_mul(TRIM_LEAST_PART) >= self.memory_bytes
        };
        if !frees(trimmed_bytes(&self.roots, self.places, self.partials)) {
            return None;
        }
        let trimmed = self.with_roots(trim(&self.roots, self.places));
        frees(trimmed.memory_bytes).then_some(trimmed)
    }

    /// The same rows in other nodes.
    fn with_roots(&self, roots: Vec<Arc<Node>>) -> Self {
        Self {
            memory_bytes: memory_bytes(&roots, self.partials),
            roots,
            ..*self
        }
    }

    /// The bytes of its only tile, if a block can take its place: a root, of few rows.
    fn into_block(mut self) -> Result<Box<[u8]>, Self> {
        let is_small = |root: &Arc<Node>| match root.as_ref() {
            Node::Tile(tile) => tile.id.level == LEVEL_ROOT && tile.view().rows() < BLOCK_MAX_ROWS,
            Node::Branch(_) | Node::Stub(_) => false,
        };
        if self.roots.len() > 1 || !self.roots.iter().all(is_small) {
            return Err(self);
        }
        let Some(root) = self.roots.pop() else {
            return Ok(Box::default());
        };
        match Arc::try_unwrap(root) {
            Ok(Node::Tile(tile)) => Ok(tile.into_bytes()),
            Ok(node) => Err(self.with_roots(vec![Arc::new(node)])),
            Err(shared) => match shared.as_ref() {
                Node::Tile(tile) => Ok(tile.bytes().into()),
                Node::Branch(_) | Node::Stub(_) => Err(self.with_roots(vec![shared])),
            },
        }
    }
}

impl KeyState {
    /// From what the disk holds of a known key.
    pub(crate) fn from_nodes(
        nodes: Vec<Node>,
        partials: usize,
        gone_newest_us: Option<Micros>,
        folded: Option<Folded>,
    ) -> Self {
        let mut state = Self {
            rows: Rows::Tree(Box::new(Tree::new(assemble(nodes), partials))),
            folded: folded.map(Arc::new),
            known: true,
            ..Self::default()
        };
        state.lose(gone_newest_us);
        state.pack();
        state
    }

    /// The same rows, to be changed into the next version.
    pub(crate) fn fork(&self) -> Self {
        let rows = match &self.rows {
            Rows::Block(bytes) => Rows::Block(bytes.clone()),
            Rows::Tree(tree) => Rows::Tree(tree.clone()),
        };
        self.with_rows(rows)
    }

    fn with_rows(&self, rows: Rows) -> Self {
        Self {
            rows,
            folded: self.folded.clone(),
            gone_us: self.gone_us,
            has_gone: self.has_gone,
            known: self.known,
            hot: ArcSwapOption::empty(),
        }
    }

    /// The same rows in other nodes: its answer stays right.
    fn with_tree(&self, tree: Tree) -> Self {
        let state = self.with_rows(Rows::Tree(Box::new(tree)));
        state.hot.store(self.hot.load_full());
        state
    }

    pub(crate) fn rows(&self) -> &Rows {
        &self.rows
    }

    /// Take its rows, as a tree, to be changed and put back. `partials` are the partial states of
    /// its view.
    pub(crate) fn take_tree(&mut self, partials: usize) -> Box<Tree> {
        match std::mem::take(&mut self.rows) {
            Rows::Tree(tree) => tree,
            Rows::Block(bytes) => Box::new(Tree::of_block(bytes, partials)),
        }
    }

    /// Its rows; [`Self::pack`] comes after the last change.
    pub(crate) fn put_tree(&mut self, tree: Box<Tree>) {
        self.rows = Rows::Tree(tree);
    }

    /// Hold few rows as a block.
    pub(crate) fn pack(&mut self) {
        self.rows = match std::mem::take(&mut self.rows) {
            Rows::Tree(tree) => match tree.into_block() {
                Ok(bytes) => Rows::Block(bytes),
                Err(tree) => Rows::Tree(Box::new(tree)),
            },
            block => block,
        };
    }

    /// Whether it has rows that have not expired.
    pub(crate) fn has_rows(&self) -> bool {
        self.oldest_us().is_some()
    }

    /// Event time of its first row.
    pub(crate) fn oldest_us(&self) -> Option<Micros> {
        match &self.rows {
            Rows::Block(bytes) if bytes.is_empty() => None,
            Rows::Block(bytes) => Some(RowView::new(bytes).time(0)),
            Rows::Tree(tree) => tree.roots.first().map(|root| root.min_us()),
        }
    }

    /// Newest event time among rows that were too late or have expired: the key is known although
    /// no tile holds them.
    pub(crate) fn gone_newest_us(&self) -> Option<Micros> {
        self.has_gone.then_some(self.gone_us)
    }

    /// Rows up to this event time were too late, or have expired.
    pub(crate) fn lose(&mut self, newest_us: Option<Micros>) {
        if let Some(newest_us) = self.gone_newest_us().max(newest_us) {
            (self.gone_us, self.has_gone) = (newest_us, true);
        }
    }

    /// The same rows with those alone in memory that lie where rows arrive; None where that frees
    /// too little.
    pub(crate) fn trimmed(&self) -> Option<Self> {
        match &self.rows {
            Rows::Block(_) => None,
            Rows::Tree(tree) => Some(self.with_tree(tree.trimmed()?)),
        }
    }

    /// The same rows with what `change` makes of the stub `id`.
    pub(crate) fn with_stub(
        &self,
        id: TileId,
        change: impl FnOnce(&Stub) -> OnlineResult<Arc<Node>>,
    ) -> OnlineResult<Self> {
        match &self.rows {
            Rows::Block(_) => Ok(self.fork()),
            Rows::Tree(tree) => {
                let roots = change_stub(&tree.roots, id, change)?;
                Ok(self.with_tree(tree.with_roots(roots)))
            }
        }
    }

    /// Upper bound of the memory of its rows, bytes; what it takes itself is its entry's.
    pub(crate) fn memory_bytes(&self) -> usize {
        match &self.rows {
            Rows::Block(bytes) => allocated_bytes(bytes.len()),
            Rows::Tree(tree) => TREE_BYTES + tree.memory_bytes,
        }
    }

    /// Number of its tiles that are in memory.
    pub(crate) fn tiles(&self) -> usize {
        let mut count = 0;
        match &self.rows {
            Rows::Block(bytes) => count += usize::from(!bytes.is_empty()),
            Rows::Tree(tree) => {
                for root in &tree.roots {
                    root.for_each_tile(&mut |_| count += 1);
                }
            }
        }
        count
    }
}

/// What the allocator takes for so many bytes, at most: the next of its sizes, which lie 16 bytes
/// apart up to 128, and beyond that a quarter.
pub(crate) const fn allocated_bytes(bytes: usize) -> usize {
    match bytes {
        0..=128 => bytes.next_multiple_of(16),
        more => more + more / 4,
    }
}
