//! The log's reader and the answers about it, wrapped. A poll that finds nothing passes its time on
//! the virtual clock.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use forebay_core::PortResult;
use forebay_core::ports::{
    EventLog, FirstRecord, LogBounds, LogFault, LogInspector, LogPosition, SourceBatch, TopicFacts,
};
use forebay_core::progress::TopicPartition;
use forebay_core::source::SourceDef;

use crate::faults::Effect::None;
use crate::faults::{Faults, Part};

/// A reader, wrapped.
#[derive(Debug)]
pub struct FaultyLog<L> {
    inner: L,
    faults: Arc<Faults>,
}

impl<L> FaultyLog<L> {
    /// `inner` under `faults`.
    pub fn new(inner: L, faults: &Arc<Faults>) -> Self {
        Self {
            inner,
            faults: Arc::clone(faults),
        }
    }
}

impl<L: EventLog> EventLog for FaultyLog<L> {
    fn assign(
        &mut self,
        sources: &[Arc<SourceDef>],
        from: &BTreeMap<TopicPartition, i64>,
    ) -> PortResult<()> {
        let act = || self.inner.assign(sources, from);
        self.faults.meet(Part::Log, None, act)
    }

    fn poll(&mut self, max_rows: usize, timeout: Duration) -> PortResult<Vec<SourceBatch>> {
        let act = || self.inner.poll(max_rows, Duration::ZERO);
        let batches = self.faults.meet(Part::Log, None, act)?;
        if batches.is_empty() {
            self.faults.runtime().pause(timeout);
        }
        Ok(batches)
    }

    fn faults(&mut self) -> Vec<(TopicPartition, LogFault)> {
        self.inner.faults()
    }

    fn positions(&mut self) -> BTreeMap<TopicPartition, LogPosition> {
        self.inner.positions()
    }

    fn set_paused(&mut self, paused: bool) -> PortResult<()> {
        let act = || self.inner.set_paused(paused);
        self.faults.meet(Part::Log, None, act)
    }
}

/// Answers about a log, wrapped.
#[derive(Debug)]
pub struct FaultyInspector<I> {
    inner: I,
    faults: Arc<Faults>,
}

impl<I> FaultyInspector<I> {
    /// `inner` under `faults`.
    pub fn new(inner: I, faults: &Arc<Faults>) -> Self {
        Self {
            inner,
            faults: Arc::clone(faults),
        }
    }
}

impl<I: LogInspector> LogInspector for FaultyInspector<I> {
    fn cluster_id(&mut self) -> PortResult<String> {
        let act = || self.inner.cluster_id();
        self.faults.meet(Part::Inspector, None, act)
    }

    fn topic(&mut self, topic: &str) -> PortResult<Option<TopicFacts>> {
        let act = || self.inner.topic(topic);
        self.faults.meet(Part::Inspector, None, act)
    }

    fn bounds(
        &mut self,
        partitions: &[TopicPartition],
    ) -> PortResult<BTreeMap<TopicPartition, LogBounds>> {
        let act = || self.inner.bounds(partitions);
        self.faults.meet(Part::Inspector, None, act)
    }

    fn first_records(
        &mut self,
        from: &BTreeMap<TopicPartition, i64>,
    ) -> PortResult<BTreeMap<TopicPartition, FirstRecord>> {
        let act = || self.inner.first_records(from);
        self.faults.meet(Part::Inspector, None, act)
    }
}
