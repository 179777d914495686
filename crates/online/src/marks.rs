//! Decisions about time that a shard has recorded beside its offsets: under which bound rows were
//! read, and where idle partitions are held. `commit` writes them ahead of the epoch's batch; a
//! start of the pipeline reads them back, and the floor of retention counts an idle partition with
//! its hold.

use std::collections::HashMap;

use forebay_core::progress::TopicPartition;
use forebay_core::time::Micros;
use forebay_core::watermark::{MarkFact, MarkRecord};

use crate::database::{Batch, Database};
use crate::error::OnlineResult;
use crate::format;

/// Watermarks at which idle partitions are held.
#[derive(Debug, Clone, Default)]
pub(crate) struct Holds(HashMap<TopicPartition, Micros>);

impl Holds {
    /// What `records` say.
    pub(crate) fn of(records: &[MarkRecord]) -> Self {
        let mut holds = Self::default();
        holds.note(records);
        holds
    }

    /// Take over what `records` say.
    pub(crate) fn note(&mut self, records: &[MarkRecord]) {
        for record in records {
            if let MarkFact::Hold(hold) = record.fact {
                self.0.insert(record.partition.clone(), hold.watermark_us);
            }
        }
    }

    /// Of `partition`; None where it was never held.
    pub(crate) fn watermark_us(&self, partition: &TopicPartition) -> Option<Micros> {
        self.0.get(partition).copied()
    }
}

/// Put `records` into a batch.
pub(crate) fn put(batch: &mut Batch<'_>, records: &[MarkRecord]) {
    for record in records {
        let (key, value) = format::encode_mark(record);
        batch.put(format::FAMILY_META, &key, &value);
    }
}

/// Take `records` out with a batch.
pub(crate) fn delete(batch: &mut Batch<'_>, records: &[&MarkRecord]) {
    for record in records {
        let (key, _) = format::encode_mark(record);
        batch.delete(format::FAMILY_META, &key);
    }
}

/// All that `database` has.
pub(crate) fn read(database: &Database) -> OnlineResult<Vec<MarkRecord>> {
    let mut marks = Vec::new();
    database.scan(
        format::FAMILY_META,
        format::META_MARK,
        None,
        |key, value| {
            if !key.starts_with(format::META_MARK) {
                return Ok(false);
            }
            let mark = format::decode_mark(value)
                .map_err(|why| database.corrupt("a decision about time", why))?;
            marks.push(mark);
            Ok(true)
        },
    )?;
    Ok(marks)
}
