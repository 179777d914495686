//! The history of one key of one view: a tree over time whose leaves, the tiles, hold the key's
//! rows. `commit` inserts the rows of an epoch by [`Inserter`]; [`assemble`] makes the tree from
//! the tiles that `database` has read; `window` answers reads from it; `expiry` takes old tiles
//! out. Changed tiles go to a [`TileSink`], which puts them into the epoch's batch. This file knows
//! neither keys nor column families, and it folds nothing.
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
//! # Insertion
//!
//! New rows, sorted by place (time, partition, offset), are cut by root and then by child down to a
//! tile or an empty place. There they are merged with the tile's rows. Where rows part from what
//! stands in their span, above its level, a branch is put in between, and they begin a tile one
//! level below it: the same tile that a branch of each level would have led to. A row that is there
//! already, because a backfill or a replay has met it, is left out and counted; a tile that gets
//! nothing new is neither written nor replaced. A changed tile is written whole.
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
//! * `tile_in_its_span`, `block_round_trips`: a new tile holds its rows, all in its span.
//! * `rows_merged`: old rows + new rows = rows of the result + rows that were there already.
//! * Inside a microsecond that is split, tiles are in the order of the hash, not of the log: a
//!   state that needs the log's order, that of the last value, compares the places of rows.
//!
//! # Alternatives
//!
//! Tiles of one width are wrong for dense keys or for sparse ones, sliding-window algorithms want
//! one window in order, and rows alone cost O(n) a read: docs/decisions/0003-a-tree-over-time.md.

use std::sync::{Arc, OnceLock};

use forebay_core::aggregate::{Partial, PartialSpec};
use forebay_core::index::RowIndex;
use forebay_core::invariant;
use forebay_core::time::Micros;

use crate::fold::{FoldColumns, NewRow};
use crate::format::TileId;
use crate::rows::{ColumnKind, RowBuffer, RowView};

/// Most rows of a tile whose span can still be split.
pub(crate) const TILE_MAX_ROWS: usize = 32;
/// Children of a branch; part of the format through the levels.
const FANOUT: usize = 4;
/// Level whose nodes cover one microsecond.
const LEVEL_INSTANT: u8 = 16;
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

/// A tile or a branch.
#[derive(Debug)]
pub(crate) enum Node {
    Tile(Tile),
    Branch(Branch),
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
    children: [Option<Arc<Node>>; FANOUT],
    min_us: Micros,
    max_us: Micros,
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
        self.bytes.len() + 2 * (NODE_BYTES + partials * size_of::<Partial>())
    }
}

impl Branch {
    /// The node that stands for the span `id`: a branch, the only child, or none.
    fn join(id: TileId, mut children: [Option<Arc<Node>>; FANOUT]) -> Option<Arc<Node>> {
        let mut present = children.iter_mut().filter(|child| child.is_some());
        let first = present.next()?;
        if present.next().is_none() {
            return first.take();
        }
        Some(Arc::new(Node::Branch(Self::new(id, children))))
    }

    fn new(id: TileId, children: [Option<Arc<Node>>; FANOUT]) -> Self {
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
            id,
            children,
            states: OnceLock::new(),
        }
    }

    pub(crate) fn children(&self) -> impl Iterator<Item = &Arc<Node>> {
        self.children.iter().flatten()
    }
}

impl Node {
    /// Which span it stands for.
    fn id(&self) -> TileId {
        match self {
            Self::Tile(tile) => tile.id,
            Self::Branch(branch) => branch.id,
        }
    }

    /// Event time of its first row.
    pub(crate) fn min_us(&self) -> Micros {
        match self {
            Self::Tile(tile) => tile.min_us,
            Self::Branch(branch) => branch.min_us,
        }
    }

    /// Event time of its last row.
    pub(crate) fn max_us(&self) -> Micros {
        match self {
            Self::Tile(tile) => tile.max_us,
            Self::Branch(branch) => branch.max_us,
        }
    }

    /// Call `visit` for each tile below.
    pub(crate) fn for_each_tile<'a>(&'a self, visit: &mut impl FnMut(&'a Tile)) {
        match self {
            Self::Tile(tile) => visit(tile),
            Self::Branch(branch) => branch
                .children()
                .for_each(|child| child.for_each_tile(visit)),
        }
    }
}

/// The node of `level` that holds a row.
fn id_of(level: u8, time: Micros, mix: u32) -> TileId {
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
fn around(level: u8, id: TileId) -> TileId {
    id_of(level, id.start, id.sub)
}

/// The node of `level` that holds `row`.
fn span_of(level: u8, row: &NewRow) -> TileId {
    id_of(level, row.time, mix(row.partition, row.offset))
}

/// Whether `id` lies in child number `at` of `parent`.
fn is_child(id: TileId, parent: TileId, at: usize) -> bool {
    id.level < parent.level
        && around(parent.level, id) == parent
        && digit(parent.level, id.start, || id.sub) == at
}

/// Which child of a node of `level` holds a row.
fn digit(level: u8, time: Micros, mix: impl FnOnce() -> u32) -> usize {
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

/// Where changed tiles go.
pub(crate) trait TileSink {
    /// Write a tile.
    fn put(&mut self, id: TileId, bytes: &[u8]);
    /// Remove one that was written before.
    fn delete(&mut self, id: TileId);
}

/// What an insertion reads and reuses; see [`insert`].
pub(crate) struct Inserter<'a, S> {
    pub(crate) kinds: &'a [ColumnKind],
    pub(crate) filters: usize,
    pub(crate) partials: usize,
    pub(crate) folds: &'a [FoldColumns<'a>],
    pub(crate) scratch: &'a mut RowBuffer,
    pub(crate) order: &'a mut Vec<u32>,
    pub(crate) block: &'a mut Vec<u8>,
    pub(crate) sink: &'a mut S,
    /// Growth of the key's memory so far.
    pub(crate) memory_change: isize,
    /// Rows that were there already.
    pub(crate) duplicates: u64,
    /// Tiles written.
    pub(crate) tiles: u64,
}

impl<S: TileSink> Inserter<'_, S> {
    /// Insert `new`, sorted by place and not empty, into the sorted `roots` of a key.
    pub(crate) fn insert_all(&mut self, roots: &mut Vec<Arc<Node>>, mut new: &[NewRow]) {
        while let Some(first) = new.first() {
            let id = span_of(LEVEL_ROOT, first);
            let count = new.partition_point(|row| root_start(row.time) <= id.start);
            let (here, rest) = new.split_at(count);
            new = rest;
            match roots.binary_search_by_key(&id.start, |root| root_start(root.min_us())) {
                Ok(at) => {
                    roots[at] = self.insert_beside(&roots[at], here);
                }
                Err(at) => {
                    roots.insert(at, self.insert_into_tile(None, id, here));
                }
            }
        }
        invariant!(
            RootsSorted,
            roots.is_sorted_by(|a, b| root_start(a.min_us()) < root_start(b.min_us())),
            "{} roots",
            roots.len()
        );
    }

    /// What stands in a span that has `node` alone, once `new` rows of that span are inserted.
    fn insert_beside(&mut self, node: &Arc<Node>, new: &[NewRow]) -> Arc<Node> {
        let own = node.id();
        let holds = |level: u8| {
            let span = around(level, own);
            new.iter().all(|row| span_of(level, row) == span)
        };
        let level = (own.level..LEVEL_ROOT).find(|level| holds(*level));
        let level = level.unwrap_or(LEVEL_ROOT);
        match node.as_ref() {
            Node::Tile(tile) if level == own.level => {
                self.insert_into_tile(Some((node, tile)), own, new)
            }
            Node::Branch(branch) if level == own.level => {
                self.insert_below(own, branch.children.clone(), new)
            }
            _ => {
                let mut children = [const { None }; FANOUT];
                children[digit(level, own.start, || own.sub)] = Some(Arc::clone(node));
                self.insert_below(around(level, own), children, new)
            }
        }
    }

    /// The branch `id` of `children` with `new` rows below it.
    fn insert_below(
        &mut self,
        id: TileId,
        mut children: [Option<Arc<Node>>; FANOUT],
        new: &[NewRow],
    ) -> Arc<Node> {
        for_each_child(id.level, new, |at, rows| {
            let child = match &children[at] {
                Some(child) => self.insert_beside(child, rows),
                None => self.insert_into_tile(None, span_of(id.level - 1, &rows[0]), rows),
            };
            children[at] = Some(child);
        });
        Arc::new(Node::Branch(Branch::new(id, children)))
    }

    /// Rows of a tile and new rows together: one tile again, or a branch of tiles.
    fn insert_into_tile(
        &mut self,
        old: Option<(&Arc<Node>, &Tile)>,
        id: TileId,
        new: &[NewRow],
    ) -> Arc<Node> {
        self.scratch.reset(self.kinds, self.filters);
        if let Some((_, tile)) = old {
            self.scratch.append_view(&tile.view());
        }
        let old_rows = RowIndex::at(self.scratch.len()).number();
        for row in new {
            self.folds[row.fold as usize].append(row, self.scratch);
        }
        let mut order = std::mem::take(self.order);
        let duplicates = merge_order(self.scratch, old_rows, &mut order);
        self.duplicates += duplicates;
        let merged = match old {
            Some((node, _)) if duplicates == new.len() as u64 => Arc::clone(node),
            _ => {
                if let Some((_, tile)) = old {
                    self.memory_change -= tile.memory_bytes(self.partials) as isize;
                    if order.len() > TILE_MAX_ROWS && id.level > 0 {
                        self.sink.delete(id);
                    }
                }
                self.build(id, &order)
            }
        };
        order.clear();
        *self.order = order;
        merged
    }

    /// The subtree of the scratch rows that `order` names, which all belong to `id`.
    fn build(&mut self, id: TileId, order: &[u32]) -> Arc<Node> {
        if order.len() <= TILE_MAX_ROWS || id.level == 0 {
            self.block.clear();
            self.scratch.encode(order, self.block);
            self.sink.put(id, self.block);
            self.tiles += 1;
            let tile = Tile::new(id, self.block.as_slice().into());
            invariant!(
                TileInItsSpan,
                tile.is_in_its_span(),
                "{id:?} with rows from {} to {}",
                tile.min_us,
                tile.max_us
            );
            invariant!(
                BlockRoundTrips,
                tile.view().rows() == order.len(),
                "{} rows of {}",
                tile.view().rows(),
                order.len()
            );
            self.memory_change += tile.memory_bytes(self.partials) as isize;
            return Arc::new(Node::Tile(tile));
        }
        let mut children = [const { None }; FANOUT];
        let mut groups: [Vec<u32>; FANOUT] = Default::default();
        for &row in order {
            let (time, partition, offset) = self.scratch.place(row);
            groups[digit(id.level, time, || mix(partition, offset))].push(row);
        }
        for (child, group) in children
            .iter_mut()
            .zip(groups)
            .filter(|(_, group)| !group.is_empty())
        {
            let (time, partition, offset) = self.scratch.place(group[0]);
            *child = Some(self.build(id_of(id.level - 1, time, mix(partition, offset)), &group));
        }
        Branch::join(id, children).expect("an order is not empty")
    }
}

/// Call `act` for each child of a node of `level` that some of the `new` rows belong to, with these
/// rows.
fn for_each_child(level: u8, new: &[NewRow], mut act: impl FnMut(usize, &[NewRow])) {
    let digit_of = |row: &NewRow| digit(level, row.time, || mix(row.partition, row.offset));
    if level > LEVEL_INSTANT {
        // Sorted by time: each child's rows are a run.
        for run in new.chunk_by(|a, b| digit_of(a) == digit_of(b)) {
            act(digit_of(&run[0]), run);
        }
    } else {
        for at in 0..FANOUT {
            let of_child = new.iter().filter(|row| digit_of(row) == at);
            let group: Vec<NewRow> = of_child.copied().collect();
            if !group.is_empty() {
                act(at, &group);
            }
        }
    }
}

/// Merge rows `0..old` of `rows` and the rest, each sorted by place, into `order`. A new row that
/// is there already (a backfill or a replay met it) is left out; returns how many were.
fn merge_order(rows: &RowBuffer, old: u32, order: &mut Vec<u32>) -> u64 {
    let total = RowIndex::at(rows.len()).number();
    let (mut left, mut right, mut duplicates) = (0, old, 0);
    order.clear();
    while left < old && right < total {
        match rows.place(left).cmp(&rows.place(right)) {
            std::cmp::Ordering::Less => {
                order.push(left);
                left += 1;
            }
            std::cmp::Ordering::Equal => {
                duplicates += 1;
                right += 1;
            }
            std::cmp::Ordering::Greater => {
                order.push(right);
                right += 1;
            }
        }
    }
    order.extend(left..old);
    order.extend(right..total);
    invariant!(
        RowsMerged,
        order.len() as u64 + duplicates == u64::from(total),
        "{} of {total} rows, {duplicates} twice",
        order.len()
    );
    duplicates
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

/// `roots` without the tiles whose newest row lies below `floor`; the removed ones go to `removed`.
pub(crate) fn expire(
    roots: &[Arc<Node>],
    floor: Micros,
    removed: &mut impl FnMut(&Tile),
) -> Vec<Arc<Node>> {
    roots
        .iter()
        .filter_map(|root| expire_node(root, floor, removed))
        .collect()
}

fn expire_node(
    node: &Arc<Node>,
    floor: Micros,
    removed: &mut impl FnMut(&Tile),
) -> Option<Arc<Node>> {
    if node.min_us() >= floor {
        return Some(Arc::clone(node));
    }
    match node.as_ref() {
        Node::Tile(tile) if tile.max_us < floor => {
            removed(tile);
            None
        }
        Node::Tile(_) => Some(Arc::clone(node)),
        Node::Branch(branch) => {
            let mut changed = false;
            let children = std::array::from_fn(|at| {
                let child = branch.children[at].as_ref()?;
                let kept = expire_node(child, floor, removed);
                changed |= kept.as_ref().is_none_or(|kept| !Arc::ptr_eq(kept, child));
                kept
            });
            if changed {
                Branch::join(branch.id, children)
            } else {
                Some(Arc::clone(node))
            }
        }
    }
}

/// States of no row.
pub(crate) fn empty_states(specs: &[PartialSpec]) -> Box<[Partial]> {
    specs.iter().map(Partial::new).collect()
}
