//! What waits for a score or for its topic. The status reads it from the store itself, so it is
//! right also where a deployment's threads hang, fail or have ended. Changes nothing.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use forebay_core::PortResult;
use forebay_core::ports::{Runtime, ScoreQueue};

use crate::score::released::Released;

/// What waits of one deployment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Waiting {
    /// Pending scores, those under way among them.
    pub pending: u64,
    /// For how long the oldest of them has, since every shard had its event; after a start from
    /// then on.
    pub oldest: Duration,
    /// Records that wait to be published, to whichever topic.
    pub outbox: u64,
}

/// What waits for scores and for the broker, by deployment.
#[derive(Debug, Clone)]
pub struct ScoringLook {
    store: Arc<dyn ScoreQueue>,
    released: Arc<Released>,
    runtime: Arc<dyn Runtime>,
}

impl ScoringLook {
    /// Over the store in which scores wait.
    pub(crate) fn over(
        store: Arc<dyn ScoreQueue>,
        released: Arc<Released>,
        runtime: Arc<dyn Runtime>,
    ) -> Self {
        Self {
            store,
            released,
            runtime,
        }
    }

    /// What waits, by deployment; those of which nothing does may be absent.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn waiting(&self) -> PortResult<BTreeMap<String, Waiting>> {
        let now = self.runtime.elapsed();
        let mut all: BTreeMap<String, Waiting> = BTreeMap::new();
        for shard in 0..self.store.shards() {
            for (name, load) in self.store.score_load(shard)? {
                let mut oldest = Duration::ZERO;
                for arm in load.arms.keys() {
                    let first = self.store.pending(shard, &name, *arm, 0, 1)?;
                    let waited = first.first().map(|entry| self.released.waited(entry, now));
                    oldest = oldest.max(waited.unwrap_or_default());
                }
                let waiting = all.entry(name).or_default();
                waiting.pending += load.pending().scores;
                waiting.outbox += load.outbox_records();
                waiting.oldest = waiting.oldest.max(oldest);
            }
        }
        Ok(all)
    }
}
