//! How the wait for a prediction ends: with a record for its topic, or with a note that says why
//! there is none. Every event of a deployment has one such end, so monitors can tell "not yet" from
//! "never". `pipeline` decides, `online` keeps the notes beside the offsets, the archive has them
//! in [`SETTLEMENT_TABLE`].
//!
//! Notes of neighbours share a record: one reason, ascending runs of offsets.

use std::fmt::Write;
use std::ops::Range;

use crate::error::{ErrorKind, PortError, PortResult};
use crate::prediction::{OutboxRecord, PredictionKey, Role};

/// Name of the archive's table of events without a prediction.
pub const SETTLEMENT_TABLE: &str = "settlements";

/// Why an event has no prediction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum UnscoredReason {
    /// The row is at fault: the model or the feature reader refuses it, or its record is too large.
    /// Remedy: `detail` says which; produce such rows otherwise, or deploy under another name with
    /// fewer carried columns.
    RowRefused,
    /// The topic refuses the record. Remedy: raise the topic's `max.message.bytes`, or deploy under
    /// another name with fewer carried columns; `detail` has the broker's words.
    PredictionRefused,
    /// The model could not be asked, or the topic took nothing, before the event grew older than
    /// its features are kept. Remedy: `detail` says which; bring the model, its workers or the
    /// topic back; later events are scored again.
    Expired,
    /// The deployment, or the version that the event was routed to, was suspended when it was read.
    /// Remedy: `status` says why; add workers, or raise `inference.pending_max_records` and
    /// `inference.pending_max_mib`.
    Suspended,
    /// The deployment, or the version that the event was routed to, is no longer there. Remedy:
    /// none is needed; route to a version that is there.
    Withdrawn,
    /// It was scored, and its prediction lay in an accepted gap of the topic of predictions, so
    /// that nobody has read it. Its version is 0, since nobody knows it. Remedy: raise the
    /// retention of that topic; later predictions are read.
    Lost,
}

impl UnscoredReason {
    /// All of them, by code.
    pub const ALL: [Self; 6] = [
        Self::RowRefused,
        Self::PredictionRefused,
        Self::Expired,
        Self::Suspended,
        Self::Withdrawn,
        Self::Lost,
    ];

    /// Stable label for tables and metrics.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::RowRefused => "row_refused",
            Self::PredictionRefused => "prediction_refused",
            Self::Expired => "expired",
            Self::Suspended => "suspended",
            Self::Withdrawn => "withdrawn",
            Self::Lost => "lost",
        }
    }

    /// Code in stored records: never reused.
    #[must_use]
    pub fn code(self) -> u8 {
        match self {
            Self::RowRefused => 1,
            Self::PredictionRefused => 2,
            Self::Expired => 3,
            Self::Suspended => 4,
            Self::Withdrawn => 5,
            Self::Lost => 6,
        }
    }

    /// The reason with this code.
    #[must_use]
    pub fn of_code(code: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.code() == code)
    }
}

/// How one pending score ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ScoreOutcome {
    /// A finished record for its topic.
    Scored(OutboxRecord),
    /// No prediction, why, and in words.
    Unscored(UnscoredReason, String),
}

/// Ascending offsets as runs, both ends in.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OffsetRuns(Vec<(i64, i64)>);

impl OffsetRuns {
    /// One offset.
    #[must_use]
    pub fn one(offset: i64) -> Self {
        Self(vec![(offset, offset)])
    }

    /// Of runs as [`Self::runs`] gives them.
    ///
    /// # Errors
    /// They are not ascending and apart.
    pub fn of_runs(runs: Vec<(i64, i64)>) -> PortResult<Self> {
        let well_formed = runs.iter().all(|(first, last)| first <= last)
            && runs.windows(2).all(|pair| pair[0].1 < pair[1].0);
        if well_formed {
            Ok(Self(runs))
        } else {
            Err(PortError::new(
                ErrorKind::DataLoss,
                "runs of offsets are not ascending",
            ))
        }
    }

    /// Add an offset. One that does not lie above all others changes nothing and gives false.
    pub fn push(&mut self, offset: i64) -> bool {
        match self.0.last_mut() {
            Some((_, last)) if *last >= offset => return false,
            Some((_, last)) if *last + 1 == offset => *last = offset,
            _ => self.0.push((offset, offset)),
        }
        true
    }

    /// Those at and above `offset`.
    #[must_use]
    pub fn from_offset(&self, offset: i64) -> Self {
        let kept = self.0.iter().filter(|(_, last)| *last >= offset);
        Self(
            kept.map(|(first, last)| ((*first).max(offset), *last))
                .collect(),
        )
    }

    /// The runs, first and last offset of each.
    #[must_use]
    pub fn runs(&self) -> &[(i64, i64)] {
        &self.0
    }

    /// The runs as ranges.
    pub fn ranges(&self) -> impl Iterator<Item = Range<i64>> + '_ {
        let range = |(first, last): &(i64, i64)| *first..last.saturating_add(1);
        self.0.iter().map(range)
    }

    /// Number of offsets.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.0
            .iter()
            .map(|(first, last)| last.abs_diff(*first) + 1)
            .sum()
    }

    /// As text: `3-7,9`. The format of the archive's column.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut text = String::new();
        for (first, last) in &self.0 {
            let comma = if text.is_empty() { "" } else { "," };
            let written = if first == last {
                write!(text, "{comma}{first}")
            } else {
                write!(text, "{comma}{first}-{last}")
            };
            written.expect("a String takes all text");
        }
        text
    }

    /// Read [`Self::to_text`].
    ///
    /// # Errors
    /// It is not what that writes.
    pub fn of_text(text: &str) -> PortResult<Self> {
        let wrong = || {
            let shown = format!("`{text}` is no list of offset runs");
            PortError::new(ErrorKind::DataLoss, shown)
        };
        let mut runs = Vec::new();
        for run in text.split(',').filter(|run| !run.is_empty()) {
            let (first, last) = run.split_once('-').unwrap_or((run, run));
            let first = first.parse().map_err(|_| wrong())?;
            runs.push((first, last.parse().map_err(|_| wrong())?));
        }
        Self::of_runs(runs)
    }
}

/// Events of one partition that have no prediction of one deployment, version and role.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unscored {
    /// Deployment that should have scored.
    pub deployment: String,
    /// Model version that they were routed to.
    pub model_version: u32,
    /// Live or shadow.
    pub role: Role,
    /// Kafka topic of the events.
    pub topic: String,
    /// Its partition.
    pub partition: i32,
    /// Their offsets.
    pub offsets: OffsetRuns,
    /// Why.
    pub reason: UnscoredReason,
    /// Why, in words.
    pub detail: String,
}

impl Unscored {
    /// The note on the event of `key`.
    #[must_use]
    pub fn one(key: &PredictionKey, reason: UnscoredReason, detail: &str) -> Self {
        Self {
            deployment: key.deployment.clone(),
            model_version: key.model_version,
            role: key.role,
            topic: key.topic.clone(),
            partition: key.partition,
            offsets: OffsetRuns::one(key.offset),
            reason,
            detail: detail.to_owned(),
        }
    }

    /// Take the event of `key` into this note if it says the same and the offset lies above. False
    /// where it does not.
    pub fn join(&mut self, key: &PredictionKey, reason: UnscoredReason, detail: &str) -> bool {
        self.reason == reason
            && self.partition == key.partition
            && self.model_version == key.model_version
            && self.role == key.role
            && self.topic == key.topic
            && self.deployment == key.deployment
            && self.detail == detail
            && self.offsets.push(key.offset)
    }
}

/// Notes on events without prediction, neighbours joined.
#[derive(Debug, Default)]
pub struct UnscoredNotes(Vec<Unscored>);

/// Notes of the newest that a further event may join: versions and partitions alternate.
const JOIN_WITH: usize = 16;

impl UnscoredNotes {
    /// Note the event of `key`.
    pub fn add(&mut self, key: &PredictionKey, reason: UnscoredReason, detail: &str) {
        let newest = self.0.iter_mut().rev().take(JOIN_WITH);
        for note in newest {
            if note.join(key, reason, detail) {
                return;
            }
        }
        self.0.push(Unscored::one(key, reason, detail));
    }

    /// The notes, in order.
    #[must_use]
    pub fn into_notes(self) -> Vec<Unscored> {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(partition: i32, offset: i64) -> PredictionKey {
        PredictionKey {
            deployment: "d".to_owned(),
            model_version: 1,
            role: Role::Live,
            topic: "t".to_owned(),
            partition,
            offset,
        }
    }

    #[test]
    fn runs_keep_every_offset_once_and_in_order() {
        let mut runs = OffsetRuns::default();
        assert_eq!(runs.to_text(), "");
        for offset in [3, 4, 5, 9, 11, 12] {
            assert!(runs.push(offset));
        }
        assert!(!runs.push(12) && !runs.push(3));
        assert_eq!((runs.to_text().as_str(), runs.count()), ("3-5,9,11-12", 6));
        assert_eq!(OffsetRuns::of_text("3-5,9,11-12").expect("its own"), runs);
        let again = OffsetRuns::of_runs(runs.runs().to_vec()).expect("its own");
        assert_eq!(again, runs);
        assert_eq!(runs.from_offset(5).to_text(), "5,9,11-12");
        assert_eq!(runs.from_offset(13).count(), 0);
        for wrong in [vec![(5, 3)], vec![(3, 3), (3, 3)], vec![(1, 4), (4, 4)]] {
            assert!(OffsetRuns::of_runs(wrong.clone()).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn codes_are_stable_and_lead_back_to_their_reasons() {
        let codes: Vec<u8> = UnscoredReason::ALL.iter().map(|r| r.code()).collect();
        assert_eq!(codes, [1, 2, 3, 4, 5, 6]);
        for reason in UnscoredReason::ALL {
            assert_eq!(UnscoredReason::of_code(reason.code()), Some(reason));
        }
        assert_eq!(UnscoredReason::of_code(0), None);
    }

    #[test]
    fn neighbours_with_one_reason_share_a_note_and_others_do_not() {
        let mut notes = UnscoredNotes::default();
        for offset in 0..3 {
            notes.add(&key(0, offset), UnscoredReason::Suspended, "why");
            notes.add(&key(1, offset), UnscoredReason::Suspended, "why");
        }
        notes.add(&key(0, 3), UnscoredReason::Expired, "why");
        notes.add(&key(0, 4), UnscoredReason::Suspended, "why");
        notes.add(&key(0, 4), UnscoredReason::Suspended, "another");
        let texts: Vec<_> = notes
            .into_notes()
            .into_iter()
            .map(|note| (note.partition, note.offsets.to_text()))
            .collect();
        let expected = [(0, "0-2,4"), (1, "0-2"), (0, "3"), (0, "4")];
        assert_eq!(texts, expected.map(|(p, text)| (p, text.to_owned())));
    }
}
