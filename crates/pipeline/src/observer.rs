//! Who looks on: the monitor and the like. Called by the ingest thread, which waits meanwhile; an
//! observer changes nothing of what the pipeline does.

use forebay_core::ports::SourceBatch;
use forebay_core::progress::TopicPartition;
use forebay_core::watermark::MarkRecord;

use crate::archive::ArchiveReach;
use crate::lost::Awaited;
use crate::settlements::Settled;

/// What the pipeline passes to an observer between batches.
#[derive(Debug, Clone, Copy)]
pub struct Look<'a> {
    /// Decisions about time that no batch has brought.
    pub records: &'a [MarkRecord],
    /// Events that get no prediction.
    pub settled: &'a [Settled],
    /// Where the reader stands: rows below were all observed.
    pub stands: &'a [(TopicPartition, i64)],
    /// How far the archive is behind what was observed up to here.
    pub reach: ArchiveReach,
}

/// Looks at every decoded batch, in log order: the monitor.
pub trait BatchObserver: Send {
    /// One batch, repeats dropped, watermarks filled, with the decisions about the time of its
    /// rows. Rows that the archive had when the pipeline started are left out: an observer is
    /// rebuilt from the archive before that, and counts each row once.
    fn observe(&mut self, batch: &SourceBatch, records: &[MarkRecord], reach: ArchiveReach);

    /// What has come about without a batch. Called now and then.
    fn look(&mut self, look: &Look<'_>);

    /// Events whose predictions it waits for, of those that it has observed.
    fn awaited(&self) -> Vec<Awaited> {
        Vec::new()
    }
}
