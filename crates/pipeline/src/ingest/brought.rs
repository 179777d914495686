//! What a batch brings for the first time, as the counters tell it. After a crash or a halt rows
//! are read again, because state or archive lack them; the process that read them before has
//! counted them. Dead letters count whenever they are made: a source of another shape may refuse
//! what was a row before, and its letters are told from the first one on.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use forebay_core::ports::{CompiledView, DeadLetter, SourceBatch};
use forebay_core::progress::TopicPartition;
use forebay_core::time::Micros;

use crate::admit::Piece;
use crate::status::Counters;

/// A view and what it folds.
type Folded = (Arc<dyn CompiledView>, Option<Piece>);

/// Counts of one batch, without what was read before.
#[derive(Debug)]
pub(super) struct Brought<'a> {
    rows: u64,
    again: u64,
    late: u64,
    ahead: u64,
    dead_letters: &'a [DeadLetter],
    /// Of each view that leaves out rows its name and their number.
    left_out: Vec<(&'a str, u64)>,
}

impl<'a> Brought<'a> {
    /// Of `batch` and what views fold of it; of its rows these are `late` and so many lie `ahead`.
    /// `before` has for each of its partitions the offset below which it was read before.
    pub(super) fn of(
        (batch, folds): (&'a SourceBatch, &'a [Folded]),
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
            left_out: Vec::new(),
        };
        let rows = origin.partition.iter().zip(&origin.offset).zip(late);
        for ((slot, offset), late) in rows {
            let fresh = *offset >= ends[*slot as usize];
            brought.rows += u64::from(fresh);
            brought.again += u64::from(!fresh);
            brought.late += u64::from(fresh && *late);
        }
        let is_fresh = |row: usize| origin.offset[row] >= ends[origin.partition[row] as usize];
        for (view, piece) in folds {
            let left_out = piece.iter().flat_map(|piece| &piece.left_out);
            let fresh = left_out.filter(|fault| is_fresh(fault.row as usize));
            match fresh.count() {
                0 => {}
                rows => brought.left_out.push((&view.spec().name, rows as u64)),
            }
        }
        brought
    }

    /// Add it to what is counted of `source`, whose watermark is now this.
    pub(super) fn count(&self, counters: &Counters, source: &str, watermark_us: Option<Micros>) {
        counters.rows.fetch_add(self.rows, Ordering::Relaxed);
        counters.late_rows.fetch_add(self.late, Ordering::Relaxed);
        if !self.left_out.is_empty() {
            let mut left_out = counters.left_out.lock();
            for (view, rows) in &self.left_out {
                let of = (source.to_owned(), (*view).to_owned());
                *left_out.entry(of).or_default() += rows;
            }
        }
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
