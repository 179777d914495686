//! `[ingest]`: defaults and bounds. Owns no key (those are in [`super`], from which the pages are
//! written); `server/resume` makes the pipeline's settings of what is in force.

use std::time::Duration;

use anyhow::Result;
use forebay_core::limits::EPOCH_MAX_ROWS;
use forebay_core::time::Micros;

use super::{Ingest, within};

/// Longest time that ingest may stand still before it is unhealthy, seconds: a day.
const STALL_MAX_S: u64 = 86_400;
/// Longest `ingest.epoch_wait_ms`.
const EPOCH_WAIT_MAX_MS: u64 = 60_000;
/// Longest `ingest.archive_flush_ms`: a day.
const ARCHIVE_FLUSH_MAX_MS: u64 = 86_400_000;
/// Largest `ingest.archive_flush_mib`.
const ARCHIVE_FLUSH_MAX_MIB: usize = 16_384;
/// Most `ingest.writer_threads`.
const WRITER_THREADS_MAX: usize = 256;

impl Default for Ingest {
    fn default() -> Self {
        Self {
            epoch_max_rows: EPOCH_MAX_ROWS,
            epoch_wait_ms: 5,
            writer_threads: 2,
            archive_flush_ms: 30_000,
            archive_flush_mib: 64,
            stall_s: 60,
        }
    }
}

impl Ingest {
    /// Refuse values that contradict limits.
    pub(super) fn validate(&self) -> Result<()> {
        within(
            "ingest.epoch_max_rows",
            self.epoch_max_rows,
            1,
            EPOCH_MAX_ROWS,
        )?;
        within("ingest.stall_s", self.stall_s, 1, STALL_MAX_S)?;
        within(
            "ingest.epoch_wait_ms",
            self.epoch_wait_ms,
            0,
            EPOCH_WAIT_MAX_MS,
        )?;
        within(
            "ingest.archive_flush_ms",
            self.archive_flush_ms,
            1,
            ARCHIVE_FLUSH_MAX_MS,
        )?;
        within(
            "ingest.archive_flush_mib",
            self.archive_flush_mib,
            1,
            ARCHIVE_FLUSH_MAX_MIB,
        )?;
        within(
            "ingest.writer_threads",
            self.writer_threads,
            1,
            WRITER_THREADS_MAX,
        )
    }

    /// `stall_s` in microseconds.
    pub(crate) fn stall_us(&self) -> Micros {
        i64::try_from(self.stall_s).expect("at most STALL_MAX_S") * 1_000_000
    }

    /// `epoch_wait_ms`.
    pub(crate) fn epoch_wait(&self) -> Duration {
        Duration::from_millis(self.epoch_wait_ms)
    }
}
