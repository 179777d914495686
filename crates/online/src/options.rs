//! Settings of the online store: what `forebay` reads from its TOML and hands over, checked once
//! when the store opens. Sizes are for the whole store; shards share them.

use forebay_core::limits::SHARDS_MAX;
use forebay_core::time::{HOUR_US, Micros};

use crate::error::{OnlineError, OnlineResult};

/// Least size of each memory budget, bytes.
const BUDGET_MIN_BYTES: usize = 1 << 20;

/// How a [`crate::RocksStore`] is made or opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OnlineOptions {
    /// S: number of shards, fixed when the directory is made. 1 to [`SHARDS_MAX`].
    pub shards: u16,
    /// How far behind the watermark reads stay exact, microseconds: rows are kept this much longer
    /// than the views' windows, and a row is too late only when it is this much older than they
    /// need.
    pub history_us: Micros,
    /// Budget of the decoded key states in memory, bytes; above it, keys that nobody used lately
    /// are dropped and read again from RocksDB when needed.
    pub table_bytes: usize,
    /// RocksDB's block cache, bytes.
    pub cache_bytes: usize,
    /// RocksDB's memtables of all shards together, bytes.
    pub write_buffer_bytes: usize,
    /// Epochs of each shard whose applied offsets [`forebay_core::ports::OnlineStore::applied_at`]
    /// still knows.
    pub applied_kept_epochs: usize,
    /// Threads that flush and compact, for all shards together.
    pub background_threads: u16,
}

impl Default for OnlineOptions {
    fn default() -> Self {
        Self {
            shards: 4,
            history_us: HOUR_US,
            table_bytes: 512 << 20,
            cache_bytes: 64 << 20,
            write_buffer_bytes: 64 << 20,
            applied_kept_epochs: 8_192,
            background_threads: 2,
        }
    }
}

impl OnlineOptions {
    /// Refuse what cannot work.
    pub(crate) fn check(&self) -> OnlineResult<()> {
        let refuse = |text: String| Err(OnlineError::Options(text));
        if self.shards == 0 || self.shards > SHARDS_MAX {
            return refuse(format!(
                "shards = {}; it must lie between 1 and {SHARDS_MAX} (SHARDS_MAX)",
                self.shards
            ));
        }
        if self.history_us < 0 {
            return refuse(format!(
                "history_us = {}; it cannot be negative",
                self.history_us
            ));
        }
        for (name, bytes) in [
            ("table_bytes", self.table_bytes),
            ("cache_bytes", self.cache_bytes),
            ("write_buffer_bytes", self.write_buffer_bytes),
        ] {
            if bytes < BUDGET_MIN_BYTES {
                return refuse(format!(
                    "{name} = {bytes}; it must be at least {BUDGET_MIN_BYTES}"
                ));
            }
        }
        if self.applied_kept_epochs == 0 || self.background_threads == 0 {
            return refuse(
                "applied_kept_epochs and background_threads must be at least 1".to_owned(),
            );
        }
        Ok(())
    }
}
