//! The history of one key of one view: a tree over time whose leaves, the tiles, hold the key's
//! rows. `commit` inserts the rows of an epoch (`insert`); [`assemble`] makes the tree from the
//! tiles that `load` has read; `window` answers reads from it; `expiry` takes old tiles out;
//! `stub` stands in for parts whose rows are on disk alone. This file knows neither keys nor column
//! families, and it folds nothing.
//!
//! # Layout
//!
//! A node of level L covers one span of time, aligned to the epoch by floor division, also before
//! 1970. It is a tile with rows, or a branch with two to four children: those quarters of its span
//! that have rows.
//!
//! * Levels [`LEVEL_ROOT`] (37) down to [`LEVEL_INSTANT`] (16) cover 4^(L - 16) microseconds. A
//!   root covers 4^21 microseconds, 50.9 days; a key has one root for each such span with rows.
//! * Levels 15 to 0 part the rows of one microsecond by [`mix`], a hash of partition and offset,
//!   two bits a level. So a key with very many events at one instant still writes small tiles.
//! * A tile has up to [`TILE_MAX_ROWS`] (32) rows. Only one of level 0 may have more: its rows are
//!   equal in time and in all bits of the hash.
//! * A [`TileId`] is the level, the start of the span and, below level 16, the least hash in it.
//! * Where memory is short a stub ([`Stub`]) takes the place of a subtree; its rows are on disk
//!   alone.
//! * A span that has rows in one quarter alone has no branch: what stands in that quarter, or
//!   further down, takes its place. So a path has as many nodes as times at which the rows part,
//!   not as many as there are levels between the root and a tile: an insertion copies the path.
//!
//! ```text
//! level 37   |                  root: a branch                   |
//! level 36   | tile, 32 rows | no rows | tile, 4 | tile, 16 rows |
//!
//! One more row in the first quarter: its tile is deleted, tiles of its quarters are put.
//!
//! level 36   | branch        | no rows | tile, 4 | tile, 16 rows |
//! level 35   | 9 |   | 21 |3 |
//! ```
//!
//! A quarter that still has more than 32 rows is split again. So tiles are short where events are
//! dense and long where they are sparse, and an epoch rewrites small tiles alone.
//!
//! # Nodes
//!
//! Nodes are immutable and shared: a change makes new nodes on the path from root to tile, and
//! readers keep the tree that they have. Each node has a place for the merged partial states of its
//! rows. `window` fills it when a read first needs it; states are never written, since they follow
//! from the rows, and a change leaves the new nodes on its path without them.
//!
//! # Expiry
//!
//! [`expire`] removes whole tiles whose newest row lies below the floor, and branches that have
//! nothing left. It joins nothing: a node that was split once stays split.
//!
//! # Invariants
//!
//! * As long as nothing has expired, the shape follows from the rows alone, whatever their order
//!   and the cuts between epochs (`tests/it/canonical.rs` compares the bytes).
//! * `roots_sorted`: roots ascend and differ. `child_inside_parent`: children ascend in time, each
//!   in its quarter of the branch.
//! * Inside a microsecond that is split, tiles are in the order of the hash, not of the log: a
//!   state that needs the log's order, that of the last value, compares the places of rows.
//!
//! # Alternatives
//!
//! Tiles of one width are wrong for dense keys or for sparse ones, sliding-window algorithms want
//! one window in order, and rows alone cost O(n) a read: docs/decisions/0003-a-tree-over-time.md.

use std::sync::{Arc, OnceLock};

use forebay_core::aggregate::{Partial, PartialSpec};
use forebay_core::bytes::BytesError;
use forebay_core::invariant;
use forebay_core::time::Micros;

use crate::error::OnlineResult;
use crate::format::{Decoded, TileId};
use crate::rows::RowView;
use crate::span::{FANOUT, LEVEL_ROOT, around, digit, id_of, is_child, root_start};
use crate::view::ViewRuntime;

pub(crate) use crate::rows::TILE_MAX_ROWS;
/// Memory of a node beside its rows and states, bytes: the reference-counted box, the header and
/// the allocator's share.
const NODE_BYTES: usize = 128;

/// From so many tiles on a branch gets a record on disk, by which a key is read in parts.
pub(crate) const RECORD_MIN_TILES: usize = 16;

/// Insertions elsewhere after which a branch gets its record: rows that are a little late come
/// before that.
pub(crate) const REST_INSERTIONS: u32 = 8;

/// Whether a branch has a record on disk that says what it has (`closing` writes it).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Record {
    /// It has none; the insertion of its key, by number, that changed it last.
    None { since: u32 },
    /// What it says is what the branch has.
    OnDisk,
    /// It has none: its states are too large for one.
    TooLarge,
}

impl Record {
    /// Of a branch that was put together from its tiles: it has rested, else a key that memory
    /// drops again and again would be read whole each time.
    pub(crate) const NEVER: Self = Self::None {
        since: 0_u32.wrapping_sub(REST_INSERTIONS),
    };
}

/// A tile, a branch, or a stub in the place of one.
#[derive(Debug)]
pub(crate) enum Node {
    Tile(Tile),
    Branch(Branch),
    Stub(Stub),
}

/// Rows of one span.
#[derive(Debug)]
pub(crate) struct Tile {
    pub(crate) id: TileId,
    bytes: Box<[u8]>,
    min_us: Micros,
    max_us: Micros,
    pub(crate) states: OnceLock<Box<[Partial]>>,
}

/// Two to four quarters of a span.
#[derive(Debug)]
pub(crate) struct Branch {
    id: TileId,
    pub(crate) children: [Option<Arc<Node>>; FANOUT],
    min_us: Micros,
    max_us: Micros,
    extent: Extent,
    pub(crate) record: Record,
    pub(crate) states: OnceLock<Box<[Partial]>>,
}

impl Tile {
    /// A tile from its bytes, which were encoded here or checked.
    pub(crate) fn new(id: TileId, bytes: Box<[u8]>) -> Self {
        let view = RowView::new(&bytes);
        let (min_us, max_us) = (view.time(0), view.time(view.rows() - 1));
        Self {
            id,
            bytes,
            min_us,
            max_us,
            states: OnceLock::new(),
        }
    }

    /// The tile of a root from the block of its rows.
    pub(crate) fn of_root(bytes: Box<[u8]>) -> Self {
        let first_us = RowView::new(&bytes).time(0);
        Self::new(id_of(LEVEL_ROOT, first_us, 0), bytes)
    }

    pub(crate) fn view(&self) -> RowView<'_> {
        RowView::new(&self.bytes)
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(crate) fn into_bytes(self) -> Box<[u8]> {
        self.bytes
    }

    /// Event time of its last row.
    pub(crate) fn max_us(&self) -> Micros {
        self.max_us
    }

    /// Whether its rows lie in the span that its id names.
    pub(crate) fn is_in_its_span(&self) -> bool {
        let id = self.id;
        let starts = [self.min_us, self.max_us].map(|time| id_of(id.level, time, id.sub).start);
        id.level <= LEVEL_ROOT && starts == [id.start; 2]
    }

    /// Upper bound of its memory, bytes, with merged states of `partials` functions for itself and
    /// its share of branches.
    pub(crate) fn memory_bytes(&self, partials: usize) -> usize {
        self.bytes.len() + 2 * node_bytes(partials)
    }
}

impl Branch {
    /// The node that stands for the span `id`: a branch, the only child, or none.
    pub(crate) fn join(
        id: TileId,
        mut children: [Option<Arc<Node>>; FANOUT],
        record: Record,
    ) -> Option<Arc<Node>> {
        let mut present = children.iter_mut().filter(|child| child.is_some());
        let first = present.next()?;
        if present.next().is_none() {
            return first.take();
        }
        Some(Arc::new(Node::Branch(Self::new(id, children, record))))
    }

    pub(crate) fn new(id: TileId, children: [Option<Arc<Node>>; FANOUT], record: Record) -> Self {
        let present = || children.iter().flatten();
        invariant!(
            ChildInsideParent,
            present().is_sorted_by(|a, b| a.max_us() <= b.min_us())
                && (0..)
                    .zip(&children)
                    .all(|(at, child)| { child.as_ref().is_none_or(|c| is_child(c.id(), id, at)) }),
            "{} children of {id:?}",
            present().count()
        );
        let (first, last) = (present().next(), present().next_back());
        Self {
            min_us: first.map_or(Micros::MAX, |child| child.min_us()),
            max_us: last.map_or(Micros::MIN, |child| child.max_us()),
            extent: present().fold(Extent::default(), |all, child| all.and(child.extent())),
            id,
            children,
            record,
            states: OnceLock::new(),
        }
    }

    pub(crate) fn id(&self) -> TileId {
        self.id
    }

    /// Event times of its first and its last row.
    pub(crate) fn ends(&self) -> (Micros, Micros) {
        (self.min_us, self.max_us)
    }

    pub(crate) fn extent(&self) -> Extent {
        self.extent
    }

    pub(crate) fn children(&self) -> impl Iterator<Item = &Arc<Node>> {
        self.children.iter().flatten()
    }

    /// The same rows and their states, where `children` hold the same rows as those before.
    pub(crate) fn with_children(&self, children: [Option<Arc<Node>>; FANOUT]) -> Self {
        let mut branch = Self::new(self.id, children, self.record);
        branch.states = self.states.clone();
        branch
    }
}

impl Node {
    /// Which span it stands for.
    pub(crate) fn id(&self) -> TileId {
        match self {
            Self::Tile(tile) => tile.id,
            Self::Branch(branch) => branch.id,
            Self::Stub(stub) => stub.id,
        }
    }

    pub(crate) fn extent(&self) -> Extent {
        match self {
            Self::Tile(tile) => Extent {
                levels: 1 << tile.id.level,
                tiles: 1,
                bytes: tile.bytes.len(),
            },
            Self::Branch(branch) => branch.extent,
            Self::Stub(stub) => stub.extent,
        }
    }

    /// Event time of its first row.
    pub(crate) fn min_us(&self) -> Micros {
        match self {
            Self::Tile(tile) => tile.min_us,
            Self::Branch(branch) => branch.min_us,
            Self::Stub(stub) => stub.min_us,
        }
    }

    /// Event time of its last row.
    pub(crate) fn max_us(&self) -> Micros {
        match self {
            Self::Tile(tile) => tile.max_us,
            Self::Branch(branch) => branch.max_us,
            Self::Stub(stub) => stub.max_us,
        }
    }

    /// Call `visit` for each tile below that is in memory.
    pub(crate) fn for_each_tile<'a>(&'a self, visit: &mut impl FnMut(&'a Tile)) {
        match self {
            Self::Tile(tile) => visit(tile),
            Self::Branch(branch) => branch
                .children()
                .for_each(|child| child.for_each_tile(visit)),
            Self::Stub(_) => {}
        }
    }
}

/// What a subtree has on disk.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Extent {
    /// Levels of its tiles, one bit each: where on disk they are.
    pub(crate) levels: u64,
    pub(crate) tiles: usize,
    /// Bytes of their rows.
    pub(crate) bytes: usize,
}

impl Extent {
    fn and(self, other: Self) -> Self {
        Self {
            levels: self.levels | other.levels,
            tiles: self.tiles + other.tiles,
            bytes: self.bytes + other.bytes,
        }
    }

    /// Upper bound of the memory of these tiles, bytes: see [`Tile::memory_bytes`].
    fn memory_bytes(self, partials: usize) -> usize {
        self.bytes + 2 * self.tiles * node_bytes(partials)
    }
}

/// Memory of a node beside its rows, bytes, with merged states of `partials` functions.
fn node_bytes(partials: usize) -> usize {
    NODE_BYTES + partials * size_of::<Partial>()
}

/// A subtree whose rows are on disk alone; see [`crate::stub`].
#[derive(Debug)]
pub(crate) struct Stub {
    pub(crate) id: TileId,
    pub(crate) extent: Extent,
    pub(crate) min_us: Micros,
    pub(crate) max_us: Micros,
    /// Of what it stands for.
    pub(crate) record: Record,
    /// Merged states of its rows, encoded, if they were known when it was made: in memory they take
    /// several times as much.
    pub(crate) states: Option<Box<[u8]>>,
}

/// Reads the rows of stubs of one key.
pub(crate) trait Opener {
    /// The subtree that `stub` stands for, with stubs in it where branches have records.
    fn open(&mut self, stub: &Stub) -> OnlineResult<Arc<Node>>;
}

impl Stub {
    /// A stub in the place of `branch`, which keeps the merged states that are known.
    pub(crate) fn of(branch: &Branch) -> Self {
        let (id, extent) = (branch.id, branch.extent);
        invariant!(
            StubHasTiles,
            extent.levels != 0 && extent.levels >> id.level <= 1,
            "{extent:?} of {id:?}"
        );
        Self {
            id,
            extent,
            min_us: branch.min_us,
            max_us: branch.max_us,
            record: branch.record,
            states: branch.states.get().map(|states| encode_states(states)),
        }
    }

    /// Merged states of its rows, if it has them.
    pub(crate) fn states(&self, view: &ViewRuntime) -> Option<Box<[Partial]>> {
        let states = decode_states(view, self.states.as_deref()?);
        Some(states.expect("they were encoded here, or checked when they were read"))
    }

    /// The levels on which it has tiles.
    pub(crate) fn levels(&self) -> impl Iterator<Item = u8> {
        (0..=self.id.level).filter(|level| self.extent.levels >> level & 1 == 1)
    }

    /// The subtree that it stands for, if that is what `roots` are: one node that has its span, its
    /// ends and its tiles.
    pub(crate) fn opened(
        &self,
        view: &ViewRuntime,
        mut roots: Vec<Arc<Node>>,
    ) -> Option<Arc<Node>> {
        let mut node = roots.pop().filter(|_| roots.is_empty())?;
        let ends = (node.min_us(), node.max_us());
        if node.id() != self.id || ends != (self.min_us, self.max_us) {
            return None;
        }
        if node.extent() != self.extent {
            return None;
        }
        if let Some(Node::Branch(branch)) = Arc::get_mut(&mut node) {
            branch.record = self.record;
            branch.states = self.states(view).map_or_else(OnceLock::new, OnceLock::from);
        }
        Some(node)
    }

    /// Upper bound of its memory, bytes, with its share of branches.
    pub(crate) fn memory_bytes(&self, partials: usize) -> usize {
        NODE_BYTES + self.states.as_ref().map_or(0, |states| states.len()) + node_bytes(partials)
    }

    /// What one would take without its states, at least.
    pub(crate) fn least_bytes(partials: usize) -> usize {
        NODE_BYTES + node_bytes(partials)
    }

    /// Upper bound of the memory of what it stands for, bytes.
    pub(crate) fn opened_bytes(&self, partials: usize) -> usize {
        self.extent.memory_bytes(partials)
    }
}

/// Roots from what was read back from disk, tiles and stubs, in any order.
pub(crate) fn assemble(mut nodes: Vec<Node>) -> Vec<Arc<Node>> {
    nodes.sort_unstable_by_key(|node| (node.id().start, node.id().sub));
    let mut roots = Vec::new();
    let mut rest = nodes;
    while !rest.is_empty() {
        let start = root_start(rest[0].id().start);
        let tail = rest.split_off(rest.partition_point(|n| root_start(n.id().start) <= start));
        roots.extend(assemble_node(rest));
        rest = tail;
    }
    roots
}

/// The node of `nodes`, which are sorted and of one root.
fn assemble_node(mut nodes: Vec<Node>) -> Option<Arc<Node>> {
    let (first, last) = (nodes.first()?.id(), nodes.last()?.id());
    let is_common = |level: &u8| around(*level, first) == around(*level, last);
    let level = (0..LEVEL_ROOT).find(is_common).unwrap_or(LEVEL_ROOT);
    if nodes.len() == 1 || level == 0 {
        // Two tiles at one place cannot come from this code; keep the first rather than lose both.
        return Some(Arc::new(nodes.swap_remove(0)));
    }
    let mut groups: [Vec<Node>; FANOUT] = Default::default();
    for node in nodes {
        let at = digit(level, node.id().start, || node.id().sub);
        groups[at].push(node);
    }
    let children = groups.map(assemble_node);
    Branch::join(around(level, first), children, Record::NEVER)
}

/// What of a tree expires: tiles whose newest row lies below `floor`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Expired {
    pub(crate) floor: Micros,
    /// Of branches that lose tiles by it.
    pub(crate) record: Record,
    /// Whether stubs are opened that the floor cuts; else they stay until all of their rows lie
    /// below.
    pub(crate) opens_cut: bool,
}

/// What is no longer as it is on disk.
#[derive(Debug)]
pub(crate) enum Gone<'a> {
    Tile(&'a Tile),
    /// The record of a branch.
    Record(TileId),
}

/// `roots` without what expires; what goes with that is told to `gone`.
pub(crate) fn expire(
    roots: &[Arc<Node>],
    expired: Expired,
    opener: &mut impl Opener,
    gone: &mut impl FnMut(Gone<'_>),
) -> OnlineResult<Vec<Arc<Node>>> {
    let mut kept = Vec::with_capacity(roots.len());
    for root in roots {
        kept.extend(expire_node(root, expired, opener, gone)?);
    }
    Ok(kept)
}

fn expire_node(
    node: &Arc<Node>,
    expired: Expired,
    opener: &mut impl Opener,
    gone: &mut impl FnMut(Gone<'_>),
) -> OnlineResult<Option<Arc<Node>>> {
    if node.min_us() >= expired.floor {
        return Ok(Some(Arc::clone(node)));
    }
    match node.as_ref() {
        Node::Tile(tile) if tile.max_us < expired.floor => {
            gone(Gone::Tile(tile));
            Ok(None)
        }
        Node::Tile(_) => Ok(Some(Arc::clone(node))),
        Node::Stub(stub) if stub.max_us < expired.floor || expired.opens_cut => {
            expire_node(&opener.open(stub)?, expired, opener, gone)
        }
        Node::Stub(_) => Ok(Some(Arc::clone(node))),
        Node::Branch(branch) => {
            let mut changed = false;
            let mut children = [const { None }; FANOUT];
            for (place, child) in children.iter_mut().zip(&branch.children) {
                let Some(child) = child else { continue };
                *place = expire_node(child, expired, opener, gone)?;
                changed |= place.as_ref().is_none_or(|kept| !Arc::ptr_eq(kept, child));
            }
            if !changed {
                return Ok(Some(Arc::clone(node)));
            }
            if branch.record == Record::OnDisk {
                gone(Gone::Record(branch.id));
            }
            Ok(Branch::join(branch.id, children, expired.record))
        }
    }
}

/// States of no row.
pub(crate) fn empty_states(specs: &[PartialSpec]) -> Box<[Partial]> {
    specs.iter().map(Partial::new).collect()
}

/// `states`, one behind the other.
pub(crate) fn encode_states(states: &[Partial]) -> Box<[u8]> {
    let mut bytes = Vec::new();
    states.iter().for_each(|state| state.encode(&mut bytes));
    bytes.into()
}

/// See [`encode_states`].
pub(crate) fn decode_states(view: &ViewRuntime, mut bytes: &[u8]) -> Decoded<Box<[Partial]>> {
    let specs = view.spec.partials.iter();
    let states = specs.map(|spec| Partial::decode(spec, &mut bytes));
    let states = states.collect::<Result<Box<[_]>, _>>();
    let states = states.map_err(|error| BytesError::from(error.message().to_owned()))?;
    match bytes.len() {
        0 => Ok(states),
        extra => Err(BytesError::Long { extra }),
    }
}
