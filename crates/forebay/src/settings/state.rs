//! `[state]`: defaults and bounds. Owns no key (those are in [`super`], from which the pages are
//! written); `server/state` makes the store's options of what is in force.

use anyhow::Result;
use forebay_core::limits::{BACKGROUND_THREADS_MAX, SHARDS_MAX};

use super::{State, within};

/// Longest `state.history_hours`: 114 years. Times of rows and of windows stay far from the ends of
/// the clock.
const HISTORY_MAX_HOURS: u32 = 1_000_000;
/// Most `state.kept_epochs`: two weeks of an epoch a second.
const KEPT_EPOCHS_MAX: usize = 1 << 20;
/// Largest `state.background_write_mib_per_second`: its bytes fit 32 bits.
const BACKGROUND_WRITE_MAX_MIB: u32 = 4_095;

impl Default for State {
    fn default() -> Self {
        Self {
            shards: 4,
            history_hours: 168,
            cache_mib: 0,
            write_buffer_mib: 0,
            hot_table_mib: 0,
            kept_epochs: 8_192,
            background_threads: 2,
            background_write_mib_per_second: 0,
        }
    }
}

impl State {
    /// Refuse values that contradict limits; sizes of memory are [`super::memory`]'s.
    pub(super) fn validate(&self) -> Result<()> {
        within("state.shards", self.shards, 1, SHARDS_MAX)?;
        within(
            "state.history_hours",
            self.history_hours,
            0,
            HISTORY_MAX_HOURS,
        )?;
        within("state.kept_epochs", self.kept_epochs, 1, KEPT_EPOCHS_MAX)?;
        within(
            "state.background_threads",
            self.background_threads,
            1,
            BACKGROUND_THREADS_MAX,
        )?;
        within(
            "state.background_write_mib_per_second",
            self.background_write_mib_per_second,
            0,
            BACKGROUND_WRITE_MAX_MIB,
        )?;
        Ok(())
    }
}
