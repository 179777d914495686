//! Who looks on: the monitor and the like. Called by the ingest thread, which waits meanwhile; an
//! observer changes nothing of what the pipeline does.

use forebay_core::ports::SourceBatch;
use forebay_core::time::Micros;
use forebay_core::watermark::MarkRecord;

use crate::settlements::Settled;

/// Looks at every decoded batch, in log order: the monitor.
pub trait BatchObserver: Send {
    /// One batch, repeats dropped, watermarks filled. Rows that the archive had when the pipeline
    /// started are left out: an observer is rebuilt from the archive before that, and counts each
    /// row once.
    fn observe(&mut self, batch: &SourceBatch, watermark_us: Option<Micros>);

    /// Watermarks may have moved without a batch, by what is recorded in `records`, and the events
    /// `settled` get no prediction. Called now and then.
    fn look(&mut self, records: &[MarkRecord], settled: &[Settled]);
}
