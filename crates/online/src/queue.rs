//! The scores that a shard still owes and the records that wait to be published. Pending scores
//! live in memory and in `pending`; the outbox lives on disk alone, read from its head. Their
//! writes: a commit adds pending scores in the epoch's batch; `settle` swaps a pending score for an
//! outbox record in one batch; `clear_outbox` deletes what Kafka has.
//!
//! A pending score is known by its prediction key: added once, settled once, whatever is replayed.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use forebay_core::bytes::BytesError;
use forebay_core::invariant;
use forebay_core::ports::OutboxEntry;
use forebay_core::prediction::{OutboxRecord, PendingScore, PredictionKey};
use forebay_core::time::Micros;

use crate::database::{Batch, Database};
use crate::error::OnlineResult;
use crate::format;

/// Expected size of a settled score and of a removal in a batch, bytes.
const SETTLED_BYTES: usize = 512;
const CLEARED_BYTES: usize = 64;

/// Oldest event time that some pending score of each shard still reads at, and the oldest one that
/// the caller asked to keep; [`Micros::MAX`] without one. Expiry in any shard looks at all of them,
/// since a score reads keys of several shards.
#[derive(Debug, Clone)]
pub(crate) struct PendingFloor(Arc<[AtomicI64]>);

impl PendingFloor {
    pub(crate) fn new(shards: u16) -> Self {
        Self((0..=shards).map(|_| AtomicI64::new(Micros::MAX)).collect())
    }

    /// What the caller asks to keep: the slot behind those of the shards.
    pub(crate) fn keep_from(&self, oldest_us: Option<Micros>) {
        if let Some(slot) = self.0.last() {
            slot.store(oldest_us.unwrap_or(Micros::MAX), Ordering::Release);
        }
    }

    fn set(&self, shard: u16, oldest: Micros) {
        self.0[usize::from(shard)].store(oldest, Ordering::Release);
    }

    pub(crate) fn oldest_us(&self) -> Micros {
        self.0
            .iter()
            .map(|oldest| oldest.load(Ordering::Acquire))
            .min()
            .unwrap_or(Micros::MAX)
    }
}

/// Pending scores and outbox of one shard.
#[derive(Debug)]
pub(crate) struct Queue {
    shard: u16,
    floor: PendingFloor,
    pending: BTreeMap<u64, Arc<PendingScore>>,
    by_key: HashMap<PredictionKey, u64>,
    by_time: BTreeSet<(Micros, u64)>,
    /// No outbox record lies below: scans start here and do not walk over deleted ones.
    outbox_head: u64,
    next_outbox: u64,
}

impl Queue {
    /// As the disk holds it.
    pub(crate) fn recover(
        database: &Database,
        shard: u16,
        floor: PendingFloor,
    ) -> OnlineResult<Self> {
        let stored_next = database.get(
            format::FAMILY_META,
            format::META_OUTBOX,
            "the outbox counter",
            format::decode_counter,
        )?;
        let mut queue = Self {
            shard,
            floor,
            pending: BTreeMap::new(),
            by_key: HashMap::new(),
            by_time: BTreeSet::new(),
            outbox_head: 0,
            next_outbox: stored_next.unwrap_or(0),
        };
        database.scan(format::FAMILY_PENDING, &[], None, |key, value| {
            let corrupt = |why: BytesError| database.corrupt("a pending score", why);
            let sequence = format::parse_sequence(key).map_err(corrupt)?;
            let score = format::decode_pending(value).map_err(corrupt)?;
            if queue.contains(&score.key) {
                return Err(corrupt("two pending scores of one prediction".into()));
            }
            queue.insert(sequence, Arc::new(score));
            Ok(true)
        })?;
        queue.outbox_head = queue.next_outbox;
        database.scan(format::FAMILY_OUTBOX, &[], None, |key, _| {
            queue.outbox_head = format::parse_sequence(key)
                .map_err(|why| database.corrupt("an outbox key", why))?;
            Ok(false)
        })?;
        queue.publish_floor();
        Ok(queue)
    }

    fn insert(&mut self, sequence: u64, score: Arc<PendingScore>) {
        invariant!(
            PendingOnce,
            !self.by_key.contains_key(&score.key),
            "shard {}, sequence {sequence}",
            self.shard
        );
        invariant!(
            PendingSequencesAscend,
            self.pending
                .last_key_value()
                .is_none_or(|(last, _)| *last < sequence),
            "shard {}, sequence {sequence}",
            self.shard
        );
        if self.by_key.contains_key(&score.key) {
            return;
        }
        self.by_key.insert(score.key.clone(), sequence);
        self.by_time.insert((score.event_time_us, sequence));
        self.pending.insert(sequence, score);
    }

    fn publish_floor(&self) {
        self.floor.set(
            self.shard,
            self.by_time.first().map_or(Micros::MAX, |(time, _)| *time),
        );
    }

    pub(crate) fn contains(&self, key: &PredictionKey) -> bool {
        self.by_key.contains_key(key)
    }

    /// Take over scores that a commit has just written.
    pub(crate) fn add(&mut self, scores: Vec<(u64, PendingScore)>) {
        if !scores.is_empty() {
            scores
                .into_iter()
                .for_each(|(sequence, score)| self.insert(sequence, Arc::new(score)));
            self.publish_floor();
            self.check_indexes();
        }
    }

    /// What holds of the queue after every change.
    fn check_indexes(&self) {
        let pending = self.pending.len();
        invariant!(
            IndexesAgree,
            self.by_key.len() == pending && self.by_time.len() == pending,
            "shard {}: {pending} scores, {} keys, {} times",
            self.shard,
            self.by_key.len(),
            self.by_time.len()
        );
        invariant!(
            OutboxHeadBehindTail,
            self.outbox_head <= self.next_outbox,
            "shard {}: head {}, end {}",
            self.shard,
            self.outbox_head,
            self.next_outbox
        );
    }

    /// Put `scores`, numbered from `first`, into a commit's batch.
    pub(crate) fn stage(
        batch: &mut Batch<'_>,
        first: u64,
        scores: Vec<PendingScore>,
    ) -> Vec<(u64, PendingScore)> {
        let mut family = batch.family(format::FAMILY_PENDING);
        let numbered: Vec<_> = (first..).zip(scores).collect();
        for (sequence, score) in &numbered {
            family.put(&sequence.to_be_bytes(), &format::encode_pending(score));
        }
        numbered
    }

    pub(crate) fn pending_len(&self) -> usize {
        self.pending.len()
    }

    pub(crate) fn outbox_len(&self) -> u64 {
        self.next_outbox - self.outbox_head
    }

    pub(crate) fn oldest_pending(&self, limit: usize) -> Vec<PendingScore> {
        self.pending
            .values()
            .take(limit)
            .map(|score| score.as_ref().clone())
            .collect()
    }

    /// See [`forebay_core::ports::OnlineStore::settle`].
    pub(crate) fn settle(
        &mut self,
        database: &Database,
        scored: Vec<(PendingScore, Option<OutboxRecord>)>,
    ) -> OnlineResult<Vec<OutboxEntry>> {
        let mut batch = database.batch(scored.len() * SETTLED_BYTES)?;
        let mut settled = BTreeSet::new();
        let mut entries = Vec::with_capacity(scored.len());
        for (score, record) in scored {
            let Some(&sequence) = self.by_key.get(&score.key) else {
                continue;
            };
            if !settled.insert(sequence) {
                continue;
            }
            batch.delete(format::FAMILY_PENDING, &sequence.to_be_bytes());
            if let Some(record) = record {
                let sequence = self.next_outbox + entries.len() as u64;
                batch.put(
                    format::FAMILY_OUTBOX,
                    &sequence.to_be_bytes(),
                    &format::encode_outbox(&record),
                );
                entries.push(OutboxEntry { sequence, record });
            }
        }
        if settled.is_empty() {
            return Ok(entries);
        }
        let next_outbox = self.next_outbox + entries.len() as u64;
        if !entries.is_empty() {
            batch.put(
                format::FAMILY_META,
                format::META_OUTBOX,
                &format::encode_counter(next_outbox),
            );
        }
        batch.write()?;
        self.next_outbox = next_outbox;
        for sequence in settled {
            if let Some(score) = self.pending.remove(&sequence) {
                self.by_key.remove(&score.key);
                self.by_time.remove(&(score.event_time_us, sequence));
            }
        }
        self.publish_floor();
        self.check_indexes();
        Ok(entries)
    }

    pub(crate) fn oldest_outbox(
        &self,
        database: &Database,
        limit: usize,
    ) -> OnlineResult<Vec<OutboxEntry>> {
        let mut entries = Vec::new();
        if limit == 0 || self.outbox_head >= self.next_outbox {
            return Ok(entries);
        }
        database.scan(
            format::FAMILY_OUTBOX,
            &self.outbox_head.to_be_bytes(),
            None,
            |key, value| {
                let corrupt = |why: BytesError| database.corrupt("an outbox record", why);
                let sequence = format::parse_sequence(key).map_err(corrupt)?;
                let expected = self.outbox_head + entries.len() as u64;
                invariant!(
                    OutboxSequencesAscend,
                    sequence == expected,
                    "shard {}: record {sequence} where {expected} was due",
                    self.shard
                );
                entries.push(OutboxEntry {
                    sequence,
                    record: format::decode_outbox(value).map_err(corrupt)?,
                });
                Ok(entries.len() < limit)
            },
        )?;
        Ok(entries)
    }

    pub(crate) fn clear_outbox(&mut self, database: &Database, up_to: u64) -> OnlineResult<()> {
        let end = up_to.saturating_add(1).min(self.next_outbox);
        if end <= self.outbox_head {
            return Ok(());
        }
        let mut batch = database.batch(CLEARED_BYTES)?;
        let mut family = batch.family(format::FAMILY_OUTBOX);
        (self.outbox_head..end).for_each(|sequence| family.delete(&sequence.to_be_bytes()));
        batch.write()?;
        self.outbox_head = end;
        self.check_indexes();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_floor_is_the_least_of_the_shards_and_of_what_the_caller_keeps() {
        let floor = PendingFloor::new(2);
        assert_eq!(floor.oldest_us(), Micros::MAX);
        floor.set(1, 70);
        floor.keep_from(Some(40));
        assert_eq!(floor.oldest_us(), 40);
        floor.set(0, 30);
        assert_eq!(floor.oldest_us(), 30);
        floor.keep_from(None);
        floor.set(0, Micros::MAX);
        assert_eq!(floor.oldest_us(), 70);
    }
}
