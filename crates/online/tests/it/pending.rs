//! What tests ask of the pending scores of [`crate::model::pending_of`]: all of a shard, and their
//! ends.

use std::sync::Arc;

use forebay_core::ports::{PendingEntry, ScoreQueue, Settled};
use forebay_core::prediction::{Arm, OutboxRecord, PendingScore, Role};
use forebay_core::settlement::{ScoreOutcome, UnscoredReason};
use forebay_online::RocksStore;

/// Deployment of [`crate::model::pending_of`].
pub(crate) const DEPLOYMENT: &str = "d";
/// Its arm.
pub(crate) const ARM: Arm = Arm {
    version: 1,
    role: Role::Live,
};

/// All that is pending in `shard`.
pub(crate) fn all_pending(store: &RocksStore, shard: u16) -> Vec<PendingEntry> {
    store
        .pending(shard, DEPLOYMENT, ARM, 0, usize::MAX)
        .expect("pending")
}

/// The scores of these entries.
pub(crate) fn scores(entries: &[PendingEntry]) -> Vec<Arc<PendingScore>> {
    entries.iter().map(|e| Arc::clone(&e.score)).collect()
}

/// That `entry` is no longer waited for.
pub(crate) fn withdrawn(entry: &PendingEntry) -> Settled {
    Settled {
        entry: entry.clone(),
        outcome: ScoreOutcome::Unscored(UnscoredReason::Withdrawn, "gone".into()),
    }
}

/// That `entry` is scored, and its record.
pub(crate) fn scored(entry: &PendingEntry, record: OutboxRecord) -> Settled {
    Settled {
        entry: entry.clone(),
        outcome: ScoreOutcome::Scored(record),
    }
}
