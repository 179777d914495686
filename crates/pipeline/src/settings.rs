//! What of a pipeline can be set. The binary makes it of its settings; nothing here has a default,
//! since those stand beside the settings' names.

use std::time::Duration;

use forebay_core::time::Micros;

use crate::archive::FlushRule;
use crate::score::ScoringLimits;

/// Settings of the loop.
#[derive(Debug, Clone, Copy)]
pub struct PipelineSettings {
    /// Rows of one micro-batch at most.
    pub epoch_max_rows: usize,
    /// How long a poll waits for the first record.
    pub epoch_wait: Duration,
    /// When the archive appends.
    pub flush: FlushRule,
    /// How long after its retention a row is still taken, microseconds.
    pub history_us: Micros,
    /// Threads that write shards.
    pub writer_threads: usize,
    /// How much of one deployment may wait and be under way.
    pub scoring: ScoringLimits,
}
