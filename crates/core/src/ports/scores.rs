//! The scores that a store owes and the records that wait to be published: the queues of the
//! scoring stage, kept in the shards beside the offsets. Everything here is by deployment; what is
//! pending is by arm too, and the outbox by topic, so that a model or a topic that is stuck stands
//! in no other's way. Calls block, on threads of their own. `online` implements it over RocksDB,
//! `testkit` in memory.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::error::PortResult;
use crate::prediction::{Arm, OutboxRecord, PendingScore, PredictionKey};
use crate::settlement::{ScoreOutcome, Unscored};
use crate::time::Micros;

use super::state_progress::StateProgress;

/// A pending score, with its place in the queue of its shard.
#[derive(Debug, Clone, PartialEq)]
pub struct PendingEntry {
    /// Place: ascending in the order of the epochs' writes.
    pub sequence: u64,
    /// What waits.
    pub score: Arc<PendingScore>,
}

/// How a pending score ended.
#[derive(Debug, Clone, PartialEq)]
pub struct Settled {
    /// The score.
    pub entry: PendingEntry,
    /// Its end.
    pub outcome: ScoreOutcome,
}

/// A record of the outbox, with its place in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutboxEntry {
    /// Place: ascending in the order of the second writes.
    pub sequence: u64,
    /// The prediction that it carries.
    pub key: PredictionKey,
    /// What to publish.
    pub record: OutboxRecord,
}

/// An outbox entry that is dealt with.
#[derive(Debug, Clone, Copy)]
pub struct Published<'a> {
    /// The entry.
    pub entry: &'a OutboxEntry,
    /// The broker's words, where the topic refuses it for good; None: the broker has it.
    pub refused: Option<&'a str>,
}

/// A note on events without a prediction, with its place in the queue to the archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnscoredEntry {
    /// Place: ascending.
    pub sequence: u64,
    /// The note.
    pub note: Unscored,
}

/// What waits to be scored by one arm.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PendingLoad {
    /// Pending scores.
    pub scores: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Event time of the oldest of them.
    pub oldest_us: Option<Micros>,
}

impl PendingLoad {
    /// With what waits elsewhere.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            scores: self.scores + other.scores,
            bytes: self.bytes + other.bytes,
            oldest_us: match (self.oldest_us, other.oldest_us) {
                (Some(one), Some(another)) => Some(one.min(another)),
                (one, another) => one.or(another),
            },
        }
    }
}

/// What waits for one deployment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ScoreLoad {
    /// Pending scores by the arm that they wait for; one for which none waits may be absent.
    pub arms: BTreeMap<Arm, PendingLoad>,
    /// Records in the outbox by the topic that they go to; one for which none waits may be absent.
    pub outbox: BTreeMap<String, u64>,
}

impl ScoreLoad {
    /// With what waits in another shard.
    #[must_use]
    pub fn and(mut self, other: &Self) -> Self {
        for (arm, load) in &other.arms {
            let known = self.arms.entry(*arm).or_default();
            *known = known.and(*load);
        }
        for (topic, records) in &other.outbox {
            *self.outbox.entry(topic.clone()).or_default() += records;
        }
        self
    }

    /// What waits for `arm`.
    #[must_use]
    pub fn of(&self, arm: Arm) -> PendingLoad {
        self.arms.get(&arm).copied().unwrap_or_default()
    }

    /// What waits for any arm.
    #[must_use]
    pub fn pending(&self) -> PendingLoad {
        let loads = self.arms.values().copied();
        loads.fold(PendingLoad::default(), PendingLoad::and)
    }

    /// Records that wait for `topic`.
    #[must_use]
    pub fn outbox_of(&self, topic: &str) -> u64 {
        self.outbox.get(topic).copied().unwrap_or_default()
    }

    /// Records that wait for any topic.
    #[must_use]
    pub fn outbox_records(&self) -> u64 {
        self.outbox.values().sum()
    }
}

/// What waits to be scored, and what waits to be published. Every write is atomic.
pub trait ScoreQueue: StateProgress {
    /// What waits in `shard`, by deployment; those with nothing may be absent. Cheap: asked in
    /// every epoch.
    ///
    /// # Errors
    /// Unknown shard.
    fn score_load(&self, shard: u16) -> PortResult<BTreeMap<String, ScoreLoad>>;

    /// Up to `limit` pending scores in `shard` that wait for `arm` of `deployment` and whose place
    /// is `from` or later, in order. Those of other arms cost nothing, however many.
    ///
    /// # Errors
    /// The disk fails.
    fn pending(
        &self,
        shard: u16,
        deployment: &str,
        arm: Arm,
        from: u64,
        limit: usize,
    ) -> PortResult<Vec<PendingEntry>>;

    /// The second write: delete these pending scores, append the records of those that were scored
    /// to the outbox, and note the others. One that is no longer pending is skipped together with
    /// its outcome.
    ///
    /// # Errors
    /// The disk fails: nothing was written.
    fn settle(&self, shard: u16, settled: &[Settled]) -> PortResult<()>;

    /// Up to `limit` outbox entries in `shard` that are of this deployment, go to this topic, and
    /// whose place is `from` or later, in order. Those to other topics cost nothing, however many.
    ///
    /// # Errors
    /// The disk fails.
    fn outbox(
        &self,
        shard: u16,
        of: (&str, &str),
        from: u64,
        limit: usize,
    ) -> PortResult<Vec<OutboxEntry>>;

    /// Delete these entries, and note those that were refused. One that is no longer there is
    /// skipped.
    ///
    /// # Errors
    /// The disk fails: nothing was written.
    fn clear_outbox(&self, shard: u16, published: &[Published<'_>]) -> PortResult<()>;

    /// Note these events, whatever the shard has applied.
    ///
    /// # Errors
    /// The disk fails: nothing was written.
    fn note(&self, shard: u16, notes: &[Unscored]) -> PortResult<()>;

    /// Up to `limit` notes of `shard`, oldest first, from place `from` on.
    ///
    /// # Errors
    /// The disk fails.
    fn unscored(&self, shard: u16, from: u64, limit: usize) -> PortResult<Vec<UnscoredEntry>>;

    /// Delete the notes up to and including place `sequence`: the archive has them.
    ///
    /// # Errors
    /// The disk fails.
    fn clear_unscored(&self, shard: u16, sequence: u64) -> PortResult<()>;

    /// The next note of `shard` gets place `first` or a later one: the archive, which knows notes
    /// by their places, may have more of them than a state that is new or has lost its last writes.
    ///
    /// # Errors
    /// The disk fails.
    fn number_notes_from(&self, shard: u16, first: u64) -> PortResult<()>;
}
