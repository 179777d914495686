//! What a commit has prepared before it writes: the batch, the new states, what readers will see.
//! `commit`, `expiry` and `presence_expiry` fill it; it is thrown away when the commit fails.
//! Nothing here writes or publishes.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use forebay_core::invariant;
use forebay_core::progress::TopicPartition;
use forebay_core::time::Micros;
use forebay_core::view::ViewId;

use crate::database::{Batch, HistoryBatch};
use crate::floor::Floors;
use crate::format::{self, Horizon, PartitionRecord, TileId};
use crate::insert::HistorySink;
use crate::key_state::KeyState;
use crate::writer::Writer;

/// A key that a commit forgets.
#[derive(Debug)]
pub(crate) struct ForgottenKey {
    pub(crate) view: ViewId,
    pub(crate) hash: u64,
    pub(crate) key: Vec<u8>,
}

/// A key whose new state is to be published.
#[derive(Debug)]
pub(crate) struct ChangedKey<'a> {
    pub(crate) view: ViewId,
    pub(crate) hash: u64,
    pub(crate) key: Cow<'a, [u8]>,
    pub(crate) state: Arc<KeyState>,
    /// Whether it is in memory from now on, also where it was not before.
    pub(crate) enters: bool,
}

/// What readers see of an epoch from its publication on.
pub(crate) struct Publication<'p> {
    pub(crate) epoch: u64,
    pub(crate) changed: &'p [ChangedKey<'p>],
    pub(crate) forgotten: &'p [ForgottenKey],
    pub(crate) horizons: &'p HashMap<ViewId, Horizon>,
    pub(crate) moved: &'p [(TopicPartition, PartitionRecord)],
}

/// What a commit has prepared so far.
pub(crate) struct Draft<'a, 'd> {
    pub(crate) batch: Batch<'d>,
    pub(crate) changed: Vec<ChangedKey<'a>>,
    /// Keys of which nothing is left.
    pub(crate) forgotten: Vec<ForgottenKey>,
    /// Horizons that differ from the writer's.
    pub(crate) horizons: HashMap<ViewId, Horizon>,
    pub(crate) floors: Floors,
    pub(crate) counts: DraftCounts,
}

/// What a commit counts.
#[derive(Debug, Default)]
pub(crate) struct DraftCounts {
    pub(crate) folded: u64,
    pub(crate) duplicates: u64,
    pub(crate) tiles: u64,
    pub(crate) branches: u64,
    pub(crate) expired: u64,
    pub(crate) created: u64,
    pub(crate) forgotten: u64,
}

impl Draft<'_, '_> {
    /// The horizon of `view` as this commit leaves it, to be changed.
    pub(crate) fn horizon<'h>(&'h mut self, writer: &Writer, view: ViewId) -> &'h mut Horizon {
        self.horizons
            .entry(view)
            .or_insert_with(|| writer.horizons.get(&view).cloned().unwrap_or_default())
    }

    /// Note tiles that expire, the newest of whose rows is `newest_us`.
    pub(crate) fn note_expired(
        &mut self,
        writer: &Writer,
        view: ViewId,
        tiles: u64,
        newest_us: Micros,
    ) {
        self.counts.expired += tiles;
        let gone_us = &mut self.horizon(writer, view).gone_us;
        *gone_us = (*gone_us).max(Some(newest_us));
    }
}

/// Tiles and records of branches of one key into a batch.
pub(crate) struct KeySink<'b> {
    histories: HistoryBatch<'b>,
    key: &'b mut Vec<u8>,
    prefix: usize,
}

impl<'b> KeySink<'b> {
    /// `prefix` holds view and entity key and is lengthened in place.
    pub(crate) fn new(batch: &'b mut Batch<'_>, prefix: &'b mut Vec<u8>) -> Self {
        let length = prefix.len();
        Self {
            histories: batch.histories(),
            key: prefix,
            prefix: length,
        }
    }

    /// The key becomes that of a tile.
    fn name_tile(&mut self, id: TileId) {
        self.key.truncate(self.prefix);
        format::push_tile_suffix(self.key, id);
        invariant!(
            TileKeyRoundTrips,
            format::parse_tile_key(self.key).is_ok_and(|(_, parsed)| parsed == id),
            "{id:?}"
        );
    }

    /// The key becomes that of a branch.
    fn name_branch(&mut self, id: TileId) {
        self.key.truncate(self.prefix);
        format::push_branch_suffix(self.key, id);
        invariant!(
            TileKeyRoundTrips,
            format::parse_branch_key(self.key).is_ok_and(|(_, parsed)| parsed == id),
            "the branch {id:?}"
        );
    }
}

impl HistorySink for KeySink<'_> {
    fn put(&mut self, id: TileId, bytes: &[u8]) {
        self.name_tile(id);
        self.histories.tiles().put(self.key, bytes);
    }

    fn delete(&mut self, id: TileId) {
        self.name_tile(id);
        self.histories.tiles().delete(self.key);
    }

    fn put_branch(&mut self, id: TileId, bytes: &[u8]) {
        self.name_branch(id);
        self.histories.branches().put(self.key, bytes);
    }

    fn delete_branch(&mut self, id: TileId) {
        self.name_branch(id);
        self.histories.branches().delete(self.key);
    }
}
