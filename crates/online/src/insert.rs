//! Insertion of new rows into the tree of a key: how [`crate::tree`] changes. `commit` hands over
//! the rows of an epoch, sorted; changed tiles go to a [`HistorySink`], which puts them into the
//! epoch's batch. A span whose rows are on disk alone is read before rows are inserted into it, and
//! the record of a branch goes that gets rows.
//!
//! New rows, sorted by place (time, partition, offset), are cut by root and then by child down to a
//! tile or an empty place. There they are merged with the tile's rows. Where rows part from what
//! stands in their span, above its level, a branch is put in between, and they begin a tile one
//! level below it: the same tile that a branch of each level would have led to. A row that is there
//! already, because a backfill or a replay has met it, is left out and counted; a tile that gets
//! nothing new is neither written nor replaced. A changed tile is written whole.
//!
//! # Invariants
//!
//! * `tile_in_its_span`, `block_round_trips`: a new tile holds its rows, all in its span.
//! * `rows_merged`: old rows + new rows = rows of the result + rows that were there already.

use std::sync::Arc;

use forebay_core::index::RowIndex;
use forebay_core::invariant;

use crate::error::OnlineResult;
use crate::fold::{FoldColumns, NewRow};
use crate::format::TileId;
use crate::rows::{ColumnKind, RowBuffer};
use crate::span::{FANOUT, LEVEL_INSTANT, LEVEL_ROOT, around, digit, id_of, mix, root_start};
use crate::tree::{Branch, Node, Opener, Record, TILE_MAX_ROWS, Tile};

/// The node of `level` that holds `row`.
fn span_of(level: u8, row: &NewRow) -> TileId {
    id_of(level, row.time, mix(row.partition, row.offset))
}

/// Where the changed records of a key's history go.
pub(crate) trait HistorySink {
    /// Write a tile.
    fn put(&mut self, id: TileId, bytes: &[u8]);
    /// Remove one that was written before.
    fn delete(&mut self, id: TileId);
    /// Write the record of a branch.
    fn put_branch(&mut self, id: TileId, bytes: &[u8]);
    /// Remove one that was written before.
    fn delete_branch(&mut self, id: TileId);
}

/// What an insertion reads and reuses.
pub(crate) struct Inserter<'a, S, O> {
    pub(crate) kinds: &'a [ColumnKind],
    pub(crate) filters: usize,
    pub(crate) partials: usize,
    pub(crate) folds: &'a [FoldColumns<'a>],
    pub(crate) scratch: &'a mut RowBuffer,
    pub(crate) order: &'a mut Vec<u32>,
    pub(crate) block: &'a mut Vec<u8>,
    pub(crate) sink: &'a mut S,
    pub(crate) opener: &'a mut O,
    /// Of branches that get rows.
    pub(crate) record: Record,
    /// Growth of the key's memory so far.
    pub(crate) memory_change: isize,
    /// Rows that were there already.
    pub(crate) duplicates: u64,
    /// Tiles written.
    pub(crate) tiles: u64,
}

impl<S: HistorySink, O: Opener> Inserter<'_, S, O> {
    /// Insert `new`, sorted by place and not empty, into the sorted `roots` of a key.
    pub(crate) fn insert_all(
        &mut self,
        roots: &mut Vec<Arc<Node>>,
        mut new: &[NewRow],
    ) -> OnlineResult<()> {
        while let Some(first) = new.first() {
            let id = span_of(LEVEL_ROOT, first);
            let count = new.partition_point(|row| root_start(row.time) <= id.start);
            let (here, rest) = new.split_at(count);
            new = rest;
            match roots.binary_search_by_key(&id.start, |root| root_start(root.min_us())) {
                Ok(at) => {
                    roots[at] = self.insert_beside(&roots[at], here)?;
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
        Ok(())
    }

    /// What stands in a span that has `node` alone, once `new` rows of that span are inserted.
    fn insert_beside(&mut self, node: &Arc<Node>, new: &[NewRow]) -> OnlineResult<Arc<Node>> {
        let own = node.id();
        let holds = |level: u8| {
            let span = around(level, own);
            new.iter().all(|row| span_of(level, row) == span)
        };
        let level = (own.level..LEVEL_ROOT).find(|level| holds(*level));
        let level = level.unwrap_or(LEVEL_ROOT);
        match node.as_ref() {
            Node::Tile(tile) if level == own.level => {
                Ok(self.insert_into_tile(Some((node, tile)), own, new))
            }
            Node::Stub(stub) if level == own.level => {
                let subtree = self.opener.open(stub)?;
                self.insert_beside(&subtree, new)
            }
            Node::Branch(branch) if level == own.level => {
                if branch.record == Record::OnDisk {
                    self.sink.delete_branch(own);
                }
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
    ) -> OnlineResult<Arc<Node>> {
        for_each_child(id.level, new, |at, rows| {
            let child = match &children[at] {
                Some(child) => self.insert_beside(child, rows)?,
                None => self.insert_into_tile(None, span_of(id.level - 1, &rows[0]), rows),
            };
            children[at] = Some(child);
            Ok(())
        })?;
        Ok(Arc::new(Node::Branch(Branch::new(
            id,
            children,
            self.record,
        ))))
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
                tile.view().time(0),
                tile.max_us()
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
        Branch::join(id, children, self.record).expect("an order is not empty")
    }
}

/// Call `act` for each child of a node of `level` that some of the `new` rows belong to, with these
/// rows.
fn for_each_child(
    level: u8,
    new: &[NewRow],
    mut act: impl FnMut(usize, &[NewRow]) -> OnlineResult<()>,
) -> OnlineResult<()> {
    let digit_of = |row: &NewRow| digit(level, row.time, || mix(row.partition, row.offset));
    if level > LEVEL_INSTANT {
        // Sorted by time: each child's rows are a run.
        for run in new.chunk_by(|a, b| digit_of(a) == digit_of(b)) {
            act(digit_of(&run[0]), run)?;
        }
    } else {
        for at in 0..FANOUT {
            let of_child = new.iter().filter(|row| digit_of(row) == at);
            let group: Vec<NewRow> = of_child.copied().collect();
            if !group.is_empty() {
                act(at, &group)?;
            }
        }
    }
    Ok(())
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
