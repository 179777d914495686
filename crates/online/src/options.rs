//! Settings of the online store: what `forebay` reads from its TOML and hands over, checked once
//! when the store opens. Sizes are for the whole store; shards share them.

use std::num::{NonZeroU16, NonZeroU32};

use forebay_core::limits::{BACKGROUND_THREADS_MAX, SHARDS_MAX};
use forebay_core::time::{HOUR_US, Micros};

use crate::error::{OnlineError, OnlineResult};

/// Fewest files of one shard that RocksDB works well with: its logs and the newest files of each
/// level.
pub const OPEN_FILES_MIN: u16 = 32;
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
    /// Budget of the decoded key states in memory, bytes; above it, or where the process's memory
    /// is used up, keys that nobody used lately are dropped and read again from RocksDB when
    /// needed.
    pub table_bytes: usize,
    /// RocksDB's blocks, indexes and filters in memory, bytes. Memtables are charged to the same
    /// cache, whose capacity is the sum.
    pub cache_bytes: usize,
    /// RocksDB's memtables of all shards together, bytes.
    pub write_buffer_bytes: usize,
    /// Epochs of each shard whose applied offsets [`forebay_core::ports::StateReader::applied_at`]
    /// still knows.
    pub applied_kept_epochs: usize,
    /// Threads that flush and compact one shard, at most; 1 to [`BACKGROUND_THREADS_MAX`].
    pub background_threads: u16,
    /// Most bytes that flushes and compactions of one shard write in a second; None: as the disk
    /// takes them.
    pub background_write_bytes_per_second: Option<NonZeroU32>,
    /// Files that RocksDB keeps open for one shard, at least [`OPEN_FILES_MIN`]; None: all of them,
    /// which spares reads a look into a table of open files.
    pub open_files_max: Option<NonZeroU16>,
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
            background_write_bytes_per_second: None,
            open_files_max: None,
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
        if self.applied_kept_epochs == 0 {
            return refuse("applied_kept_epochs = 0; it must be at least 1".to_owned());
        }
        if let Some(files) = self.open_files_max
            && files.get() < OPEN_FILES_MIN
        {
            return refuse(format!(
                "open_files_max = {files}; it must be at least {OPEN_FILES_MIN} (OPEN_FILES_MIN)"
            ));
        }
        if !(1..=BACKGROUND_THREADS_MAX).contains(&self.background_threads) {
            return refuse(format!(
                "background_threads = {}; it must lie between 1 and {BACKGROUND_THREADS_MAX} (BACKGROUND_THREADS_MAX)",
                self.background_threads
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_outside_their_limits_are_refused_by_name() {
        let accepted = OnlineOptions {
            background_threads: BACKGROUND_THREADS_MAX,
            shards: SHARDS_MAX,
            open_files_max: NonZeroU16::new(OPEN_FILES_MIN),
            ..OnlineOptions::default()
        };
        assert!(accepted.check().is_ok());
        type Case = (fn(&mut OnlineOptions), &'static str);
        let cases: [Case; 7] = [
            (
                |o| o.open_files_max = NonZeroU16::new(OPEN_FILES_MIN - 1),
                "open_files_max = 31",
            ),
            (|o| o.shards = SHARDS_MAX + 1, "shards = 257"),
            (|o| o.history_us = -1, "history_us"),
            (|o| o.table_bytes = BUDGET_MIN_BYTES - 1, "table_bytes"),
            (|o| o.applied_kept_epochs = 0, "applied_kept_epochs"),
            (
                |o| o.background_threads = BACKGROUND_THREADS_MAX + 1,
                "background_threads = 65",
            ),
            (|o| o.background_threads = 0, "background_threads = 0"),
        ];
        for (set, named) in cases {
            let mut options = OnlineOptions::default();
            set(&mut options);
            let words = options.check().expect_err("refused").to_string();
            assert!(words.contains(named), "{words}");
        }
    }
}
