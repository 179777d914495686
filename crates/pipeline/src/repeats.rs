//! Predictions arrive at least once: a crash between "acknowledged" and "outbox cleared" sends them
//! again with the same id. The first one wins; here the others are dropped before views, archive
//! and observers see them.
//!
//! # Size
//!
//! All versions of a deployment share the offsets of a source partition among them, so one set of
//! intervals for each (deployment, role, partition) closes up whatever the routes are; offsets that
//! are no events (bad records, markers of transactions) are filled in as the source is read, and
//! events that end without a prediction as their notes are archived. What is left are the events
//! under way.
//!
//! A note drops nothing at once. It is on disk before the archive has it, so no prediction of its
//! event is published after it; but one may have been before, whose settlement a power cut or a
//! crash took back, and it may be unread still. So a run of such events stands by itself, and a
//! prediction of one of them passes, until the reader has met all records that the topics of
//! predictions had by then. Of the others the newest runs still stand, for a state that is lost
//! beside a kept archive: its events are scored anew. Where more were settled without a prediction
//! before the loss, and one of the older ones gets a prediction this time, that counts as a repeat:
//! to tell them apart every note there ever was would have to be kept.
//!
//! # Restarts
//!
//! Whether a record is a repeat is decided once, in log order, and stays so: a record that is read
//! again gets the answer that it had. So the state is a checkpoint with the offsets that it covers,
//! and which of the records below them were dropped; records that the archive has beyond it count
//! as kept, those that it lacks there as dropped.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use arrow_array::cast::AsArray;
use arrow_array::types::{Int32Type, Int64Type};
use arrow_array::{Int32Array, Int64Array, RecordBatch, StringArray, UInt32Array};
use forebay_core::bytes::{BytesError, BytesResult, Reader, write_signed, write_unsigned};
use forebay_core::checkpoint::{self, Opened};
use forebay_core::error::with_causes;
use forebay_core::invariant;
use forebay_core::offsets::OffsetSet;
use forebay_core::ports::{Checkpoints, SourceBatch};
use forebay_core::prediction::column;
use forebay_core::progress::{Applied, TopicPartition};
use forebay_core::source::meta;

use crate::error::PipelineError;
use crate::settlements::Settled;

const CHECKPOINT: &str = "repeats";
const KIND: [u8; 4] = *b"FBRE";
/// Raise it with any change of the bytes: the state is then built anew.
const LAYOUT: u128 = 2;
/// Predictions after which a checkpoint is due.
const CHECKPOINT_ROWS: u64 = 100_000;
/// Runs of settled events of one stream of which a prediction still passes after the reader has met
/// all that there was.
const SETTLED_RUNS_MAX: usize = 1_000;
/// How much later than its note the ends of the topics are asked for, to tell that the reader has
/// met every prediction of an event: a partition that a topic has got is known by then, and what a
/// process had sent before it ended has arrived.
const SETTLED_RESTS: Duration = Duration::from_secs(30);

/// The events of one partition that one deployment answers in one role.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Stream {
    deployment: String,
    role: String,
    topic: String,
    partition: i32,
}

/// One partition of a topic of predictions.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Place {
    /// Below this offset every record has its answer.
    decided_to: i64,
    /// Those of them that were dropped: a run for each crash. None is forgotten, since a power cut
    /// may take state back to before any start.
    dropped: OffsetSet,
    /// Records that the archive has from there on.
    archived: OffsetSet,
    /// One past the records of which the archive has those that were kept.
    archived_to: i64,
}

impl Place {
    /// What holds before and after every step.
    fn check(&self) {
        invariant!(
            DroppedBelowDecided,
            self.dropped
                .before(i64::MAX)
                .is_none_or(|(_, end)| end <= self.decided_to),
            "{} offsets are dropped, decided up to {}",
            self.dropped.count(),
            self.decided_to
        );
    }
}

/// What became of the events of a stream.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Ends {
    /// Those whose predictions are repeats.
    seen: OffsetSet,
    /// Those that were settled without one since the last turn, and in the one before: predictions
    /// of them may be unread.
    fresh: OffsetSet,
    older: OffsetSet,
    /// Those that were settled before, the newest runs: there is no prediction of them, unless they
    /// are scored anew.
    settled: OffsetSet,
}

impl Ends {
    /// The reader has met all predictions of the older ones that there are.
    fn turn(&mut self) {
        let met = std::mem::replace(&mut self.older, std::mem::take(&mut self.fresh));
        self.settled.extend(&met);
        while self.settled.ranges().len() > SETTLED_RUNS_MAX {
            let oldest = self.settled.pop_first().unwrap_or_default();
            // Where no prediction has come back yet there is no hole to be filled.
            if !self.seen.is_empty() {
                self.seen.insert_range(oldest.start, oldest.end);
            }
        }
    }

    /// All that were settled and are not filled in.
    fn unfilled(&self) -> OffsetSet {
        let mut all = self.settled.clone();
        all.extend(&self.older);
        all.extend(&self.fresh);
        all
    }

    /// Intervals that are kept.
    #[cfg(test)]
    fn len(&self) -> usize {
        let sets = [&self.seen, &self.settled, &self.older, &self.fresh];
        sets.into_iter().map(|set| set.ranges().len()).sum()
    }
}

/// Which predictions were seen.
#[derive(Default)]
pub struct Repeats {
    streams: HashMap<Stream, Ends>,
    /// By shard one past the notes on events without a prediction that are known.
    noted_to: BTreeMap<i32, i64>,
    places: BTreeMap<TopicPartition, Place>,
    /// By partition of a scored source one past what this run has read: offsets between events are
    /// filled in. Not kept: what an earlier run read after its last checkpoint is no hole, and its
    /// predictions may be on their way.
    filled_to: BTreeMap<TopicPartition, i64>,
    /// When those that are settled began to be collected anew, by the runtime's time.
    turned: Duration,
    checkpoints: Option<Arc<dyn Checkpoints>>,
    rows: u64,
}

impl fmt::Debug for Repeats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Repeats")
            .field("streams", &self.streams.len())
            .field("places", &self.places)
            .finish_non_exhaustive()
    }
}

impl Repeats {
    /// From the checkpoint of an earlier run; from nothing where there is none, or none that can be
    /// read.
    #[must_use]
    pub fn open(checkpoints: Arc<dyn Checkpoints>) -> Self {
        let read = |frame: &[u8]| match checkpoint::open(KIND, LAYOUT, frame) {
            Opened::Payload(payload) => Self::decode(payload),
            Opened::Other(why) => Err(BytesError::from(why)),
            Opened::Damaged => Err(BytesError::from("its bytes have changed")),
        };
        let state = match checkpoints.load(CHECKPOINT) {
            Ok(Some(frame)) => read(&frame).unwrap_or_else(|why| {
                tracing::info!(%why, "the filter of repeats is built anew from the archive");
                Self::default()
            }),
            Ok(None) => Self::default(),
            Err(error) => {
                tracing::warn!(
                    error = with_causes(&error),
                    "the filter of repeats is built anew from the archive"
                );
                Self::default()
            }
        };
        Self {
            checkpoints: Some(checkpoints),
            ..state
        }
    }

    /// One past the records of `place` that are decided: the archive is read from there on.
    #[must_use]
    pub fn decided_to(&self, place: &TopicPartition) -> i64 {
        self.places.get(place).map_or(0, |place| place.decided_to)
    }

    /// Note archived predictions: rows with the columns of
    /// [`forebay_core::prediction::prediction_columns`] and of [`meta`], in any order.
    ///
    /// # Errors
    /// A column is missing.
    pub fn note(&mut self, rows: &RecordBatch) -> Result<(), PipelineError> {
        let events = Events::of(rows)?;
        let (topic, partition) = (text(rows, meta::TOPIC)?, int(rows, meta::PARTITION)?);
        let offset = long(rows, meta::OFFSET)?;
        for row in 0..rows.num_rows() {
            let place = TopicPartition::new(topic.value(row), partition.value(row));
            let place = self.places.entry(place).or_default();
            if offset.value(row) >= place.decided_to && place.archived.insert(offset.value(row)) {
                let ends = self.streams.entry(events.stream(row)).or_default();
                ends.seen.insert(events.offset.value(row));
            }
        }
        Ok(())
    }

    /// The archive has every record below `applied` that was kept.
    pub fn note_archived(&mut self, applied: &Applied) {
        for (place, progress) in &applied.0 {
            let place = self.places.entry(place.clone()).or_default();
            place.archived_to = place.archived_to.max(progress.next_offset);
        }
    }

    /// All that the archive has was noted: what it lacks below its mark was dropped.
    pub(crate) fn begin(&mut self) {
        for place in self.places.values_mut() {
            let archived = std::mem::take(&mut place.archived);
            let last = archived.before(i64::MAX).map_or(0, |(_, end)| end);
            let end = last.max(place.archived_to);
            for (from, to) in archived.gaps(place.decided_to, end) {
                place.dropped.insert_range(from, to);
            }
            place.decided_to = place.decided_to.max(end);
            place.check();
        }
    }

    /// `batch` without its repeats, and how many there were.
    ///
    /// # Errors
    /// A column is missing.
    pub(crate) fn drop_from(
        &mut self,
        batch: SourceBatch,
    ) -> Result<(SourceBatch, usize), PipelineError> {
        let events = Events::of(&batch.rows)?;
        let mut kept: Vec<u32> = Vec::with_capacity(batch.rows.num_rows());
        let places = batch.origin.partition.iter().zip(&batch.origin.offset);
        for (row, (slot, offset)) in places.enumerate() {
            let place = &batch.origin.partitions[*slot as usize];
            let place = self.places.entry(place.clone()).or_default();
            let keep = if *offset < place.decided_to {
                !place.dropped.contains(*offset)
            } else {
                place.decided_to = offset.saturating_add(1);
                let ends = self.streams.entry(events.stream(row)).or_default();
                let is_new = ends.seen.insert(events.offset.value(row));
                if !is_new {
                    place.dropped.insert(*offset);
                }
                is_new
            };
            if keep {
                kept.push(u32::try_from(row).expect("a batch has fewer than 2^32 rows"));
            }
        }
        for (partition, read_to) in &batch.read_up_to {
            let place = self.places.entry(partition.clone()).or_default();
            place.decided_to = place.decided_to.max(*read_to);
        }
        self.rows += batch.rows.num_rows() as u64;
        let repeats = batch.rows.num_rows() - kept.len();
        if repeats == 0 {
            Ok((batch, 0))
        } else {
            Ok((keep_rows(batch, &kept)?, repeats))
        }
    }

    /// One past the notes at `place` of their table that are known.
    #[must_use]
    pub fn noted_to(&self, place: &TopicPartition) -> i64 {
        self.noted_to.get(&place.partition).copied().unwrap_or(0)
    }

    /// These events get no prediction, as archived notes of a shard say in their order. Said again,
    /// it changes nothing.
    pub fn settle(&mut self, settled: &[Settled]) {
        for events in settled {
            let stream = Stream {
                deployment: events.deployment.clone(),
                role: events.role.as_str().to_owned(),
                topic: events.topic.clone(),
                partition: events.partition,
            };
            let ends = self.streams.entry(stream).or_default();
            for run in events.offsets.ranges() {
                ends.fresh.insert_range(run.start, run.end);
            }
            let (notes, number) = &events.note;
            let known = self.noted_to.entry(notes.partition).or_default();
            *known = number.saturating_add(1);
        }
    }

    /// By `now` the reader has met all records that the topics of predictions had at `asked`.
    pub(crate) fn met(&mut self, asked: Duration, now: Duration) {
        invariant!(AskedBeforeNow, asked <= now, "{asked:?} after {now:?}");
        if asked >= self.turned + SETTLED_RESTS {
            self.streams.values_mut().for_each(Ends::turn);
            self.turned = now;
        }
    }

    /// `batch` of a source, as it was taken: no prediction will come for the offsets between its
    /// events.
    pub fn fill(&mut self, batch: &SourceBatch) {
        let topic = batch.source.topic.as_str();
        if !self.streams.keys().any(|stream| stream.topic == topic) {
            return;
        }
        let mut offsets: HashMap<&TopicPartition, Vec<i64>> = HashMap::new();
        for (slot, offset) in batch.origin.partition.iter().zip(&batch.origin.offset) {
            let place = &batch.origin.partitions[*slot as usize];
            offsets.entry(place).or_default().push(*offset);
        }
        for (place, read_to) in &batch.read_up_to {
            let offsets = offsets.remove(place).unwrap_or_default();
            invariant!(
                RowsInLogOrder,
                offsets.is_sorted(),
                "{place:?}: {} rows",
                offsets.len()
            );
            let first = offsets.first().copied().unwrap_or(*read_to);
            let filled = self.filled_to.entry(place.clone()).or_insert(first);
            let mut at = *filled;
            let mut gaps = Vec::new();
            for offset in offsets.into_iter().chain([*read_to]) {
                if offset > at {
                    gaps.push((at, offset));
                }
                at = at.max(offset.saturating_add(1));
            }
            *filled = (*filled).max(*read_to);
            let streams = self.streams.iter_mut().filter(|(stream, _)| {
                stream.topic == *place.topic && stream.partition == place.partition
            });
            for (_, ends) in streams {
                gaps.iter()
                    .for_each(|(from, to)| ends.seen.insert_range(*from, *to));
            }
        }
    }

    /// Keep the state, when enough has changed or `at_once`. A failure costs reading the archive at
    /// the next start.
    pub(crate) fn save(&mut self, at_once: bool) {
        let Some(checkpoints) = &self.checkpoints else {
            return;
        };
        if at_once || self.rows >= CHECKPOINT_ROWS {
            self.rows = 0;
            let frame = checkpoint::seal(KIND, LAYOUT, &self.encode());
            if let Err(error) = checkpoints.save(CHECKPOINT, &frame) {
                tracing::warn!(
                    error = with_causes(&error),
                    "no checkpoint; the next start reads more of the archive"
                );
            }
        }
    }

    fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        write_unsigned(&mut out, self.noted_to.len() as u64);
        for (shard, next) in &self.noted_to {
            write_signed(&mut out, i64::from(*shard));
            write_signed(&mut out, *next);
        }
        write_unsigned(&mut out, self.streams.len() as u64);
        for (stream, ends) in &self.streams {
            write_text(&mut out, &stream.deployment);
            write_text(&mut out, &stream.role);
            write_text(&mut out, &stream.topic);
            write_signed(&mut out, i64::from(stream.partition));
            ends.seen.encode(&mut out);
            ends.unfilled().encode(&mut out);
        }
        write_unsigned(&mut out, self.places.len() as u64);
        for (partition, place) in &self.places {
            write_place(&mut out, partition);
            place.check();
            write_signed(&mut out, place.decided_to);
            place.dropped.encode(&mut out);
        }
        out
    }

    fn decode(payload: &[u8]) -> BytesResult<Self> {
        let reader = &mut Reader::new(payload);
        let mut repeats = Self::default();
        for _ in 0..reader.unsigned()? {
            let shard = read_partition(reader)?;
            repeats.noted_to.insert(shard, reader.signed()?);
        }
        for _ in 0..reader.unsigned()? {
            let stream = Stream {
                deployment: read_text(reader)?,
                role: read_text(reader)?,
                topic: read_text(reader)?,
                partition: read_partition(reader)?,
            };
            let ends = Ends {
                seen: OffsetSet::decode(reader)?,
                fresh: OffsetSet::decode(reader)?,
                ..Ends::default()
            };
            repeats.streams.insert(stream, ends);
        }
        for _ in 0..reader.unsigned()? {
            let partition = read_place(reader)?;
            let place = Place {
                decided_to: reader.signed()?,
                dropped: OffsetSet::decode(reader)?,
                ..Place::default()
            };
            repeats.places.insert(partition, place);
        }
        reader.end()?;
        Ok(repeats)
    }
}

fn write_text(out: &mut Vec<u8>, text: &str) {
    write_unsigned(out, text.len() as u64);
    out.extend_from_slice(text.as_bytes());
}

fn read_text(reader: &mut Reader<'_>) -> BytesResult<String> {
    let length = reader.unsigned()?;
    let bytes = reader.take(length)?;
    String::from_utf8(bytes.to_vec()).map_err(|_| BytesError::Utf8)
}

fn write_place(out: &mut Vec<u8>, place: &TopicPartition) {
    write_text(out, &place.topic);
    write_signed(out, i64::from(place.partition));
}

fn read_place(reader: &mut Reader<'_>) -> BytesResult<TopicPartition> {
    let topic = read_text(reader)?;
    Ok(TopicPartition::new(topic, read_partition(reader)?))
}

fn read_partition(reader: &mut Reader<'_>) -> BytesResult<i32> {
    i32::try_from(reader.signed()?).map_err(|_| BytesError::from("no such partition"))
}

/// The columns that say which event each prediction is of.
struct Events<'a> {
    deployment: &'a StringArray,
    role: &'a StringArray,
    topic: &'a StringArray,
    partition: &'a Int32Array,
    offset: &'a Int64Array,
}

impl<'a> Events<'a> {
    fn of(rows: &'a RecordBatch) -> Result<Self, PipelineError> {
        Ok(Self {
            deployment: text(rows, column::DEPLOYMENT)?,
            role: text(rows, column::ROLE)?,
            topic: text(rows, column::SOURCE_TOPIC)?,
            partition: int(rows, column::SOURCE_PARTITION)?,
            offset: long(rows, column::SOURCE_OFFSET)?,
        })
    }

    fn stream(&self, row: usize) -> Stream {
        Stream {
            deployment: self.deployment.value(row).to_owned(),
            role: self.role.value(row).to_owned(),
            topic: self.topic.value(row).to_owned(),
            partition: self.partition.value(row),
        }
    }
}

fn text<'a>(rows: &'a RecordBatch, name: &str) -> Result<&'a StringArray, PipelineError> {
    rows.column_by_name(name)
        .and_then(|c| c.as_string_opt::<i32>())
        .ok_or_else(|| missing(name))
}

fn int<'a>(rows: &'a RecordBatch, name: &str) -> Result<&'a Int32Array, PipelineError> {
    rows.column_by_name(name)
        .and_then(|c| c.as_primitive_opt::<Int32Type>())
        .ok_or_else(|| missing(name))
}

fn long<'a>(rows: &'a RecordBatch, name: &str) -> Result<&'a Int64Array, PipelineError> {
    rows.column_by_name(name)
        .and_then(|c| c.as_primitive_opt::<Int64Type>())
        .ok_or_else(|| missing(name))
}

/// `batch` with these of its rows, ascending; what else it brought stays.
pub(crate) fn keep_rows(batch: SourceBatch, kept: &[u32]) -> Result<SourceBatch, PipelineError> {
    let rows =
        arrow_select::take::take_record_batch(&batch.rows, &UInt32Array::from(kept.to_vec()))?;
    let mut origin = batch.origin;
    origin.partition = pick(&origin.partition, kept);
    origin.offset = pick(&origin.offset, kept);
    origin.kafka_time_us = pick(&origin.kafka_time_us, kept);
    origin.broker_time = pick(&origin.broker_time, kept);
    origin.watermark_us = pick(&origin.watermark_us, kept);
    invariant!(
        OriginColumnsAgree,
        origin.offset.len() == rows.num_rows() && origin.partition.len() == rows.num_rows(),
        "{} offsets for {} rows",
        origin.offset.len(),
        rows.num_rows()
    );
    Ok(SourceBatch {
        rows,
        origin,
        ..batch
    })
}

fn pick<T: Copy>(values: &[T], rows: &[u32]) -> Vec<T> {
    rows.iter()
        .filter_map(|row| values.get(*row as usize).copied())
        .collect()
}

fn missing(name: &str) -> PipelineError {
    PipelineError::Port(forebay_core::PortError::internal(format!(
        "a prediction record has no usable column '{name}'"
    )))
}

#[cfg(test)]
mod tests;
