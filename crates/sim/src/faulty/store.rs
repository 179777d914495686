//! The online store and the notes beside it, wrapped. Writes may fail; a failed one has written
//! nothing, or, of a shard, all of it, which is seen later. Reads may fail too.

use std::collections::BTreeMap;
use std::sync::Arc;

use forebay_core::key::KeyBuffer;
use forebay_core::memory::Reservation;
use forebay_core::ports::{
    At, EpochWriter, FillNote, FillWrite, FillWriter, LogNotes, OutboxEntry, PendingEntry,
    Published, ScoreLoad, ScoreQueue, Settled, ShardEpoch, ShardWrite, StateHealth, StateProgress,
    StateReader, StoreHealth, TopicNote, UnscoredEntry, ViewDamage, ViewRows, ViewStates,
};
use forebay_core::prediction::Arm;
use forebay_core::progress::Applied;
use forebay_core::settlement::Unscored;
use forebay_core::time::Micros;
use forebay_core::view::{ViewId, ViewSpec};
use forebay_core::watermark::MarkRecord;
use forebay_core::{ErrorKind, PortResult};
use forebay_testkit::MemoryStore;

use crate::faults::Effect::{None, Write};
use crate::faults::{Faults, Part};

/// An online store under faults.
#[derive(Debug)]
pub struct FaultyStore {
    inner: MemoryStore,
    faults: Arc<Faults>,
}

impl FaultyStore {
    /// `inner` under `faults`.
    pub fn new(inner: MemoryStore, faults: &Arc<Faults>) -> Self {
        Self {
            inner,
            faults: Arc::clone(faults),
        }
    }

    /// A write of `shard`: where it is done and its reply lost, nobody knows that until the next.
    fn write<T>(
        &self,
        shard: u16,
        act: impl FnOnce(&MemoryStore) -> PortResult<T>,
    ) -> PortResult<T> {
        self.faults.meet_write(Part::Store, |is_lost| {
            if is_lost {
                self.inner.lose_reply(shard, ErrorKind::Unavailable);
            }
            act(&self.inner)
        })
    }
}

impl StateReader for FaultyStore {
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

impl StateProgress for FaultyStore {
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

impl EpochWriter for FaultyStore {
    fn commit(&self, shard: u16, write: &ShardWrite) -> PortResult<u64> {
        self.faults.refuse()?;
        self.write(shard, |store| store.commit(shard, write))
    }

    fn keep_from(&self, oldest_us: Option<Micros>) {
        self.inner.keep_from(oldest_us);
    }
}

impl FillWriter for FaultyStore {
    fn fill(&self, shard: u16, write: &FillWrite) -> PortResult<()> {
        self.faults
            .fold(write.folds.iter().map(|fold| fold.rows.len()).sum());
        self.write(shard, |store| store.fill(shard, write))
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

impl ViewStates for FaultyStore {
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

impl StateHealth for FaultyStore {
    fn health(&self) -> StoreHealth {
        self.inner.health()
    }

    fn set_aside(&self) -> Vec<ViewDamage> {
        self.inner.set_aside()
    }
}

impl ScoreQueue for FaultyStore {
    fn score_load(&self, shard: u16) -> PortResult<BTreeMap<String, ScoreLoad>> {
        // Every store counts this in memory.
        self.inner.score_load(shard)
    }

    fn pending(
        &self,
        shard: u16,
        deployment: &str,
        arm: Arm,
        from: u64,
        limit: usize,
    ) -> PortResult<Vec<PendingEntry>> {
        let act = || self.inner.pending(shard, deployment, arm, from, limit);
        self.faults.meet(Part::Store, None, act)
    }

    fn settle(&self, shard: u16, settled: &[Settled]) -> PortResult<()> {
        self.write(shard, |store| store.settle(shard, settled))
    }

    fn outbox(
        &self,
        shard: u16,
        of: (&str, &str),
        from: u64,
        limit: usize,
    ) -> PortResult<Vec<OutboxEntry>> {
        let act = || self.inner.outbox(shard, of, from, limit);
        self.faults.meet(Part::Store, None, act)
    }

    fn clear_outbox(&self, shard: u16, published: &[Published<'_>]) -> PortResult<()> {
        self.write(shard, |store| store.clear_outbox(shard, published))
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
        self.write(shard, |store| store.clear_unscored(shard, sequence))
    }
}

impl LogNotes for FaultyStore {
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
