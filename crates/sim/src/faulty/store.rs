//! The online store and the notes beside it, wrapped. Writes may fail, and a failed one has written
//! nothing; reads may fail too.

use std::collections::BTreeMap;
use std::sync::Arc;

use forebay_core::PortResult;
use forebay_core::key::KeyBuffer;
use forebay_core::memory::Reservation;
use forebay_core::ports::{
    At, EpochWriter, FillNote, FillWrite, FillWriter, LogNotes, OutboxEntry, PendingEntry,
    Published, ScoreLoad, ScoreQueue, Settled, ShardEpoch, ShardWrite, StateHealth, StateProgress,
    StateReader, StoreHealth, TopicNote, UnscoredEntry, ViewDamage, ViewRows, ViewStates,
};
use forebay_core::progress::Applied;
use forebay_core::settlement::Unscored;
use forebay_core::time::Micros;
use forebay_core::view::{ViewId, ViewSpec};
use forebay_core::watermark::MarkRecord;

use crate::faults::Effect::{None, Write};
use crate::faults::{Faults, Part};

/// An online store under faults.
#[derive(Debug)]
pub struct FaultyStore<S> {
    inner: S,
    faults: Arc<Faults>,
}

impl<S> FaultyStore<S> {
    /// `inner` under `faults`.
    pub fn new(inner: S, faults: &Arc<Faults>) -> Self {
        Self {
            inner,
            faults: Arc::clone(faults),
        }
    }
}

impl<S: StateReader> StateReader for FaultyStore<S> {
    fn read(
        &self,
        view: ViewId,
        keys: &KeyBuffer,
        at: At<'_>,
        memory: &mut Reservation,
    ) -> PortResult<ViewRows> {
        let act = || self.inner.read(view, keys, at, memory);
        self.faults.meet(Part::Store, None, act)
    }

    fn applied_at(&self, at: ShardEpoch) -> Option<Arc<Applied>> {
        self.inner.applied_at(at)
    }
}

impl<S: StateProgress> StateProgress for FaultyStore<S> {
    fn shards(&self) -> u16 {
        self.inner.shards()
    }

    fn applied(&self, shard: u16) -> Arc<Applied> {
        self.inner.applied(shard)
    }

    fn marks(&self, shard: u16) -> PortResult<Vec<MarkRecord>> {
        let act = || self.inner.marks(shard);
        self.faults.meet(Part::Store, None, act)
    }
}

impl<S: EpochWriter> EpochWriter for FaultyStore<S> {
    fn commit(&self, shard: u16, write: &ShardWrite) -> PortResult<u64> {
        self.faults.refuse()?;
        let act = || self.inner.commit(shard, write);
        self.faults.meet(Part::Store, Write, act)
    }

    fn keep_from(&self, oldest_us: Option<Micros>) {
        self.inner.keep_from(oldest_us);
    }
}

impl<S: FillWriter> FillWriter for FaultyStore<S> {
    fn fill(&self, shard: u16, write: &FillWrite) -> PortResult<()> {
        self.faults
            .fold(write.folds.iter().map(|fold| fold.rows.len()).sum());
        let act = || self.inner.fill(shard, write);
        self.faults.meet(Part::Store, Write, act)
    }

    fn filled(&self, shard: u16, view: ViewId) -> PortResult<Option<FillNote>> {
        let act = || self.inner.filled(shard, view);
        self.faults.meet(Part::Store, None, act)
    }

    fn end_fill(&self, view: ViewId) -> PortResult<()> {
        let act = || self.inner.end_fill(view);
        self.faults.meet(Part::Store, Write, act)
    }

    fn sync(&self) -> PortResult<()> {
        let act = || self.inner.sync();
        self.faults.meet(Part::Store, Write, act)
    }

    fn is_settled(&self) -> bool {
        self.inner.is_settled()
    }
}

impl<S: ViewStates> ViewStates for FaultyStore<S> {
    fn register_view(&self, view: Arc<ViewSpec>) -> PortResult<()> {
        let act = || self.inner.register_view(view);
        self.faults.meet(Part::Store, Write, act)
    }

    fn drop_view(&self, view: ViewId) -> PortResult<()> {
        let act = || self.inner.drop_view(view);
        self.faults.meet(Part::Store, Write, act)
    }

    fn views(&self) -> PortResult<Vec<ViewId>> {
        let act = || self.inner.views();
        self.faults.meet(Part::Store, None, act)
    }
}

impl<S: StateHealth> StateHealth for FaultyStore<S> {
    fn health(&self) -> StoreHealth {
        self.inner.health()
    }

    fn set_aside(&self) -> Vec<ViewDamage> {
        self.inner.set_aside()
    }
}

impl<S: ScoreQueue> ScoreQueue for FaultyStore<S> {
    fn score_load(&self, shard: u16) -> PortResult<BTreeMap<String, ScoreLoad>> {
        // Every store counts this in memory.
        self.inner.score_load(shard)
    }

    fn pending(
        &self,
        shard: u16,
        deployment: &str,
        from: u64,
        limit: usize,
    ) -> PortResult<Vec<PendingEntry>> {
        let act = || self.inner.pending(shard, deployment, from, limit);
        self.faults.meet(Part::Store, None, act)
    }

    fn settle(&self, shard: u16, settled: &[Settled]) -> PortResult<()> {
        let act = || self.inner.settle(shard, settled);
        self.faults.meet(Part::Store, Write, act)
    }

    fn outbox(
        &self,
        shard: u16,
        deployment: &str,
        from: u64,
        limit: usize,
    ) -> PortResult<Vec<OutboxEntry>> {
        let act = || self.inner.outbox(shard, deployment, from, limit);
        self.faults.meet(Part::Store, None, act)
    }

    fn clear_outbox(&self, shard: u16, published: &[Published<'_>]) -> PortResult<()> {
        let act = || self.inner.clear_outbox(shard, published);
        self.faults.meet(Part::Store, Write, act)
    }

    fn unscored(&self, shard: u16, from: u64, limit: usize) -> PortResult<Vec<UnscoredEntry>> {
        let act = || self.inner.unscored(shard, from, limit);
        self.faults.meet(Part::Store, None, act)
    }

    fn number_notes_from(&self, shard: u16, first: u64) -> PortResult<()> {
        let act = || self.inner.number_notes_from(shard, first);
        self.faults.meet(Part::Store, Write, act)
    }

    fn note(&self, shard: u16, notes: &[Unscored]) -> PortResult<()> {
        let act = || self.inner.note(shard, notes);
        self.faults.meet(Part::Store, Write, act)
    }

    fn clear_unscored(&self, shard: u16, sequence: u64) -> PortResult<()> {
        let act = || self.inner.clear_unscored(shard, sequence);
        self.faults.meet(Part::Store, Write, act)
    }
}

impl<S: LogNotes> LogNotes for FaultyStore<S> {
    fn log_identity(&self) -> PortResult<Option<String>> {
        let act = || self.inner.log_identity();
        self.faults.meet(Part::Store, None, act)
    }

    fn set_log_identity(&self, identity: &str) -> PortResult<()> {
        let act = || self.inner.set_log_identity(identity);
        self.faults.meet(Part::Store, Write, act)
    }

    fn topic_note(&self, topic: &str) -> PortResult<Option<TopicNote>> {
        let act = || self.inner.topic_note(topic);
        self.faults.meet(Part::Store, None, act)
    }

    fn set_topic_note(&self, topic: &str, note: &TopicNote) -> PortResult<()> {
        let act = || self.inner.set_topic_note(topic, note);
        self.faults.meet(Part::Store, Write, act)
    }
}
