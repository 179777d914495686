//! What the one writer of a shard owns: how far the shard is on disk, the sweeps that are on their
//! way, and buffers that every commit reuses. Readers never see it; `shard` holds it under a lock.

use std::collections::HashMap;
use std::sync::Arc;

use forebay_core::view::ViewId;
use hashbrown::HashTable;

use crate::format::{Horizon, ProgressRecord};
use crate::marks::Holds;
use crate::rows::RowBuffer;
use crate::sweep::Sweeper;

/// What the writer owns: how far the shard is on disk, and buffers that every commit reuses.
#[derive(Debug, Default)]
pub(crate) struct Writer {
    pub(crate) progress: ProgressRecord,
    pub(crate) horizons: HashMap<ViewId, Horizon>,
    pub(crate) holds: Holds,
    pub(crate) sweeper: Sweeper,
    pub(crate) presence_sweeper: Sweeper,
    pub(crate) index: HashTable<u32>,
    pub(crate) scratch: RowBuffer,
    pub(crate) order: Vec<u32>,
    pub(crate) block: Vec<u8>,
    pub(crate) last_batch_bytes: usize,
}

impl Writer {
    /// Why `view` is set aside; None where it is not.
    pub(crate) fn damage(&self, view: ViewId) -> Option<&Arc<str>> {
        self.horizons.get(&view)?.damage.as_ref()
    }
}
