//! What a batch brings for the first time, as the counters tell it. After a crash or a halt rows
//! are read again, because state or archive lack them; the process that read them before has
//! counted them. Dead letters count whenever they are made: a source of another shape may refuse
//! what was a row before, and its letters are told from the first one on.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use forebay_core::dead_letter::DeadLetterReason;
use forebay_core::ports::{DeadLetter, SourceBatch};
use forebay_core::progress::TopicPartition;
use forebay_core::time::Micros;

use crate::status::Counters;

/// Counts of one batch, without what was read before.
#[derive(Debug)]
pub(super) struct Brought<'a> {
    rows: u64,
    again: u64,
    late: u64,
    ahead: u64,
    dead_letters: &'a [DeadLetter],
}

impl<'a> Brought<'a> {
    /// Of `batch`, of whose rows these are `late` and so many lie `ahead`. `before` has for each of
    /// its partitions the offset below which it was read before.
    pub(super) fn of(
        batch: &'a SourceBatch,
        late: &[bool],
        ahead: u64,
        before: &BTreeMap<TopicPartition, i64>,
    ) -> Self {
        let origin = &batch.origin;
        let until = |place| before.get(place).copied().unwrap_or(0);
        let ends: Vec<i64> = origin.partitions.iter().map(until).collect();
        let mut brought = Self {
            rows: 0,
            again: 0,
            late: 0,
            ahead,
            dead_letters: &batch.dead_letters,
        };
        let rows = origin.partition.iter().zip(&origin.offset).zip(late);
        for ((slot, offset), late) in rows {
            let fresh = *offset >= ends[*slot as usize];
            brought.rows += u64::from(fresh);
            brought.again += u64::from(!fresh);
            brought.late += u64::from(fresh && *late);
        }
        brought
    }

    /// Add it to what is counted of `source`, whose watermark is now this.
    pub(super) fn count(&self, counters: &Counters, source: &str, watermark_us: Option<Micros>) {
        let refused = |letter: &&DeadLetter| letter.reason == DeadLetterReason::Refused.label();
        let refused = self.dead_letters.iter().filter(refused).count() as u64;
        counters.rows.fetch_add(self.rows, Ordering::Relaxed);
        counters.late_rows.fetch_add(self.late, Ordering::Relaxed);
        counters.refused.fetch_add(refused, Ordering::Relaxed);
        if !self.dead_letters.is_empty() {
            let mut reasons = counters.dead_letters.lock();
            for letter in self.dead_letters {
                let of = (letter.source.clone(), letter.reason);
                *reasons.entry(of).or_default() += 1;
            }
        }
        let mut sources = counters.sources.lock();
        let status = sources.entry(source.to_owned()).or_default();
        status.rows += self.rows;
        status.again_rows += self.again;
        status.dead_letters += self.dead_letters.len() as u64;
        status.ahead_rows += self.ahead;
        status.watermark_us = watermark_us;
    }
}
