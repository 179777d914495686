//! Counters of the reader, for the exposition of metrics. They only grow; names and labels are its
//! business. Written by the reader thread, read by any; relaxed, since nothing is decided by them.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use forebay_core::dead_letter::DeadLetterReason;
use parking_lot::Mutex;

use crate::decode::{Guess, Guessed};

/// What one [`crate::KafkaLog`] has done since it was made. Shared: read it from any thread.
#[derive(Debug, Default)]
pub struct ReaderStats {
    records: AtomicU64,
    bytes: AtomicU64,
    broker_errors: AtomicU64,
    dead_letters: [AtomicU64; DeadLetterReason::ALL.len()],
    /// By source and column. Locked once a batch, and not at all where nothing was guessed.
    guesses: Mutex<BTreeMap<(String, String, Guess), u64>>,
}

impl ReaderStats {
    /// Records read, good and bad. A record that two sources read counts once.
    #[must_use]
    pub fn records(&self) -> u64 {
        self.records.load(Ordering::Relaxed)
    }

    /// Bytes of their keys and values.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Errors that the client reported and that it heals by itself.
    #[must_use]
    pub fn broker_errors(&self) -> u64 {
        self.broker_errors.load(Ordering::Relaxed)
    }

    /// Dead letters for `reason`, over all sources.
    #[must_use]
    pub fn dead_letters(&self, reason: DeadLetterReason) -> u64 {
        self.dead_letters[reason as usize].load(Ordering::Relaxed)
    }

    /// What was guessed so far, by source, column and kind.
    #[must_use]
    pub fn guesses(&self) -> BTreeMap<(String, String, Guess), u64> {
        self.guesses.lock().clone()
    }

    pub(crate) fn add_guesses(&self, source: &str, guesses: Vec<Guessed>) {
        if guesses.is_empty() {
            return;
        }
        let mut all = self.guesses.lock();
        for Guessed {
            column,
            guess,
            count,
        } in guesses
        {
            *all.entry((source.to_owned(), column, guess)).or_default() += count;
        }
    }

    pub(crate) fn add_read(&self, records: u64, bytes: u64) {
        self.records.fetch_add(records, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(crate) fn add_broker_error(&self) {
        self.broker_errors.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn add_dead_letter(&self, reason: DeadLetterReason) {
        self.dead_letters[reason as usize].fetch_add(1, Ordering::Relaxed);
    }
}
