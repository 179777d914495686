//! `[archive]`: defaults and bounds of upkeep. Owns no key (those are in [`super`], from which the
//! pages are written) and does no upkeep: `server/upkeep` reads what is in force here.

use std::time::Duration;

use anyhow::Result;
use forebay_core::limits::{ARCHIVE_CLOCK_GAP_MAX_DAYS, ARCHIVE_RETENTION_MAX_HOURS};

use super::{Archive, within};

/// Longest time between two rounds, seconds: a day.
const UPKEEP_MAX_S: u64 = 86_400;
/// Longest time between two scrubs, seconds: 90 days.
const SCRUB_MAX_S: u64 = 90 * 86_400;
/// Most that upkeep reads, MiB a second.
const RATE_MAX_MIB: u64 = 4_095;
/// Longest distance of a clock that may be accepted, days: 273 years.
const CLOCK_GAP_MAX_DAYS: u32 = 100_000;

impl Default for Archive {
    fn default() -> Self {
        Self {
            upkeep_interval_s: 300,
            retention_hours: ARCHIVE_RETENTION_MAX_HOURS,
            scrub_interval_s: 86_400,
            upkeep_mib_per_second: 16,
            clock_gap_max_days: ARCHIVE_CLOCK_GAP_MAX_DAYS,
        }
    }
}

impl Archive {
    /// Refuse values that contradict limits.
    pub(super) fn validate(&self) -> Result<()> {
        within(
            "archive.upkeep_interval_s",
            self.upkeep_interval_s,
            1,
            UPKEEP_MAX_S,
        )?;
        within(
            "archive.retention_hours",
            self.retention_hours,
            1,
            ARCHIVE_RETENTION_MAX_HOURS,
        )?;
        within(
            "archive.scrub_interval_s",
            self.scrub_interval_s,
            1,
            SCRUB_MAX_S,
        )?;
        within(
            "archive.upkeep_mib_per_second",
            self.upkeep_mib_per_second,
            1,
            RATE_MAX_MIB,
        )?;
        within(
            "archive.clock_gap_max_days",
            self.clock_gap_max_days,
            1,
            CLOCK_GAP_MAX_DAYS,
        )
    }

    /// `retention_hours`.
    pub(crate) fn retention(&self) -> Duration {
        Duration::from_secs(self.retention_hours * 3_600)
    }

    /// `upkeep_mib_per_second` in bytes.
    pub(crate) fn upkeep_bytes_per_second(&self) -> u64 {
        self.upkeep_mib_per_second << 20
    }
}
