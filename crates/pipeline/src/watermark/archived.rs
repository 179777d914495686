//! What the archive has of decisions about time, in a few words for each partition: how many rows
//! its table has, up to where they reach, and the newest hold. The archive's lanes, each of which
//! has the partitions of its own topic, keep it as they append, monitors note with their
//! checkpoints how many rows of the table they know, and a start reads the table from there on: it
//! reads what came since, and not the history.
//!
//! # The newest hold
//!
//! A partition that stays idle is held anew whenever the others go on, at the same offset, and only
//! the last of these holds matters to a reader of the rows behind it. So the table gets it once the
//! reader goes on past it, or the pipeline stops; until then it is kept here and replaced. It is as
//! safe as a row of the table: both are on disk before what the archive says that it has.
//!
//! # Where nothing is kept
//!
//! Without the blob (a new data directory, or one that cannot be read) the table is read from its
//! beginning and every hold goes to it, as if it were the last.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow_array::RecordBatch;
use forebay_core::PortResult;
use forebay_core::bytes::{BytesError, BytesResult, Reader, write_signed, write_unsigned};
use forebay_core::checkpoint::{self, Opened};
use forebay_core::invariant;
use forebay_core::ports::Checkpoints;
use forebay_core::progress::{Applied, PartitionProgress, TopicPartition};
use forebay_core::watermark::{Hold, MarkFact, MarkRecord};
use parking_lot::Mutex;

use super::table;

const CHECKPOINT: &str = "marks";
const KIND: [u8; 4] = *b"FBMK";
/// Raise it with any change of the bytes: the table is then read from its beginning.
const LAYOUT: u128 = 1;

/// What is known of one partition.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Known {
    /// Rows that the table has of it: their numbers lie below.
    rows: i64,
    /// No row of the table is about records at or above this offset.
    until: i64,
    /// The newest hold, and whether the table has it.
    hold: Option<(Hold, bool)>,
}

/// What the archive has of decisions about time, by partition. The archiver writes it; the start,
/// monitors and the exposition of metrics read it.
#[derive(Debug, Default)]
pub struct ArchivedMarks {
    places: Mutex<BTreeMap<TopicPartition, Known>>,
    /// Rows of sources that the archive has got in this run, with all bounds below.
    sources: Mutex<Applied>,
    checkpoints: Option<Arc<dyn Checkpoints>>,
    /// Held while a checkpoint is written: lanes keep their holds in one, and an older must not
    /// replace a newer. An async lock, so that a lane which waits yields: a write may take long.
    saving: tokio::sync::Mutex<()>,
}

impl ArchivedMarks {
    /// As an earlier run has kept it, of a table that has `archived` rows of each partition; from
    /// nothing where it has kept nothing, or of another table.
    #[must_use]
    pub fn open(checkpoints: Arc<dyn Checkpoints>, archived: &Applied) -> Self {
        let read = |frame: &[u8]| match checkpoint::open(KIND, LAYOUT, frame) {
            Opened::Payload(payload) => decode(payload),
            Opened::Other(why) => Err(BytesError::from(why)),
            Opened::Damaged => Err(BytesError::from("its bytes have changed")),
        };
        let mut places = match checkpoints.load(CHECKPOINT) {
            Ok(Some(frame)) => read(&frame).unwrap_or_else(|why| {
                tracing::info!(%why, "all decisions about time are read from the archive");
                BTreeMap::new()
            }),
            Ok(None) => BTreeMap::new(),
            Err(error) => {
                tracing::warn!(%error, "all decisions about time are read from the archive");
                BTreeMap::new()
            }
        };
        if places
            .iter()
            .any(|(place, known)| known.rows > archived.next_offset(place))
        {
            // Another table stands there now: of this one nothing is known.
            places.clear();
        }
        Self {
            places: Mutex::new(places),
            sources: Mutex::default(),
            checkpoints: Some(checkpoints),
            saving: tokio::sync::Mutex::default(),
        }
    }

    /// From which row on the table is to be read by a run whose shards have all applied records of
    /// a partition below `applied`. A shard that stands behind what the rows are about may lack
    /// some of them; then all rows of that partition are.
    #[must_use]
    pub fn unread(&self, applied: impl Fn(&TopicPartition) -> i64) -> Applied {
        let mut from = Applied::default();
        for (place, known) in self.places.lock().iter() {
            if applied(place) >= known.until {
                from.advance(place, row(known.rows));
            }
        }
        from
    }

    /// Take over `rows` of the table, which come in their order; returns what they say.
    ///
    /// # Errors
    /// They are not those of the table.
    pub fn note(&self, rows: &RecordBatch) -> PortResult<Vec<MarkRecord>> {
        let numbered = table::read_numbered(rows)?;
        self.appended(&numbered);
        Ok(numbered.into_iter().map(|(record, _)| record).collect())
    }

    /// How many rows of each partition the table has. A monitor that got every decision so far
    /// covers that many.
    #[must_use]
    pub fn rows(&self) -> Applied {
        let places = self.places.lock();
        let rows = places
            .iter()
            .map(|(place, known)| (place.clone(), row(known.rows)));
        Applied(rows.collect())
    }

    /// The newest hold of each partition.
    #[must_use]
    pub fn holds(&self) -> Vec<MarkRecord> {
        self.newest_holds(|_| true)
    }

    /// Those of them that the table does not have.
    pub(crate) fn unarchived(&self) -> Vec<MarkRecord> {
        self.newest_holds(|is_archived| !is_archived)
    }

    fn newest_holds(&self, wanted: impl Fn(bool) -> bool) -> Vec<MarkRecord> {
        let places = self.places.lock();
        let hold = |(place, known): (&TopicPartition, &Known)| {
            let (hold, _) = known.hold.filter(|(_, is_archived)| wanted(*is_archived))?;
            Some(MarkRecord {
                partition: place.clone(),
                fact: MarkFact::Hold(hold),
            })
        };
        places.iter().filter_map(hold).collect()
    }

    /// Whether neither the table nor what is kept here has `record`.
    pub(crate) fn lacks(&self, record: &MarkRecord) -> bool {
        let places = self.places.lock();
        let Some(known) = places.get(&record.partition) else {
            return true;
        };
        match record.fact {
            // Bounds are archived in the order of the log.
            MarkFact::Bound(bound) => bound.until > known.until,
            MarkFact::Hold(hold) => known
                .hold
                .is_none_or(|(newest, _)| is_newer(&hold, &newest)),
        }
    }

    /// Part `records` that are to be archived, in the order of their partitions and offsets, into
    /// those that the table needs now and the newest holds, which `passed` (where the rows of the
    /// partition end that come with them) has not reached.
    pub(crate) fn part(
        &self,
        records: Vec<MarkRecord>,
        passed: impl Fn(&TopicPartition) -> i64,
    ) -> (Vec<MarkRecord>, Vec<MarkRecord>) {
        if self.checkpoints.is_none() {
            return (records, Vec::new());
        }
        let mut newest: BTreeMap<TopicPartition, Hold> = BTreeMap::new();
        for record in &records {
            if let MarkFact::Hold(hold) = record.fact {
                let known = newest.entry(record.partition.clone()).or_insert(hold);
                if is_newer(&hold, known) {
                    *known = hold;
                }
            }
        }
        let is_due = |record: &MarkRecord| match record.fact {
            MarkFact::Bound(_) => true,
            MarkFact::Hold(hold) => {
                newest.get(&record.partition) != Some(&hold) || passed(&record.partition) > hold.at
            }
        };
        let (due, waiting): (Vec<_>, Vec<_>) = records.into_iter().partition(is_due);
        let places: BTreeSet<_> = waiting.iter().map(|record| &record.partition).collect();
        invariant!(
            HoldKeptOnce,
            places.len() == waiting.len(),
            "{} holds of {} partitions",
            waiting.len(),
            places.len()
        );
        (due, waiting)
    }

    /// The table has got these rows.
    pub(crate) fn appended(&self, rows: &[(MarkRecord, i64)]) {
        let mut places = self.places.lock();
        for (record, number) in rows {
            let known = places.entry(record.partition.clone()).or_default();
            known.rows = known.rows.max(number + 1);
            match record.fact {
                MarkFact::Bound(bound) => {
                    invariant!(BoundCoversRows, bound.from < bound.until, "{record:?}");
                    known.until = known.until.max(bound.until);
                }
                MarkFact::Hold(hold) => {
                    known.until = known.until.max(hold.at);
                    if known
                        .hold
                        .is_none_or(|(newest, _)| !is_newer(&newest, &hold))
                    {
                        known.hold = Some((hold, true));
                    }
                }
            }
        }
    }

    /// The archive has all rows of a source below `up_to`, and what bounds them.
    pub(crate) fn rows_archived(&self, up_to: &Applied) {
        let mut sources = self.sources.lock();
        for (place, progress) in &up_to.0 {
            sources.advance(place, *progress);
        }
    }

    /// Below these offsets every one of `shards` and the archive have all rows: none is read again.
    pub(crate) fn passed(&self, shards: &[Arc<Applied>]) -> Vec<(TopicPartition, i64)> {
        let sources = self.sources.lock();
        let passed = |(place, archived): (&TopicPartition, &PartitionProgress)| {
            let of_shards = shards.iter().map(|shard| shard.next_offset(place));
            let below = of_shards.chain([archived.next_offset]).min();
            (place.clone(), below.unwrap_or(0))
        };
        sources.0.iter().map(passed).collect()
    }

    /// Keep `holds`, which the table does not have, beside those of other partitions and with what
    /// is known of the table.
    ///
    /// # Errors
    /// They cannot be kept: what was kept before still is.
    pub(crate) async fn keep(&self, holds: &[MarkRecord]) -> PortResult<()> {
        let Some(checkpoints) = &self.checkpoints else {
            return Ok(());
        };
        let _saving = self.saving.lock().await;
        let frame = {
            let mut places = self.places.lock();
            for record in holds {
                let known = places.entry(record.partition.clone()).or_default();
                if let MarkFact::Hold(hold) = record.fact
                    && known
                        .hold
                        .is_none_or(|(newest, _)| is_newer(&hold, &newest))
                {
                    known.hold = Some((hold, false));
                }
            }
            checkpoint::seal(KIND, LAYOUT, &encode(&places))
        };
        checkpoints.save(CHECKPOINT, &frame)
    }
}

/// Whether `hold` is later than `other`, of one partition.
fn is_newer(hold: &Hold, other: &Hold) -> bool {
    (hold.at, hold.mark_us) > (other.at, other.mark_us)
}

fn row(number: i64) -> PartitionProgress {
    PartitionProgress {
        next_offset: number,
        ..PartitionProgress::default()
    }
}

fn encode(places: &BTreeMap<TopicPartition, Known>) -> Vec<u8> {
    let mut out = Vec::new();
    write_unsigned(&mut out, places.len() as u64);
    for (place, known) in places {
        write_unsigned(&mut out, place.topic.len() as u64);
        out.extend_from_slice(place.topic.as_bytes());
        write_signed(&mut out, i64::from(place.partition));
        write_signed(&mut out, known.rows);
        write_signed(&mut out, known.until);
        out.push(match known.hold {
            None => 0,
            Some((_, false)) => 1,
            Some((_, true)) => 2,
        });
        if let Some((hold, _)) = known.hold {
            write_signed(&mut out, hold.at);
            write_signed(&mut out, hold.mark_us);
            write_signed(&mut out, hold.watermark_us);
        }
    }
    out
}

fn decode(payload: &[u8]) -> BytesResult<BTreeMap<TopicPartition, Known>> {
    let reader = &mut Reader::new(payload);
    let mut places = BTreeMap::new();
    for _ in 0..reader.unsigned()? {
        let length = reader.unsigned()?;
        let topic = std::str::from_utf8(reader.take(length)?).map_err(|_| BytesError::Utf8)?;
        let partition =
            i32::try_from(reader.signed()?).map_err(|_| BytesError::from("no such partition"))?;
        let place = TopicPartition::new(topic, partition);
        let (rows, until) = (reader.signed()?, reader.signed()?);
        let is_archived = match reader.u8()? {
            0 => None,
            1 => Some(false),
            2 => Some(true),
            _ => return Err(BytesError::from("a hold is neither kept nor archived")),
        };
        let hold = match is_archived {
            None => None,
            Some(is_archived) => {
                let hold = Hold {
                    at: reader.signed()?,
                    mark_us: reader.signed()?,
                    watermark_us: reader.signed()?,
                };
                Some((hold, is_archived))
            }
        };
        places.insert(place, Known { rows, until, hold });
    }
    reader.end()?;
    Ok(places)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn golden_bytes_of_what_is_known_of_the_archive() {
        let hold = Hold {
            at: 300,
            mark_us: -1,
            watermark_us: -5,
        };
        let known = |rows, until, hold| Known { rows, until, hold };
        let places = BTreeMap::from([
            (
                TopicPartition::new("flüge", 258),
                known(300, i64::MAX, Some((hold, false))),
            ),
            (TopicPartition::new("w", 0), known(0, 0, None)),
            (
                TopicPartition::new("w", 1),
                known(1, i64::MIN, Some((hold, true))),
            ),
        ]);
        let golden = [
            "03 06 666cc3bc6765 8404 d804 feffffffffffffffff01 01 d804 01 09",
            "01 77 00 00 00 00",
            "01 77 02 02 ffffffffffffffffff01 02 d804 01 09",
        ];
        let bytes = encode(&places);
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, golden.concat().replace(' ', ""));
        assert_eq!(decode(&bytes), Ok(places));
    }
}

#[cfg(test)]
mod growth {
    use forebay_core::watermark::Bound;
    use forebay_testkit::MemoryCheckpoints;

    use super::*;

    fn place() -> TopicPartition {
        TopicPartition::new("t", 3)
    }

    fn hold(at: i64, mark_us: i64) -> MarkRecord {
        let watermark_us = mark_us - 5;
        let fact = MarkFact::Hold(Hold {
            at,
            mark_us,
            watermark_us,
        });
        MarkRecord {
            partition: place(),
            fact,
        }
    }

    fn bound(from: i64, until: i64) -> MarkRecord {
        let fact = MarkFact::Bound(Bound {
            from,
            until,
            mark_max_us: 7,
            watermark_max_us: 7,
        });
        MarkRecord {
            partition: place(),
            fact,
        }
    }

    fn open(memory: &MemoryCheckpoints, rows: i64) -> ArchivedMarks {
        let archived = Applied(BTreeMap::from([(place(), row(rows))]));
        ArchivedMarks::open(Arc::new(memory.clone()), &archived)
    }

    fn keep(marks: &ArchivedMarks, holds: &[MarkRecord]) {
        let runtime = crate::runtime::for_tests();
        crate::runtime::block_on(&runtime, marks.keep(holds)).expect("in memory");
    }

    #[test]
    fn a_partition_that_is_idle_for_a_day_needs_one_row_and_a_restart_knows_its_newest_hold() {
        let memory = MemoryCheckpoints::default();
        let marks = open(&memory, 0);
        let mut rows = 0;
        for look in 0..2_880 {
            let (due, held) = marks.part(vec![hold(5, look)], |_| 5);
            assert!(due.is_empty(), "nobody has read past it");
            keep(&marks, &held);
            rows += due.len();
        }
        assert_eq!(rows, 0);
        let marks = open(&memory, 0);
        assert_eq!(marks.unarchived(), [hold(5, 2_879)]);
        assert!(!marks.lacks(&hold(5, 2_879)) && marks.lacks(&hold(5, 2_880)));
        // A row at offset 5 comes with it: what follows is dated by it.
        let (due, held) = marks.part(vec![hold(5, 2_879)], |_| 6);
        assert_eq!((due, held), (vec![hold(5, 2_879)], Vec::new()));
        marks.appended(&[(hold(5, 2_879), 0)]);
        assert_eq!(
            (marks.unarchived(), marks.holds()),
            (Vec::new(), vec![hold(5, 2_879)])
        );
    }

    #[test]
    fn a_lane_that_keeps_its_holds_leaves_those_of_the_others() {
        let memory = MemoryCheckpoints::default();
        let marks = open(&memory, 0);
        let other = MarkRecord {
            partition: TopicPartition::new("u", 0),
            ..hold(2, 9)
        };
        keep(&marks, &[hold(5, 1)]);
        keep(&marks, std::slice::from_ref(&other));
        keep(&marks, &[hold(5, 3)]);
        keep(&marks, &[]);
        assert_eq!(open(&memory, 0).unarchived(), [hold(5, 3), other]);
    }

    #[test]
    fn of_many_decisions_only_the_newest_hold_of_a_partition_waits() {
        let marks = open(&MemoryCheckpoints::default(), 0);
        let all = vec![bound(0, 4), hold(4, 1), hold(9, 2), hold(9, 3)];
        let (due, held) = marks.part(all.clone(), |_| 9);
        assert_eq!(due, [bound(0, 4), hold(4, 1), hold(9, 2)]);
        assert_eq!(held, [hold(9, 3)]);
        let nowhere = ArchivedMarks::default();
        assert_eq!(nowhere.part(all.clone(), |_| 0), (all, Vec::new()));
    }

    #[test]
    fn a_start_reads_the_rows_behind_those_that_it_knows() {
        let memory = MemoryCheckpoints::default();
        let marks = open(&memory, 2);
        let rows = [(bound(0, 4), 0), (hold(4, 10), 1)];
        let noted = marks
            .note(&table::batch(&rows).expect("they fit"))
            .expect("its own");
        assert_eq!(noted, [bound(0, 4), hold(4, 10)]);
        assert!(!marks.lacks(&bound(2, 4)) && marks.lacks(&bound(0, 6)));
        keep(&marks, &[]);
        let from = |rows, applied| {
            open(&memory, rows)
                .unread(|_| applied)
                .next_offset(&place())
        };
        assert_eq!(from(2, 4), 2, "every shard has what the rows are about");
        assert_eq!(from(9, 4), 2, "what came since the checkpoint");
        assert_eq!(from(9, 3), 0, "a power cut took a shard's last writes");
        assert_eq!(from(1, 4), 0, "another table");
        assert_eq!(open(&memory, 2).rows().next_offset(&place()), 2);
    }
}
