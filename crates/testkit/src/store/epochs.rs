//! What shards had applied at an epoch, for as many epochs as the store knows: all of them, unless
//! a test says how many.

use std::sync::Arc;

use forebay_core::ports::ShardEpoch;
use forebay_core::progress::Applied;

use super::{Contents, MemoryStore, newest};

impl MemoryStore {
    /// From now on the applied offsets of the last `epochs` epochs of a shard are known and no
    /// others.
    pub fn know_epochs(&self, epochs: u64) {
        self.contents.lock().known_epochs = Some(epochs);
    }
}

pub(super) fn applied_at(contents: &Contents, at: ShardEpoch) -> Option<Arc<Applied>> {
    let newest = newest(contents, at.shard).ok()?.epoch;
    let known = contents.known_epochs.unwrap_or(u64::MAX);
    if newest.saturating_sub(at.epoch) >= known {
        return None;
    }
    let mut states = contents.shards.get(usize::from(at.shard))?.iter();
    states
        .find(|state| state.epoch == at.epoch)
        .map(|state| Arc::clone(&state.applied))
}
