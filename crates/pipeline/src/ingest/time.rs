//! What ingest does by the time of events: the present that bounds watermarks, decisions about idle
//! partitions and rows far ahead on their way to shards, archive and observers, and how long state
//! is kept for what is still to be scored. Reads no clock but the one that it is given.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use forebay_core::progress::TopicPartition;
use forebay_core::source::SourceDef;
use forebay_core::time::Micros;
use forebay_core::watermark::MarkRecord;

use crate::board::KnownEnd;
use crate::error::PipelineError;
use crate::ingest::Ingest;
use crate::lost::Facts;
use crate::observer::Look;
use crate::watermark::{LogFacts, Present};

impl Ingest {
    pub(super) fn present(&self) -> Present {
        Present::new(self.clock.now_us(), self.settings.history_us)
    }

    /// Hand decisions about time to every shard's next write and to the archive: before the rows
    /// that they are about.
    pub(super) fn record(&mut self, records: &[MarkRecord]) -> Result<(), PipelineError> {
        if records.is_empty() {
            return Ok(());
        }
        for unrecorded in &mut self.unrecorded {
            unrecorded.add(records);
        }
        self.archiver.marks(records)
    }

    /// What the log says now: which partitions are idle, and the watermarks that follow.
    pub(super) fn look(
        &mut self,
        ends: &BTreeMap<TopicPartition, KnownEnd>,
    ) -> Result<(), PipelineError> {
        let facts: BTreeMap<TopicPartition, LogFacts> = ends
            .iter()
            .map(|(partition, end)| {
                let facts = LogFacts {
                    position: self.watermarks.progress(partition).next_offset,
                    last_stable: Some(end.last_stable),
                    answered: end.answered,
                };
                (partition.clone(), facts)
            })
            .collect();
        let (now, present) = (self.runtime.elapsed(), self.present());
        for source in &self.sources {
            self.watermarks.look(source, &facts, now, &present);
        }
        self.tell_decisions()
    }

    /// When all `ends` of the topics of predictions were asked for, the reader having met them by
    /// `now`; None where it has not.
    pub(super) fn predictions_met(
        &self,
        ends: &BTreeMap<TopicPartition, KnownEnd>,
        now: Duration,
    ) -> Option<Duration> {
        let is_prediction = |s: &&Arc<SourceDef>| self.prediction_sources.contains(&s.name);
        let mut asked = now;
        for source in self.sources.iter().filter(is_prediction) {
            let of_source = |(place, _): &(&TopicPartition, _)| *place.topic == *source.topic;
            let mut of_source = ends.iter().filter(of_source).peekable();
            of_source.peek()?;
            for (place, end) in of_source {
                let position = self.watermarks.progress(place).next_offset;
                let answered = end.answered.filter(|_| position >= end.last_stable)?;
                asked = asked.min(answered.last);
            }
        }
        Some(asked)
    }

    /// Settle the events whose predictions were lost with an accepted gap. `met`: when the ends of
    /// the topics of predictions were asked for that the reader has met by now.
    pub(super) fn settle_lost(&mut self, met: Option<Duration>) -> Result<(), PipelineError> {
        let mut gaps = self.board.gaps();
        gaps.retain(|source, _| self.prediction_sources.contains(source));
        if gaps.is_empty() {
            return Ok(());
        }
        let scores =
            |s: &&Arc<SourceDef>| self.step.deployments.iter().any(|d| d.source() == s.name);
        let scored = self.sources.iter().filter(scores);
        let facts = Facts {
            now: &|| self.runtime.elapsed(),
            met,
            gaps: &gaps,
            scored: &scored.map(|source| source.topic.as_str()).collect(),
            reader: &|place| self.watermarks.progress(place).next_offset,
            awaited: &|| self.observers.iter().flat_map(|o| o.awaited()).collect(),
        };
        let lost = self.lost.step(&facts, self.scores.as_ref())?;
        self.count_unscored(&lost);
        Ok(())
    }

    /// Tell shards, archive and observers of decisions about time that no batch has brought.
    pub(super) fn tell_decisions(&mut self) -> Result<(), PipelineError> {
        let (records, settled) = (self.watermarks.take_records(), self.settled.take());
        self.record(&records)?;
        self.repeats.settle(&settled);
        if self.observers.is_empty() {
            return Ok(());
        }
        let joined = self.reads.joined();
        let stands = joined.map(|p| (p.clone(), self.watermarks.progress(p).next_offset));
        let look = Look {
            records: &records,
            settled: &settled,
            stands: &stands.collect::<Vec<_>>(),
            reach: self.archiver.reach(),
        };
        for observer in &mut self.observers {
            observer.look(&look);
        }
        Ok(())
    }

    /// An event is scored with features as of its own time, also when it is read long after the
    /// other sources. While a scored source has a backlog, expiry keeps the state from the
    /// watermark of that backlog on; afterwards `history` is enough again.
    pub(super) fn hold_expiry(&mut self) {
        let scored = !self.step.deployments.is_empty();
        // Before the first look at every source its end offsets are unknown: assume a backlog.
        let unknown = scored && !self.reads.is_settled(&self.sources);
        let oldest = self
            .sources
            .iter()
            .filter(|s| self.step.deployments.iter().any(|d| d.source() == s.name))
            .filter_map(|source| self.watermarks.backlog_us(source))
            .chain(unknown.then_some(Micros::MIN))
            .min();
        // A row becomes a pending score only after its shard has committed. The previous floor is
        // kept for one more round, so that expiry cannot overtake the rows still in flight.
        self.store
            .keep_from(self.held_us.into_iter().chain(oldest).min());
        self.held_us = oldest;
    }
}
