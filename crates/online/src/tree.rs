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
use forebay_core::invariant;
use forebay_core::time::Micros;

use crate::error::OnlineResult;
use crate::format::TileId;
use crate::rows::RowView;

pub(crate) use crate::rows::TILE_MAX_ROWS;
/// Children of a branch; part of the format through the levels.
pub(crate) const FANOUT: usize = 4;
/// Level whose nodes cover one microsecond.
pub(crate) const LEVEL_INSTANT: u8 = 16;
/// Level of the roots: 4^21 microseconds.
pub(crate) const LEVEL_ROOT: u8 = LEVEL_INSTANT + 21;
/// Memory of a node beside its rows and states, bytes: the reference-counted box, the header and
/// the allocator's share.
const NODE_BYTES: usize = 128;

/// Spreads the rows of one microsecond: the upper half of a splitmix64 step. Part of the format.
pub(crate) fn mix(partition: i32, offset: i64) -> u32 {
    let mut x = (offset as u64) ^ (u64::from(partition as u32)).rotate_left(40);
    x = x.wrapping_add(0x9E37_79B9_7F4A_7C15);
    x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    ((x ^ (x >> 31)) >> 32) as u32
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

    pub(crate) fn view(&self) -> RowView<'_> {
        RowView::new(&self.bytes)
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
    pub(crate) fn join(id: TileId, mut children: [Option<Arc<Node>>; FANOUT]) -> Option<Arc<Node>> {
        let mut present = children.iter_mut().filter(|child| child.is_some());
        let first = present.next()?;
        if present.next().is_none() {
            return first.take();
        }
        Some(Arc::new(Node::Branch(Self::new(id, children))))
    }

    pub(crate) fn new(id: TileId, children: [Option<Arc<Node>>; FANOUT]) -> Self {
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
            states: OnceLock::new(),
        }
    }

    pub(crate) fn children(&self) -> impl Iterator<Item = &Arc<Node>> {
        self.children.iter().flatten()
    }

    /// The same rows and their states, where `children` hold the same rows as those before.
    pub(crate) fn with_children(&self, children: [Option<Arc<Node>>; FANOUT]) -> Arc<Node> {
        let mut branch = Self::new(self.id, children);
        branch.states = self.states.clone();
        Arc::new(Node::Branch(branch))
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

    fn extent(&self) -> Extent {
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
    levels: u64,
    tiles: usize,
    /// Bytes of their rows.
    bytes: usize,
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
    extent: Extent,
    min_us: Micros,
    max_us: Micros,
    /// Merged states of its rows, if they were known when it was made.
    pub(crate) states: Option<Box<[Partial]>>,
}

/// Reads the rows of stubs of one key.
pub(crate) trait Opener {
    /// The subtree that `stub` stands for.
    fn open(&mut self, stub: &Stub) -> OnlineResult<Arc<Node>>;
}

impl Stub {
    /// A stub in the place of `node`, which keeps the merged states that are known.
    pub(crate) fn of(node: &Node) -> Self {
        let states = match node {
            Node::Tile(tile) => tile.states.get(),
            Node::Branch(branch) => branch.states.get(),
            Node::Stub(stub) => stub.states.as_ref(),
        };
        let extent = node.extent();
        invariant!(
            StubHasTiles,
            extent.levels != 0 && extent.levels >> node.id().level <= 1,
            "{extent:?} of {:?}",
            node.id()
        );
        Self {
            id: node.id(),
            extent,
            min_us: node.min_us(),
            max_us: node.max_us(),
            states: states.cloned(),
        }
    }

    /// The levels on which it has tiles.
    pub(crate) fn levels(&self) -> impl Iterator<Item = u8> {
        (0..=self.id.level).filter(|level| self.extent.levels >> level & 1 == 1)
    }

    /// Whether `node` has its span, its ends and its tiles.
    pub(crate) fn stands_for(&self, node: &Node) -> bool {
        let ends = (node.min_us(), node.max_us());
        node.id() == self.id && ends == (self.min_us, self.max_us) && node.extent() == self.extent
    }

    /// Upper bound of its memory, bytes, with its share of branches.
    pub(crate) fn memory_bytes(&self, partials: usize) -> usize {
        Self::bytes_with(self.states.as_deref(), partials)
    }

    /// Upper bound of the memory of a stub with these merged states.
    pub(crate) fn bytes_with(states: Option<&[Partial]>, partials: usize) -> usize {
        let states = states.unwrap_or_default().iter();
        let states: usize = states
            .map(|state| size_of::<Partial>() + state.heap_bytes())
            .sum();
        NODE_BYTES + states + node_bytes(partials)
    }

    /// Upper bound of the memory of what it stands for, bytes.
    pub(crate) fn opened_bytes(&self, partials: usize) -> usize {
        self.extent.memory_bytes(partials)
    }
}

/// The node of `level` that holds a row.
pub(crate) fn id_of(level: u8, time: Micros, mix: u32) -> TileId {
    if level >= LEVEL_INSTANT {
        let shift = 2 * u32::from(level - LEVEL_INSTANT);
        TileId {
            level,
            start: time >> shift << shift,
            sub: 0,
        }
    } else {
        let shift = 2 * u32::from(level);
        TileId {
            level,
            start: time,
            sub: mix >> shift << shift,
        }
    }
}

/// The node of `level` that holds the place at which the span `id` begins.
pub(crate) fn around(level: u8, id: TileId) -> TileId {
    id_of(level, id.start, id.sub)
}

/// The last place, time and hash, of the span `id`.
pub(crate) fn last_place(id: TileId) -> (Micros, u32) {
    if id.level >= LEVEL_INSTANT {
        let width: Micros = 1 << (2 * u32::from(id.level - LEVEL_INSTANT));
        (id.start.saturating_add(width - 1), u32::MAX)
    } else {
        (id.start, id.sub | ((1 << (2 * u32::from(id.level))) - 1))
    }
}

/// Whether `id` lies in child number `at` of `parent`.
fn is_child(id: TileId, parent: TileId, at: usize) -> bool {
    id.level < parent.level
        && around(parent.level, id) == parent
        && digit(parent.level, id.start, || id.sub) == at
}

/// Which child of a node of `level` holds a row.
pub(crate) fn digit(level: u8, time: Micros, mix: impl FnOnce() -> u32) -> usize {
    let bits = if level > LEVEL_INSTANT {
        (time >> (2 * u32::from(level - LEVEL_INSTANT - 1))) as usize
    } else {
        (mix() >> (2 * u32::from(level - 1))) as usize
    };
    bits & (FANOUT - 1)
}

/// The root that a time belongs to.
pub(crate) fn root_start(time: Micros) -> Micros {
    id_of(LEVEL_ROOT, time, 0).start
}

/// Roots from tiles read back from disk, in any order.
pub(crate) fn assemble(mut tiles: Vec<Tile>) -> Vec<Arc<Node>> {
    tiles.sort_unstable_by_key(|tile| (tile.id.start, tile.id.sub));
    let mut roots = Vec::new();
    let mut rest = tiles;
    while !rest.is_empty() {
        let start = root_start(rest[0].id.start);
        let tail = rest.split_off(rest.partition_point(|tile| root_start(tile.id.start) <= start));
        roots.extend(assemble_node(rest));
        rest = tail;
    }
    roots
}

/// The node of `tiles`, which are sorted and of one root.
fn assemble_node(mut tiles: Vec<Tile>) -> Option<Arc<Node>> {
    let (first, last) = (tiles.first()?.id, tiles.last()?.id);
    let is_common = |level: &u8| around(*level, first) == around(*level, last);
    let level = (0..LEVEL_ROOT).find(is_common).unwrap_or(LEVEL_ROOT);
    if tiles.len() == 1 || level == 0 {
        // Two tiles at one place cannot come from this code; keep the first rather than lose both.
        let first = tiles.swap_remove(0);
        return Some(Arc::new(Node::Tile(first)));
    }
    let mut groups: [Vec<Tile>; FANOUT] = Default::default();
    for tile in tiles {
        let at = digit(level, tile.id.start, || tile.id.sub);
        groups[at].push(tile);
    }
    Branch::join(around(level, first), groups.map(assemble_node))
}

/// What of a tree expires: tiles whose newest row lies below `floor`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Expired {
    pub(crate) floor: Micros,
    /// Whether stubs are opened that the floor cuts; else they stay until all of their rows lie
    /// below.
    pub(crate) opens_cut: bool,
}

/// `roots` without what expires; the removed tiles go to `removed`.
pub(crate) fn expire(
    roots: &[Arc<Node>],
    expired: Expired,
    opener: &mut impl Opener,
    removed: &mut impl FnMut(&Tile),
) -> OnlineResult<Vec<Arc<Node>>> {
    let mut kept = Vec::with_capacity(roots.len());
    for root in roots {
        kept.extend(expire_node(root, expired, opener, removed)?);
    }
    Ok(kept)
}

fn expire_node(
    node: &Arc<Node>,
    expired: Expired,
    opener: &mut impl Opener,
    removed: &mut impl FnMut(&Tile),
) -> OnlineResult<Option<Arc<Node>>> {
    if node.min_us() >= expired.floor {
        return Ok(Some(Arc::clone(node)));
    }
    match node.as_ref() {
        Node::Tile(tile) if tile.max_us < expired.floor => {
            removed(tile);
            Ok(None)
        }
        Node::Tile(_) => Ok(Some(Arc::clone(node))),
        Node::Stub(stub) if stub.max_us < expired.floor || expired.opens_cut => {
            expire_node(&opener.open(stub)?, expired, opener, removed)
        }
        Node::Stub(_) => Ok(Some(Arc::clone(node))),
        Node::Branch(branch) => {
            let mut changed = false;
            let mut children = [const { None }; FANOUT];
            for (place, child) in children.iter_mut().zip(&branch.children) {
                let Some(child) = child else { continue };
                *place = expire_node(child, expired, opener, removed)?;
                changed |= place.as_ref().is_none_or(|kept| !Arc::ptr_eq(kept, child));
            }
            Ok(if changed {
                Branch::join(branch.id, children)
            } else {
                Some(Arc::clone(node))
            })
        }
    }
}

/// States of no row.
pub(crate) fn empty_states(specs: &[PartialSpec]) -> Box<[Partial]> {
    specs.iter().map(Partial::new).collect()
}
