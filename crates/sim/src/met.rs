//! What seeds have come across and what was compared at their ends: a test asks whether they come
//! across everything, and `make sim` tells it.

use std::fmt;

use crate::drift::Alarms;
use crate::faults::{Crashes, Deeds};
use crate::oracle::Checked;
use crate::run::Changes;
#[cfg(doc)]
use crate::server;

/// Of one seed, or of many together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Met {
    /// Processes that the seed has ended.
    pub crashes: Crashes,
    /// What models have done instead of answering.
    pub deeds: Deeds,
    /// Writes of shards that were done and reported as failed.
    pub undecided: u64,
    /// Reads of the archive that have ended behind their beginning.
    pub broken_reads: u64,
    /// What was compared with the log when all was done.
    pub checked: Checked,
    /// Seeds in which no late row may have lost its mark.
    pub strict: u64,
    /// Published predictions whose features were computed anew.
    pub recomputed: u64,
    /// Reports of monitors that were compared with the evaluator and with those of a start.
    pub reports: u64,
    /// Reports that depend on what was read first, a prediction or a note that there is none
    /// ([`evaluator`](crate::evaluator)): nothing of them is compared.
    pub ambiguous: u64,
    /// Scored events that count as back for the monitor by a note alone.
    pub noted: u64,
    /// Reports whose watermark would lie lower without such notes.
    pub notes_count: u64,
    /// See [`server::Met`].
    pub came_back: u64,
    /// See there.
    pub left_out: u64,
    /// See there.
    pub mended: u64,
    /// See there.
    pub lost: u64,
    /// See there.
    pub levelled: u64,
    /// Parts of views that were set aside when a disturbed process ended.
    pub set_aside: u64,
    /// Views that were set aside and made anew.
    pub made_anew: u64,
    /// Closed windows whose scores had drifted.
    pub drifted: u64,
    /// Closed windows whose scores had not.
    pub stable: u64,
    /// Words on the topic of alarms.
    pub alarms: Alarms,
    /// Changes of definitions.
    pub changes: Changes,
}

impl Met {
    /// With what `other` has met.
    pub fn add(&mut self, other: &Self) {
        self.crashes.at_calls += other.crashes.at_calls;
        self.crashes.at_switches += other.crashes.at_switches;
        self.add_deeds(other.deeds);
        self.undecided += other.undecided;
        self.broken_reads += other.broken_reads;
        self.checked.predictions += other.checked.predictions;
        self.checked.rows_refused += other.checked.rows_refused;
        self.checked.predictions_refused += other.checked.predictions_refused;
        self.checked.of_two_versions += other.checked.of_two_versions;
        self.checked.both += other.checked.both;
        self.checked.withdrawn += other.checked.withdrawn;
        self.checked.late_flags += other.checked.late_flags;
        self.strict += other.strict;
        self.recomputed += other.recomputed;
        self.reports += other.reports;
        self.ambiguous += other.ambiguous;
        self.noted += other.noted;
        self.notes_count += other.notes_count;
        self.came_back += other.came_back;
        self.left_out += other.left_out;
        self.mended += other.mended;
        self.lost += other.lost;
        self.levelled += other.levelled;
        self.set_aside += other.set_aside;
        self.made_anew += other.made_anew;
        self.drifted += other.drifted;
        self.stable += other.stable;
        self.alarms.raised += other.alarms.raised;
        self.alarms.resolved += other.alarms.resolved;
        self.alarms.repeats += other.alarms.repeats;
        self.changes.add(&other.changes);
    }

    /// With what models have done in one more process.
    pub fn add_deeds(&mut self, deeds: Deeds) {
        self.deeds.lies += deeds.lies;
        self.deeds.panics += deeds.panics;
        self.deeds.halved += deeds.halved;
    }
}

impl fmt::Display for Met {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (checked, deeds, alarms) = (&self.checked, &self.deeds, &self.alarms);
        writeln!(
            f,
            "checked: {} predictions, {} of them computed anew; {} notes on refused rows, {} on refused predictions, {} on withdrawn ones, {} of which were published; {} predictions by routes of before a cut; \
             {} reports of monitors, {} more that depend on the order of reading, {} that rest on notes, of which {} events are; {} late flags, in {} seeds all",
            checked.predictions,
            self.recomputed,
            checked.rows_refused,
            checked.predictions_refused,
            checked.withdrawn,
            checked.both,
            checked.of_two_versions,
            self.reports,
            self.ambiguous,
            self.notes_count,
            self.noted,
            checked.late_flags,
            self.strict
        )?;
        writeln!(
            f,
            "models: {} lies, {} panics, {} questions halved; windows: {} drifted, {} not; alarms: {} raised, {} \
             resolved, {} repeats",
            deeds.lies,
            deeds.panics,
            deeds.halved,
            self.drifted,
            self.stable,
            alarms.raised,
            alarms.resolved,
            alarms.repeats
        )?;
        writeln!(f, "changes of definitions: {:?}", self.changes)?;
        write!(
            f,
            "ended: {} processes at calls, {} at switches; writes undecided: {}; reads broken: {}; ingest came back {} times, was lost {} times; starts that left \
             sources out: {}, mended: {}; shards brought together: {}; parts of views set aside: {}, views made anew: {}",
            self.crashes.at_calls,
            self.crashes.at_switches,
            self.undecided,
            self.broken_reads,
            self.came_back,
            self.lost,
            self.left_out,
            self.mended,
            self.levelled,
            self.set_aside,
            self.made_anew
        )
    }
}
