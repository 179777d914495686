//! The outcome of a verification: how many rows were equal to the last bit, how many were not, how
//! many cannot be told and why, and the first differences with the bits of both values.

use std::collections::BTreeMap;
use std::fmt;

use arrow_array::RecordBatch;
use forebay_core::cells::CellFault;
use forebay_core::date;
use forebay_core::invariant;
use forebay_core::time::Micros;
use forebay_core::value::Value;
use serde::Serialize;

use crate::error::TrainingError;

/// Mismatches that a report keeps with their values.
pub(crate) const MISMATCHES_MAX: usize = 20;

/// Why a row cannot be verified.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// The online store no longer answers for that instant. Remedy: verify newer instants, or raise
    /// `state.history_hours` and make the view anew with `forebay rebuild VIEW`.
    TooOld,
    /// The offsets that the value had applied are no longer known. Remedy: verify again; only
    /// recent epochs are known.
    EpochForgotten,
    /// The archive has not reached those offsets. Remedy: wait as long as
    /// `ingest.archive_flush_ms` says, then verify again.
    ArchiveBehind,
    /// The archive lacks records that the value was made of: its table was lost, or a gap was
    /// accepted before they were archived. Remedy: restore a lost table's directory from a backup;
    /// what was never archived is in no backup, so begin anew with an empty --data-dir.
    ArchiveCut,
    /// The prediction was made by another version of the service. Remedy: none; each version is
    /// verified while it is in force.
    OtherVersion,
    /// The prediction's record of its offsets cannot be read. Remedy: find what else writes to the
    /// topic of predictions.
    OffsetsUnreadable,
}

impl Reason {
    /// In words.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::TooOld => "the instant is older than what is kept online",
            Self::EpochForgotten => "the applied offsets are no longer known",
            Self::ArchiveBehind => "the archive has not reached the applied offsets",
            Self::ArchiveCut => "the archive lacks records that the value was made of",
            Self::OtherVersion => "another version of the service made the prediction",
            Self::OffsetsUnreadable => "the prediction's applied offsets cannot be read",
        }
    }
}

/// One value that differs.
#[derive(Debug, Clone, PartialEq)]
pub struct Mismatch {
    /// Feature service.
    pub service: String,
    /// Feature of it.
    pub feature: String,
    /// The request, column by column; of a prediction its id in front.
    pub key: Vec<(String, Value)>,
    /// As of when.
    pub at_us: Micros,
    /// What was served.
    pub served: Value,
    /// What the archive gives.
    pub recomputed: Value,
    /// Why the served value is NULL, where an expression failed.
    pub served_fault: Option<String>,
    /// Why the other one is.
    pub recomputed_fault: Option<String>,
}

/// Features of some rows, as one side has them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Side<'a> {
    pub(crate) features: &'a RecordBatch,
    /// Cells that are NULL because an expression failed, ascending by feature, then by row.
    pub(crate) faults: &'a [CellFault],
}

impl<'a> Side<'a> {
    fn fault(&self, feature: usize, row: usize) -> Option<&'a CellFault> {
        let place = |fault: &CellFault| (fault.column, fault.row as usize);
        let found = self.faults.binary_search_by_key(&(feature, row), place);
        found.ok().map(|index| &self.faults[index])
    }
}

/// Whether both sides say the same of a cell.
fn same_fault(left: Option<&CellFault>, right: Option<&CellFault>) -> bool {
    match (left, right) {
        (None, None) => true,
        (Some(left), Some(right)) => (left.kind, &left.what) == (right.kind, &right.what),
        _ => false,
    }
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{} of", self.service, self.feature)?;
        for (name, value) in &self.key {
            write!(f, " {name}={}", Shown(value))?;
        }
        write!(f, " at {} us: served {}", self.at_us, Shown(&self.served))?;
        write_fault(f, self.served_fault.as_deref())?;
        write!(f, ", recomputed {}", Shown(&self.recomputed))?;
        write_fault(f, self.recomputed_fault.as_deref())
    }
}

fn write_fault(f: &mut fmt::Formatter<'_>, fault: Option<&str>) -> fmt::Result {
    fault.map_or(Ok(()), |fault| write!(f, " ({fault})"))
}

/// A value with its bits where it has some.
struct Shown<'a>(&'a Value);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Value::Null => f.write_str("NULL"),
            Value::Bool(value) => write!(f, "{value}"),
            Value::Int(value) => write!(f, "{value}"),
            Value::Float(value) => write!(f, "{value:?} (0x{:016x})", value.to_bits()),
            Value::Text(value) => write!(f, "'{value}'"),
            Value::Date(days) => f.write_str(&date::format(*days)),
            Value::Timestamp(value) => write!(f, "{value} us"),
            Value::List(items) => {
                f.write_str("[")?;
                for (number, item) in items.iter().enumerate() {
                    let comma = if number > 0 { ", " } else { "" };
                    write!(f, "{comma}{}", Self(item))?;
                }
                f.write_str("]")
            }
        }
    }
}

/// Cells of one feature.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct FeatureTally {
    /// Equal to the bit.
    pub equal: u64,
    /// Different.
    pub mismatch: u64,
    /// Different from what is known now (late events; only where that was asked for).
    pub late: u64,
}

/// The outcome.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct VerifyReport {
    /// Feature service.
    pub service: String,
    /// Its version.
    pub service_version: u32,
    /// Rows looked at: the sum of the next three.
    pub rows: u64,
    /// Rows whose every cell was equal to the bit.
    pub equal: u64,
    /// Rows with a cell that was not. One is a defect.
    pub mismatch: u64,
    /// Rows that could not be verified.
    pub not_verifiable: u64,
    /// Verified rows that would have other values now that late events came. No defect. None: not
    /// asked for.
    pub late: Option<u64>,
    /// Why rows cannot be told.
    pub reasons: BTreeMap<Reason, u64>,
    /// Cells by feature.
    pub features: BTreeMap<String, FeatureTally>,
    /// The first differences.
    #[serde(skip)]
    pub mismatches: Vec<Mismatch>,
}

impl VerifyReport {
    /// Nothing differed and something was compared.
    #[must_use]
    pub(crate) fn is_clean(&self) -> bool {
        self.mismatch == 0 && self.equal > 0
    }

    /// Add what was found in another table of the same service.
    pub fn absorb(&mut self, other: Self) {
        self.rows += other.rows;
        self.equal += other.equal;
        self.mismatch += other.mismatch;
        self.not_verifiable += other.not_verifiable;
        self.late = self.late.zip(other.late).map(|(known, more)| known + more);
        for (reason, rows) in other.reasons {
            *self.reasons.entry(reason).or_default() += rows;
        }
        for (feature, tally) in other.features {
            let known = self.features.entry(feature).or_default();
            known.equal += tally.equal;
            known.mismatch += tally.mismatch;
            known.late += tally.late;
        }
        self.mismatches.extend(other.mismatches);
        self.check();
    }

    /// Every row that was looked at is counted in one way.
    fn check(&self) {
        let counted = self.equal + self.mismatch + self.not_verifiable;
        invariant!(
            CountsAddUp,
            self.rows == counted,
            "{counted} of {} rows are counted",
            self.rows
        );
        let told: u64 = self.reasons.values().sum();
        invariant!(
            CountsAddUp,
            self.not_verifiable == told,
            "{told} of {} rows have a reason",
            self.not_verifiable
        );
    }

    pub(crate) fn not_verifiable(&mut self, reason: Reason, rows: u64) {
        self.rows += rows;
        self.not_verifiable += rows;
        *self.reasons.entry(reason).or_default() += rows;
        self.check();
    }

    /// Count `rows` and compare them cell by cell, values and why a value is missing. Both sides
    /// have the service's features in order; `describe` gives a row's key.
    pub(crate) fn compare(
        &mut self,
        served: Side<'_>,
        recomputed: Side<'_>,
        at_us: &[Micros],
        describe: impl Fn(usize) -> Result<Vec<(String, Value)>, TrainingError>,
    ) -> Result<(), TrainingError> {
        let rows = served.features.num_rows();
        invariant!(
            InstantPerRow,
            [recomputed.features.num_rows(), at_us.len()] == [rows; 2],
            "{rows} rows served, {} recomputed, {} instants",
            recomputed.features.num_rows(),
            at_us.len()
        );
        for side in [served, recomputed] {
            let place = |fault: &CellFault| (fault.column, fault.row);
            invariant!(
                CellFaultsAscend,
                side.faults.is_sorted_by(|a, b| place(a) < place(b)),
                "{} cells failed",
                side.faults.len()
            );
        }
        let mut differs = vec![false; rows];
        let schema = served.features.schema();
        let columns = schema.fields().iter().zip(served.features.columns());
        for (feature, (field, theirs)) in columns.enumerate() {
            let ours = recomputed
                .features
                .column_by_name(field.name())
                .ok_or_else(|| missing(field.name()))?;
            let tally = self.features.entry(field.name().clone()).or_default();
            for (row, differs) in differs.iter_mut().enumerate() {
                let faults = (served.fault(feature, row), recomputed.fault(feature, row));
                let (served, recomputed) = (
                    Value::from_array(theirs, row)?,
                    Value::from_array(ours, row)?,
                );
                if served.same_bits(&recomputed) && same_fault(faults.0, faults.1) {
                    tally.equal += 1;
                    continue;
                }
                tally.mismatch += 1;
                *differs = true;
                if self.mismatches.len() < MISMATCHES_MAX {
                    self.mismatches.push(Mismatch {
                        service: self.service.clone(),
                        feature: field.name().clone(),
                        key: describe(row)?,
                        at_us: at_us[row],
                        served,
                        recomputed,
                        served_fault: faults.0.map(ToString::to_string),
                        recomputed_fault: faults.1.map(ToString::to_string),
                    });
                }
            }
        }
        let differing = differs.iter().filter(|d| **d).count() as u64;
        self.rows += rows as u64;
        self.mismatch += differing;
        self.equal += rows as u64 - differing;
        self.check();
        Ok(())
    }

    /// Count the verified rows whose values are others now.
    pub(crate) fn compare_late(
        &mut self,
        served: &RecordBatch,
        now: &RecordBatch,
    ) -> Result<(), TrainingError> {
        let mut late = vec![false; served.num_rows()];
        for (field, theirs) in served.schema().fields().iter().zip(served.columns()) {
            let ours = now
                .column_by_name(field.name())
                .ok_or_else(|| missing(field.name()))?;
            let tally = self.features.entry(field.name().clone()).or_default();
            for (row, late) in late.iter_mut().enumerate() {
                if !Value::from_array(theirs, row)?.same_bits(&Value::from_array(ours, row)?) {
                    tally.late += 1;
                    *late = true;
                }
            }
        }
        *self.late.get_or_insert(0) += late.iter().filter(|l| **l).count() as u64;
        Ok(())
    }
}

fn missing(feature: &str) -> TrainingError {
    TrainingError::Answer(format!("feature `{feature}` is missing from it"))
}

impl fmt::Display for VerifyReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{} version {}: {} rows, {} equal to the bit, {} different, {} not verifiable",
            self.service,
            self.service_version,
            self.rows,
            self.equal,
            self.mismatch,
            self.not_verifiable
        )?;
        for (reason, rows) in &self.reasons {
            writeln!(f, "  not verifiable: {rows} ({})", reason.words())?;
        }
        if let Some(late) = self.late {
            writeln!(
                f,
                "  {late} of the verified rows would have other values with the events that came since"
            )?;
        }
        for (feature, tally) in self.features.iter().filter(|(_, tally)| tally.mismatch > 0) {
            writeln!(
                f,
                "  {feature}: {} of {} cells differ",
                tally.mismatch,
                tally.mismatch + tally.equal
            )?;
        }
        self.mismatches
            .iter()
            .try_for_each(|mismatch| writeln!(f, "  {mismatch}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_of_two_tables_add_up() {
        let one = |equal, mismatch, reason| VerifyReport {
            rows: equal + mismatch + 1,
            equal,
            mismatch,
            not_verifiable: 1,
            late: Some(1),
            reasons: BTreeMap::from([(reason, 1)]),
            features: BTreeMap::from([(
                "f".to_owned(),
                FeatureTally {
                    equal,
                    mismatch,
                    late: 1,
                },
            )]),
            ..VerifyReport::default()
        };
        let mut all = one(5, 0, Reason::ArchiveBehind);
        assert!(all.is_clean());
        all.absorb(one(3, 2, Reason::ArchiveBehind));
        assert_eq!(
            (all.rows, all.equal, all.mismatch, all.not_verifiable),
            (12, 8, 2, 2)
        );
        assert_eq!(
            (all.late, all.reasons[&Reason::ArchiveBehind]),
            (Some(2), 2)
        );
        assert_eq!(
            all.features["f"],
            FeatureTally {
                equal: 8,
                mismatch: 2,
                late: 2
            }
        );
        assert!(!all.is_clean(), "a difference in any table is one");
    }
}
