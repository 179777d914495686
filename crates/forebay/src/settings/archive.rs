//! `[archive]`: defaults, bounds, and what an archive needs to know. Owns no key (those are in
//! [`super`], from which the pages are written) and does no upkeep: `server/upkeep` reads what is
//! in force here.

use std::num::NonZeroU64;
use std::time::Duration;

use anyhow::Result;
use forebay_core::limits::{ARCHIVE_CLOCK_GAP_MAX_DAYS, ARCHIVE_RETENTION_MAX_HOURS};
use forebay_offline::ArchiveSettings;

use super::{Archive, within};

/// Longest time between two rounds, seconds: a day.
const UPKEEP_MAX_S: u64 = 86_400;
/// Longest time between two scrubs, seconds: 90 days.
const SCRUB_MAX_S: u64 = 90 * 86_400;
/// Most that upkeep reads, MiB a second.
const RATE_MAX_MIB: u64 = 4_095;
/// Longest distance of a clock that may be accepted, days: 273 years.
const CLOCK_GAP_MAX_DAYS: u32 = 100_000;
/// Most `archive.checkpoint_commits`: as many entries of the log are read to open a table.
const CHECKPOINT_MAX_COMMITS: u64 = 10_000;

impl Default for Archive {
    fn default() -> Self {
        Self {
            upkeep_interval_s: 300,
            retention_hours: ARCHIVE_RETENTION_MAX_HOURS,
            scrub_interval_s: 86_400,
            upkeep_mib_per_second: 16,
            clock_gap_max_days: ARCHIVE_CLOCK_GAP_MAX_DAYS,
            checkpoint_commits: 100,
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
        )?;
        within(
            "archive.checkpoint_commits",
            self.checkpoint_commits,
            1,
            CHECKPOINT_MAX_COMMITS,
        )
    }

    /// What the archive of `deployment` needs to know in the process `owner`: the struct is written
    /// out, so that none of it can be reached from code alone.
    pub(crate) fn of(&self, deployment: &str, owner: String) -> ArchiveSettings {
        ArchiveSettings {
            deployment: deployment.to_owned(),
            owner,
            checkpoint_interval: NonZeroU64::new(self.checkpoint_commits).expect("at least 1"),
            clock_gap_max_days: self.clock_gap_max_days,
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_setting_reaches_the_archive() {
        let archive = Archive {
            checkpoint_commits: 7,
            clock_gap_max_days: 11,
            ..Archive::default()
        };
        archive.validate().expect("within its bounds");
        let settings = archive.of("a", "b".to_owned());
        assert_eq!((&*settings.deployment, &*settings.owner), ("a", "b"));
        assert_eq!(settings.checkpoint_interval.get(), 7);
        assert_eq!(settings.clock_gap_max_days, 11);
        let (ours, theirs) = (
            Archive::default().of("a", String::new()),
            ArchiveSettings::new("a", ""),
        );
        assert_eq!(ours, theirs);
    }
}
