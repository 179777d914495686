//! What one poll has gathered for one source: rows in the decoder, where each stands, and the dead
//! letters between them. Filled by the reader record by record, emptied into one `SourceBatch` a
//! poll, which `pipeline` takes from there.

use std::collections::HashMap;
use std::sync::Arc;

use forebay_core::invariant;
use forebay_core::limits::{
    DEAD_LETTER_HEADERS_MAX_BYTES, DEAD_LETTER_KEY_MAX_BYTES, DEAD_LETTER_PAYLOAD_MAX_BYTES,
};
use forebay_core::ports::{DeadLetter, Origin, RecordHeader, SourceBatch};
use forebay_core::progress::{RecordDigest, TopicPartition};
use forebay_core::source::SourceDef;

use crate::decode::{Record, RecordDecoder, Reject};
use crate::error::Error;
use crate::native::events::RecordHeaders;
use crate::stats::ReaderStats;

/// One source, as the reader fills it.
#[derive(Debug)]
pub(super) struct SourceReader {
    source: Arc<SourceDef>,
    topic: Arc<str>,
    decoder: RecordDecoder,
    origin: Origin,
    /// Index of a partition in `origin.partitions`.
    slot_of: HashMap<i32, u32>,
    /// The partition of the record before and its index: records come in runs of one partition.
    recent: Option<(i32, u32)>,
    /// For each entry of `origin.partitions`: one past the last record.
    read_up_to: Vec<i64>,
    /// For each of them: its last record.
    last_records: Vec<RecordDigest>,
    dead_letters: Vec<DeadLetter>,
    /// Records that were read since the last batch.
    records: usize,
}

impl SourceReader {
    pub(super) fn new(source: &Arc<SourceDef>) -> Result<Self, Error> {
        Ok(Self {
            source: Arc::clone(source),
            topic: source.topic.as_str().into(),
            decoder: RecordDecoder::new(source, source.event_future_max_us)?,
            origin: Origin::default(),
            slot_of: HashMap::new(),
            recent: None,
            read_up_to: Vec::new(),
            last_records: Vec::new(),
            dead_letters: Vec::new(),
            records: 0,
        })
    }

    /// Take one record: as a row, or as a dead letter. Returns how many bytes of headers are kept.
    pub(super) fn take(
        &mut self,
        (partition, offset): (i32, i64),
        record: &Record<'_>,
        headers: RecordHeaders<'_>,
        stats: &ReaderStats,
    ) -> usize {
        let slot = self.slot(partition);
        // The reader has judged the offset; within one poll none comes twice.
        invariant!(
            RowsInLogOrder,
            offset >= self.read_up_to[slot as usize],
            "{}-{partition}: offset {offset} after {}",
            self.topic,
            self.read_up_to[slot as usize]
        );
        self.records += 1;
        self.read_up_to[slot as usize] = offset + 1;
        self.last_records[slot as usize] =
            RecordDigest::of(offset, record.kafka_time_us, record.key, record.payload);
        match self.decoder.push(record) {
            Ok(()) => {
                self.origin.partition.push(slot);
                self.origin.offset.push(offset);
                self.origin.kafka_time_us.push(record.kafka_time_us);
                self.origin.broker_time.push(record.broker_time);
                0
            }
            Err(reject) => {
                stats.add_dead_letter(reject.reason);
                let place = (self.origin.partitions[slot as usize].clone(), offset);
                let letter = dead_letter(&self.source.name, place, (record, headers), &reject);
                let bytes = |h: &RecordHeader| h.name.len() + h.value.as_ref().map_or(0, Vec::len);
                let headers_bytes = letter.headers.iter().map(bytes).sum();
                self.dead_letters.push(letter);
                headers_bytes
            }
        }
    }

    fn slot(&mut self, partition: i32) -> u32 {
        if let Some((recent, slot)) = self.recent
            && recent == partition
        {
            return slot;
        }
        let slot = *self.slot_of.entry(partition).or_insert_with(|| {
            let slot = self.read_up_to.len() as u32;
            self.origin
                .partitions
                .push(TopicPartition::new(Arc::clone(&self.topic), partition));
            self.read_up_to.push(0);
            self.last_records
                .push(RecordDigest::of(0, None, None, None));
            slot
        });
        self.recent = Some((partition, slot));
        slot
    }

    /// What was gathered since the last call; None where no record came.
    pub(super) fn emit(&mut self, stats: &ReaderStats) -> Result<Option<SourceBatch>, Error> {
        if self.read_up_to.is_empty() {
            return Ok(None);
        }
        self.slot_of.clear();
        self.recent = None;
        let rows = self.decoder.finish()?;
        stats.add_guesses(&self.source.name, self.decoder.take_guesses());
        let origin = std::mem::take(&mut self.origin);
        invariant!(
            OriginColumnsAgree,
            origin.offset.len() == rows.num_rows()
                && origin.kafka_time_us.len() == rows.num_rows()
                && origin.broker_time.len() == rows.num_rows(),
            "topic {}: {} offsets for {} rows",
            self.topic,
            origin.offset.len(),
            rows.num_rows()
        );
        let partitions = origin.partitions.len();
        invariant!(
            OriginOfItsBatch,
            origin
                .partition
                .iter()
                .all(|slot| (*slot as usize) < partitions),
            "topic {}: {partitions} partitions",
            self.topic
        );
        let records = std::mem::take(&mut self.records);
        invariant!(
            RecordsKept,
            rows.num_rows() + self.dead_letters.len() == records,
            "topic {}: {} rows and {} dead letters of {records} records",
            self.topic,
            rows.num_rows(),
            self.dead_letters.len()
        );
        let mut ends = self.read_up_to.iter().zip(&self.last_records);
        invariant!(
            DigestBelowNext,
            self.last_records.len() == origin.partitions.len()
                && ends.all(|(next, last)| last.offset + 1 == *next),
            "topic {}: {:?} at next offsets {:?}",
            self.topic,
            self.last_records,
            self.read_up_to
        );
        let read_up_to = origin
            .partitions
            .iter()
            .cloned()
            .zip(std::mem::take(&mut self.read_up_to))
            .collect();
        let last_records = origin
            .partitions
            .iter()
            .cloned()
            .zip(std::mem::take(&mut self.last_records))
            .collect();
        Ok(Some(SourceBatch {
            source: Arc::clone(&self.source),
            rows,
            origin,
            dead_letters: std::mem::take(&mut self.dead_letters),
            read_up_to,
            last_records,
        }))
    }
}

fn dead_letter(
    source: &str,
    (partition, offset): (TopicPartition, i64),
    (record, headers): (&Record<'_>, RecordHeaders<'_>),
    reject: &Reject,
) -> DeadLetter {
    let cut = |bytes: &[u8], most: usize| {
        let is_cut = bytes.len() > most;
        (bytes[..bytes.len().min(most)].to_vec(), is_cut)
    };
    let key = record.key.map(|key| cut(key, DEAD_LETTER_KEY_MAX_BYTES));
    let (key, key_is_cut) = key.unzip();
    let payload = record.payload.unwrap_or_default();
    let (payload, payload_is_cut) = cut(payload, DEAD_LETTER_PAYLOAD_MAX_BYTES);
    let (headers, headers_are_cut) = headers.within(DEAD_LETTER_HEADERS_MAX_BYTES);
    DeadLetter {
        source: source.to_owned(),
        partition,
        offset,
        kafka_time_us: record.kafka_time_us,
        key,
        payload,
        headers,
        is_cut: key_is_cut == Some(true) || payload_is_cut || headers_are_cut,
        reason: reject.reason.label(),
        detail: reject.to_string(),
    }
}
