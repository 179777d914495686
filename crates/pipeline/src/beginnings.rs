//! Where archive tables begin, and whose records they have. A table that is there before the first
//! record of a partition is read has all of it from then on. One that is found without a note of
//! its beginning, while the state has applied records already, has taken the place of a lost table:
//! what the log no longer holds is missing for good, and nothing may be filled from it as if it
//! were whole. Pure.
//!
//! Offsets of an accepted gap are missing too. Where live state lacks them as well, table and state
//! agree, and the gap cuts nothing. But a table runs behind the state: where a crash comes between,
//! and the log loses what only the state has, a gap that is accepted for the table's sake leaves it
//! without records that every value is made of. It is cut then as well ([`cut_by`]).

use std::collections::BTreeMap;
use std::sync::Arc;

use forebay_core::invariant;
use forebay_core::ports::{AcceptedGap, Beginnings, LogIdentity, TableSnapshot};
use forebay_core::progress::{Applied, PartitionProgress, RecordDigest, TopicPartition};
use forebay_core::source::SourceDef;

use crate::error::PipelineError;

/// How far a source's table reaches, from where to where, and in which log.
#[derive(Debug, Default)]
pub(crate) struct TableReach {
    /// Its marks when it was opened.
    applied: Applied,
    beginnings: Beginnings,
    logs: BTreeMap<String, LogIdentity>,
    /// The last record of each partition when it was opened.
    last: BTreeMap<TopicPartition, RecordDigest>,
}

impl TableReach {
    /// Of the table in `snapshot`.
    pub(crate) fn of(snapshot: TableSnapshot) -> Self {
        Self {
            applied: snapshot.applied,
            beginnings: snapshot.beginnings,
            logs: snapshot.logs,
            last: snapshot.last,
        }
    }

    /// What it knows of `topic`.
    pub(crate) fn log(&self, topic: &str) -> LogIdentity {
        self.logs.get(topic).cloned().unwrap_or_default()
    }

    /// The last record that it had of each partition.
    pub(crate) fn last(&self) -> &BTreeMap<TopicPartition, RecordDigest> {
        &self.last
    }

    /// Where it begins.
    pub(crate) fn beginnings(&self) -> &Beginnings {
        &self.beginnings
    }

    /// Whether it may have rows of `place` below `offset`. One that has begun there and got nothing
    /// yet has none, wherever it begins.
    pub(crate) fn has_below(&self, place: &TopicPartition, offset: i64) -> bool {
        let begins = self.beginnings.from.next_offset(place);
        begins < offset && begins < self.applied.next_offset(place)
    }

    /// The next offset that it needs of each partition: a table that has begun and got no record
    /// yet needs the first one, and a log that has lost it meanwhile has a gap.
    pub(crate) fn next(&self) -> Applied {
        let mut next = self.applied.clone();
        for (place, from) in &self.beginnings.from.0 {
            next.advance(place, *from);
        }
        next
    }

    /// `new` and `logs` are noted.
    pub(crate) fn note(&mut self, new: Beginnings, logs: &BTreeMap<String, LogIdentity>) {
        let known = &self.beginnings.from.0;
        invariant!(
            BeginningNotedOnce,
            new.from.0.keys().all(|place| !known.contains_key(place)),
            "{} beginnings beside {}",
            new.from.0.len(),
            known.len()
        );
        for (topic, log) in logs {
            self.logs.entry(topic.clone()).or_default().take(log);
        }
        self.beginnings.from.0.extend(new.from.0);
        self.beginnings.cut.extend(new.cut);
    }
}

/// What to note of partitions of which nothing is in `noted`. `starts` says where each is read from
/// and `shards` what the state has applied.
pub(crate) fn to_note(
    noted: &Beginnings,
    starts: &BTreeMap<TopicPartition, i64>,
    shards: &[Arc<Applied>],
) -> Beginnings {
    let mut beginnings = Beginnings::default();
    let is_new = |place: &&TopicPartition| !noted.from.0.contains_key(*place);
    for (partition, start) in starts.iter().filter(|(place, _)| is_new(place)) {
        let from = PartitionProgress {
            next_offset: *start,
            ..PartitionProgress::default()
        };
        beginnings.from.advance(partition, from);
        let was_read = shards
            .iter()
            .any(|applied| applied.next_offset(partition) > 0);
        // A log that still begins at 0 gives everything again.
        if was_read && *start > 0 {
            beginnings.note_cut(partition, *start);
        }
    }
    beginnings
}

/// Where `gaps` of `topic` cut a table that needs `archived` next: behind what one of `shards` has
/// applied of a gap, and the table has not got.
pub(crate) fn cut_by(
    gaps: &[AcceptedGap],
    topic: &str,
    archived: &Applied,
    shards: &[Arc<Applied>],
) -> Beginnings {
    let mut beginnings = Beginnings::default();
    for gap in gaps {
        let place = TopicPartition::new(topic, gap.partition);
        let applied = shards.iter().map(|shard| shard.next_offset(&place)).max();
        let had_to = applied.unwrap_or_default().min(gap.to);
        if gap.from.max(archived.next_offset(&place)) < had_to {
            beginnings.note_cut(&place, had_to);
        }
    }
    beginnings
}

/// Below which offset of the gap from `from` to `to` each of `shards` has applied all records of
/// `place`.
pub(crate) fn applied_to(
    (from, to): (i64, i64),
    place: &TopicPartition,
    shards: &[Arc<Applied>],
) -> i64 {
    let applied = shards.iter().map(|shard| shard.next_offset(place)).min();
    applied.unwrap_or(from).clamp(from, to)
}

/// A partition of `source` that the archive has read and of which one of `shards` has no mark: a
/// new state, of which nobody knows yet where it begins. What lies below is to be filled from the
/// archive, and what lies above comes from the log.
#[must_use]
pub fn not_begun(
    source: &SourceDef,
    archived: &Applied,
    shards: &[Arc<Applied>],
) -> Option<TopicPartition> {
    let has_begun =
        |place: &TopicPartition| shards.iter().all(|applied| applied.0.contains_key(place));
    let of_source = archived
        .0
        .iter()
        .filter(|(place, progress)| *place.topic == *source.topic && progress.next_offset > 0);
    let mut places = of_source.map(|(place, _)| place);
    places.find(|place| !has_begun(place)).cloned()
}

/// Refuse to fill from a table that lacks records which the state had applied.
pub(crate) fn check_whole(
    source: &SourceDef,
    beginnings: &Beginnings,
) -> Result<(), PipelineError> {
    let mut cuts = beginnings.cut.iter();
    let Some((place, cut)) = cuts.find(|(place, _)| *place.topic == *source.topic) else {
        return Ok(());
    };
    let (source_name, topic) = (source.name.clone(), place.topic.to_string());
    let partition = place.partition;
    Err(if beginnings.is_cut_by_gap(place) {
        PipelineError::ArchiveGap {
            source_name,
            topic,
            partition,
            below: *cut,
        }
    } else {
        PipelineError::ArchiveCut {
            source_name,
            topic,
            partition,
            from: *cut,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(partition: i32) -> TopicPartition {
        TopicPartition::new("t", partition)
    }

    fn applied(marks: &[(i32, i64)]) -> Applied {
        let progress = |next_offset| PartitionProgress {
            next_offset,
            ..PartitionProgress::default()
        };
        let marks = marks.iter();
        Applied(
            marks
                .map(|(p, next)| (place(*p), progress(*next)))
                .collect(),
        )
    }

    #[test]
    fn a_table_that_took_the_place_of_a_lost_one_is_cut_where_the_log_has_lost_its_head() {
        type Marks = &'static [(i32, i64)];
        // Noted, where reading starts, applied by the state; what is noted now, and what is cut.
        let cases: [(Marks, Marks, Marks, Marks, Marks); 6] = [
            // A new deployment, over a whole log and over one without its head.
            (&[], &[(0, 0)], &[], &[(0, 0)], &[]),
            (&[], &[(0, 50)], &[], &[(0, 50)], &[]),
            // A crash after the note and before the first append.
            (&[(0, 50)], &[(0, 50)], &[(0, 80)], &[], &[]),
            // The table is lost: the log has everything, or not.
            (&[], &[(0, 0)], &[(0, 80)], &[(0, 0)], &[]),
            (&[], &[(0, 50)], &[(0, 80)], &[(0, 50)], &[(0, 50)]),
            // A partition that was added.
            (&[(0, 0)], &[(0, 9), (1, 0)], &[(0, 9)], &[(1, 0)], &[]),
        ];
        for (noted, starts, shard, from, cut) in cases {
            let noted = Beginnings {
                from: applied(noted),
                ..Beginnings::default()
            };
            let starts = starts.iter().map(|(p, at)| (place(*p), *at)).collect();
            let expected = Beginnings {
                from: applied(from),
                cut: cut.iter().map(|(p, at)| (place(*p), *at)).collect(),
            };
            let shards = [Arc::new(Applied::default()), Arc::new(applied(shard))];
            assert_eq!(to_note(&noted, &starts, &shards), expected, "{starts:?}");
        }
    }

    #[test]
    fn a_gap_cuts_a_table_behind_what_the_state_had_of_it_and_the_table_had_not() {
        // What the table has, what two shards have applied, where the gap of offsets 40 to 69 cuts
        // the table, and up to where every shard has it.
        let cases: [(i64, [i64; 2], Option<i64>, i64); 8] = [
            (40, [40, 40], None, 40),
            (40, [90, 80], Some(70), 70),
            (40, [55, 80], Some(70), 55),
            (40, [40, 55], Some(55), 40),
            // The archive was further than one shard, and the state had no more.
            (60, [40, 60], None, 40),
            (60, [40, 65], Some(65), 40),
            (90, [40, 90], None, 40),
            (0, [40, 90], Some(70), 40),
        ];
        for (archived, shards, cut, kept) in cases {
            let shards = shards.map(|next| Arc::new(applied(&[(0, next)])));
            let to = applied_to((40, 70), &place(0), &shards);
            assert_eq!(to, kept, "{shards:?}");
            let gap = AcceptedGap {
                partition: 0,
                from: 40,
                to: 70,
                applied_to: to,
                accepted_us: 0,
            };
            let found = cut_by(&[gap], "t", &applied(&[(0, archived)]), &shards);
            assert_eq!(found.cut.get(&place(0)).copied(), cut, "{shards:?}");
            assert_eq!(found.from, Applied::default());
        }
    }

    #[test]
    fn a_new_state_has_begun_once_every_shard_has_a_mark_of_what_the_archive_has() {
        let source = SourceDef::json("a", "t", Vec::new(), 0);
        type Marks = &'static [(i32, i64)];
        // What the archive has, what two shards have applied, and what has not begun.
        let cases: [(Marks, [Marks; 2], Option<i32>); 6] = [
            (&[], [&[], &[]], None),
            (&[(0, 9)], [&[], &[]], Some(0)),
            (&[(0, 9)], [&[(0, 9)], &[]], Some(0)),
            (&[(0, 9), (1, 4)], [&[(0, 9)], &[(0, 7), (1, 4)]], Some(1)),
            (&[(0, 9)], [&[(0, 12)], &[(0, 7)]], None),
            // A partition of which nothing was archived yet: all of it comes from the log.
            (&[(0, 9), (1, 0)], [&[(0, 9)], &[(0, 9)]], None),
        ];
        for (archived, shards, expected) in cases {
            let shards = shards.map(|marks| Arc::new(applied(marks)));
            let found = not_begun(&source, &applied(archived), &shards);
            assert_eq!(found, expected.map(place), "{archived:?}");
        }
        let other = SourceDef::json("a", "other", Vec::new(), 0);
        assert_eq!(not_begun(&other, &applied(&[(0, 9)]), &[]), None);
    }

    #[test]
    fn a_table_that_has_begun_needs_its_first_record_until_it_has_got_it() {
        let reach = TableReach {
            applied: applied(&[(0, 90), (1, 5)]),
            beginnings: Beginnings {
                from: applied(&[(0, 50), (2, 70)]),
                ..Beginnings::default()
            },
            ..TableReach::default()
        };
        assert_eq!(reach.next(), applied(&[(0, 90), (1, 5), (2, 70)]));
        let has = |partition, offset| reach.has_below(&place(partition), offset);
        assert!(has(0, 51) && !has(0, 50), "its rows begin at 50");
        assert!(has(1, 1) && !has(1, 0));
        assert!(!has(2, 71) && !has(3, 9), "it has got nothing");
    }

    #[test]
    #[should_panic(expected = "invariant beginning_noted_once is broken")]
    fn where_a_table_begins_is_not_noted_anew() {
        let mut reach = TableReach {
            applied: Applied::default(),
            beginnings: Beginnings::default(),
            last: BTreeMap::new(),
            logs: BTreeMap::new(),
        };
        for next_offset in [3, 9] {
            let mut new = Beginnings::default();
            new.from.0 = applied(&[(0, next_offset)]).0;
            reach.note(new, &BTreeMap::new());
        }
    }
}
