//! The queues of the scoring stage in one shard: pending scores, the outbox, and notes on events
//! that have no prediction. The records live on disk; memory holds an index of them (place, size,
//! event time), by deployment, and there by what they wait for: an arm, or a topic. So each reader
//! meets its own records alone, and a stuck one stands in no other's way. The index is made from
//! the records themselves, so records of older builds need no change.
//!
//! Their writes: a commit adds pending scores and notes in the epoch's batch; `settle` swaps a
//! pending score for an outbox record or a note; `clear_outbox` deletes what the broker has and
//! swaps what its topic refuses for a note; `clear_unscored` deletes the notes that the archive
//! has. Whatever is asked twice is done once: a place that is no longer there is skipped.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use forebay_core::bytes::{BytesError, BytesResult};
use forebay_core::invariant;
use forebay_core::ports::{
    OutboxEntry, PendingEntry, PendingLoad, Published, ScoreLoad, Settled, UnscoredEntry,
};
use forebay_core::prediction::{Arm, PendingScore};
use forebay_core::settlement::{ScoreOutcome, Unscored, UnscoredNotes, UnscoredReason};
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

/// What is known of a pending score without reading it.
#[derive(Debug, Clone, Copy)]
struct Mark {
    time_us: Micros,
    bytes: u64,
}

/// The pending scores that wait for one arm.
#[derive(Debug, Default)]
struct Waiting {
    marks: BTreeMap<u64, Mark>,
    /// How many there are of each event time.
    times: BTreeMap<Micros, u64>,
    bytes: u64,
}

impl Waiting {
    fn insert(&mut self, sequence: u64, mark: Mark) {
        let before = self.marks.insert(sequence, mark);
        invariant!(PendingOnce, before.is_none(), "sequence {sequence}");
        if before.is_none() {
            self.bytes += mark.bytes;
            *self.times.entry(mark.time_us).or_default() += 1;
        }
    }

    fn remove(&mut self, sequence: u64) {
        let Some(mark) = self.marks.remove(&sequence) else {
            return;
        };
        self.bytes -= mark.bytes;
        if let Some(count) = self.times.get_mut(&mark.time_us) {
            *count -= 1;
            if *count == 0 {
                self.times.remove(&mark.time_us);
            }
        }
    }

    fn oldest_us(&self) -> Option<Micros> {
        self.times.first_key_value().map(|(time_us, _)| *time_us)
    }
}

/// Pending scores that a batch holds and the index does not yet.
#[derive(Debug, Default)]
pub(crate) struct Staged(Vec<(u64, Arc<PendingScore>, u64)>);

/// The queues of one shard.
#[derive(Debug)]
pub(crate) struct Queue {
    shard: u16,
    floor: PendingFloor,
    /// By deployment and arm.
    pending: BTreeMap<String, BTreeMap<Arm, Waiting>>,
    /// By deployment and topic the places of records.
    outbox: BTreeMap<String, BTreeMap<String, BTreeSet<u64>>>,
    next_outbox: u64,
    /// No note lies below: scans start here and do not walk over deleted ones.
    note_head: u64,
    next_note: u64,
}

impl Queue {
    /// As the disk holds it.
    pub(crate) fn recover(
        database: &Database,
        shard: u16,
        floor: PendingFloor,
    ) -> OnlineResult<Self> {
        let counter = |key, what| -> OnlineResult<u64> {
            let stored = database.get(format::FAMILY_META, key, what, format::decode_counter)?;
            Ok(stored.unwrap_or(0))
        };
        let next_note = counter(format::META_UNSCORED, "the counter of notes")?;
        let mut queue = Self {
            shard,
            floor,
            pending: BTreeMap::new(),
            outbox: BTreeMap::new(),
            next_outbox: counter(format::META_OUTBOX, "the outbox counter")?,
            note_head: next_note,
            next_note,
        };
        database.scan(format::FAMILY_PENDING, &[], None, |key, value| {
            let corrupt = |why: BytesError| database.corrupt("a pending score", why);
            let sequence = format::parse_sequence(key).map_err(corrupt)?;
            let score = format::decode_pending(value).map_err(corrupt)?;
            queue.insert(sequence, &score, value.len() as u64);
            Ok(true)
        })?;
        database.scan(format::FAMILY_OUTBOX, &[], None, |key, value| {
            let corrupt = |why: BytesError| database.corrupt("an outbox record", why);
            let sequence = format::parse_sequence(key).map_err(corrupt)?;
            let (key, record) = format::decode_outbox(value).map_err(corrupt)?;
            queue.insert_record(sequence, &key.deployment, &record.topic);
            Ok(true)
        })?;
        database.scan(format::FAMILY_UNSCORED, &[], None, |key, _| {
            queue.note_head = format::parse_sequence(key)
                .map_err(|why: BytesError| database.corrupt("the key of a note", why))?;
            Ok(false)
        })?;
        queue.publish_floor();
        Ok(queue)
    }

    fn insert(&mut self, sequence: u64, score: &PendingScore, bytes: u64) {
        let mark = Mark {
            time_us: score.event_time_us,
            bytes,
        };
        let name = score.key.deployment.as_str();
        if !self.pending.contains_key(name) {
            self.pending.insert(name.to_owned(), BTreeMap::new());
        }
        if let Some(arms) = self.pending.get_mut(name) {
            let waiting = arms.entry(score.key.arm()).or_default();
            let last = waiting.marks.last_key_value().map(|(last, _)| *last);
            invariant!(
                PendingSequencesAscend,
                last.is_none_or(|last| last < sequence),
                "shard {}, sequence {sequence} after {last:?}",
                self.shard
            );
            waiting.insert(sequence, mark);
        }
    }

    fn insert_record(&mut self, sequence: u64, deployment: &str, topic: &str) {
        let topics = self.outbox.entry(deployment.to_owned()).or_default();
        let places = topics.entry(topic.to_owned()).or_default();
        invariant!(
            OutboxSequencesAscend,
            places.last().is_none_or(|last| *last < sequence),
            "shard {}: record {sequence} after {:?}",
            self.shard,
            places.last()
        );
        places.insert(sequence);
    }

    fn publish_floor(&self) {
        let waiting = self.pending.values().flat_map(BTreeMap::values);
        let oldest = waiting.filter_map(Waiting::oldest_us).min();
        self.floor.set(self.shard, oldest.unwrap_or(Micros::MAX));
    }

    /// What holds of the queue after every change.
    fn check_indexes(&self) {
        for (name, arms) in &self.pending {
            for (arm, waiting) in arms {
                invariant!(
                    IndexesAgree,
                    waiting.marks.is_empty() == waiting.times.is_empty(),
                    "shard {}, deployment {name} {arm:?}: {} scores, {} times",
                    self.shard,
                    waiting.marks.len(),
                    waiting.times.len()
                );
            }
        }
        let topics = self.outbox.values().flat_map(BTreeMap::values);
        let last = topics.filter_map(|places| places.last()).max();
        invariant!(
            OutboxHeadBehindTail,
            last.is_none_or(|last| *last < self.next_outbox) && self.note_head <= self.next_note,
            "shard {}: record {last:?} of {}, note {} of {}",
            self.shard,
            self.next_outbox,
            self.note_head,
            self.next_note
        );
    }

    /// Put `scores`, numbered from `first`, into a commit's batch.
    pub(crate) fn stage(
        batch: &mut Batch<'_>,
        first: u64,
        scores: Vec<Arc<PendingScore>>,
    ) -> Staged {
        let mut family = batch.family(format::FAMILY_PENDING);
        let mut staged = Vec::with_capacity(scores.len());
        for (sequence, score) in (first..).zip(scores) {
            let bytes = format::encode_pending(&score);
            family.put(&sequence.to_be_bytes(), &bytes);
            staged.push((sequence, score, bytes.len() as u64));
        }
        Staged(staged)
    }

    /// Take over scores that a commit has just written.
    pub(crate) fn add(&mut self, staged: &Staged) {
        if !staged.0.is_empty() {
            for (sequence, score, bytes) in &staged.0 {
                self.insert(*sequence, score, *bytes);
            }
            self.publish_floor();
        }
    }

    /// Put `notes` into a batch; [`Self::noted`] follows when it is written.
    pub(crate) fn stage_notes(&self, batch: &mut Batch<'_>, notes: &[Unscored]) {
        if notes.is_empty() {
            return;
        }
        let mut family = batch.family(format::FAMILY_UNSCORED);
        for (sequence, note) in (self.next_note..).zip(notes) {
            family.put(&sequence.to_be_bytes(), &format::encode_unscored(note));
        }
        let next = format::encode_counter(self.next_note + notes.len() as u64);
        batch.put(format::FAMILY_META, format::META_UNSCORED, &next);
    }

    /// A batch with `notes` notes is written.
    pub(crate) fn noted(&mut self, notes: usize) {
        self.next_note += notes as u64;
    }

    pub(crate) fn outbox_len(&self) -> u64 {
        let topics = self.outbox.values().flat_map(BTreeMap::values);
        topics.map(|places| places.len() as u64).sum()
    }

    /// See [`forebay_core::ports::ScoreQueue::score_load`].
    pub(crate) fn load(&self) -> BTreeMap<String, ScoreLoad> {
        let mut loads: BTreeMap<String, ScoreLoad> = BTreeMap::new();
        for (name, arms) in &self.pending {
            let load = |waiting: &Waiting| PendingLoad {
                scores: waiting.marks.len() as u64,
                bytes: waiting.bytes,
                oldest_us: waiting.oldest_us(),
            };
            let arms = arms.iter().map(|(arm, waiting)| (*arm, load(waiting)));
            loads.entry(name.clone()).or_default().arms = arms.collect();
        }
        for (name, topics) in &self.outbox {
            let topics = topics.iter();
            let topics = topics.map(|(topic, places)| (topic.clone(), places.len() as u64));
            loads.entry(name.clone()).or_default().outbox = topics.collect();
        }
        loads
    }

    /// See [`forebay_core::ports::ScoreQueue::pending`].
    pub(crate) fn pending(
        &self,
        database: &Database,
        (deployment, arm): (&str, Arm),
        from: u64,
        limit: usize,
    ) -> OnlineResult<Vec<PendingEntry>> {
        let places = self
            .pending
            .get(deployment)
            .and_then(|arms| arms.get(&arm))
            .into_iter()
            .flat_map(|waiting| waiting.marks.range(from..));
        places
            .take(limit)
            .map(|(sequence, _)| {
                let score = read(
                    database,
                    format::FAMILY_PENDING,
                    *sequence,
                    "a pending score",
                    format::decode_pending,
                )?;
                Ok(PendingEntry {
                    sequence: *sequence,
                    score: Arc::new(score),
                })
            })
            .collect()
    }

    fn is_pending(&self, entry: &PendingEntry) -> bool {
        let key = &entry.score.key;
        self.pending
            .get(&key.deployment)
            .and_then(|arms| arms.get(&key.arm()))
            .is_some_and(|waiting| waiting.marks.contains_key(&entry.sequence))
    }

    /// See [`forebay_core::ports::ScoreQueue::settle`].
    pub(crate) fn settle(&mut self, database: &Database, settled: &[Settled]) -> OnlineResult<()> {
        let mut batch = database.batch(settled.len() * SETTLED_BYTES)?;
        let mut done: BTreeSet<u64> = BTreeSet::new();
        let mut notes = UnscoredNotes::default();
        let mut sent: Vec<(u64, &str, &str)> = Vec::new();
        for Settled { entry, outcome } in settled {
            if !self.is_pending(entry) || !done.insert(entry.sequence) {
                continue;
            }
            batch.delete(format::FAMILY_PENDING, &entry.sequence.to_be_bytes());
            let key = &entry.score.key;
            match outcome {
                ScoreOutcome::Scored(record) => {
                    let place = self.next_outbox + sent.len() as u64;
                    let bytes = format::encode_outbox(key, record);
                    batch.put(format::FAMILY_OUTBOX, &place.to_be_bytes(), &bytes);
                    sent.push((place, &key.deployment, &record.topic));
                }
                ScoreOutcome::Unscored(reason, detail) => notes.add(key, *reason, detail),
            }
        }
        if done.is_empty() {
            return Ok(());
        }
        let next_outbox = self.next_outbox + sent.len() as u64;
        if !sent.is_empty() {
            let next = format::encode_counter(next_outbox);
            batch.put(format::FAMILY_META, format::META_OUTBOX, &next);
        }
        let notes = notes.into_notes();
        self.stage_notes(&mut batch, &notes);
        batch.write()?;
        self.noted(notes.len());
        self.next_outbox = next_outbox;
        for (place, deployment, topic) in sent {
            self.insert_record(place, deployment, topic);
        }
        for Settled { entry, .. } in settled {
            let key = &entry.score.key;
            if done.contains(&entry.sequence)
                && let Some(arms) = self.pending.get_mut(&key.deployment)
                && let Some(waiting) = arms.get_mut(&key.arm())
            {
                waiting.remove(entry.sequence);
            }
        }
        self.pending.retain(|_, arms| {
            arms.retain(|_, waiting| !waiting.marks.is_empty());
            !arms.is_empty()
        });
        self.publish_floor();
        self.check_indexes();
        Ok(())
    }

    /// See [`forebay_core::ports::ScoreQueue::outbox`].
    pub(crate) fn outbox(
        &self,
        database: &Database,
        (deployment, topic): (&str, &str),
        from: u64,
        limit: usize,
    ) -> OnlineResult<Vec<OutboxEntry>> {
        let places = self
            .outbox
            .get(deployment)
            .and_then(|topics| topics.get(topic))
            .into_iter()
            .flat_map(|places| places.range(from..));
        places
            .take(limit)
            .map(|sequence| {
                let (key, record) = read(
                    database,
                    format::FAMILY_OUTBOX,
                    *sequence,
                    "an outbox record",
                    format::decode_outbox,
                )?;
                Ok(OutboxEntry {
                    sequence: *sequence,
                    key,
                    record,
                })
            })
            .collect()
    }

    fn is_in_outbox(&self, entry: &OutboxEntry) -> bool {
        self.outbox
            .get(&entry.key.deployment)
            .and_then(|topics| topics.get(&entry.record.topic))
            .is_some_and(|places| places.contains(&entry.sequence))
    }

    /// See [`forebay_core::ports::ScoreQueue::clear_outbox`].
    pub(crate) fn clear_outbox(
        &mut self,
        database: &Database,
        published: &[Published<'_>],
    ) -> OnlineResult<()> {
        let mut batch = database.batch(published.len() * CLEARED_BYTES)?;
        let mut notes = UnscoredNotes::default();
        let mut done = BTreeSet::new();
        for Published { entry, refused } in published {
            if !self.is_in_outbox(entry) || !done.insert(entry.sequence) {
                continue;
            }
            batch.delete(format::FAMILY_OUTBOX, &entry.sequence.to_be_bytes());
            if let Some(words) = refused {
                notes.add(&entry.key, UnscoredReason::PredictionRefused, words);
            }
        }
        if done.is_empty() {
            return Ok(());
        }
        let notes = notes.into_notes();
        self.stage_notes(&mut batch, &notes);
        batch.write()?;
        self.noted(notes.len());
        for Published { entry, .. } in published {
            if let Some(topics) = self.outbox.get_mut(&entry.key.deployment)
                && let Some(places) = topics.get_mut(&entry.record.topic)
            {
                places.remove(&entry.sequence);
            }
        }
        self.outbox.retain(|_, topics| {
            topics.retain(|_, places| !places.is_empty());
            !topics.is_empty()
        });
        self.check_indexes();
        Ok(())
    }

    /// See [`forebay_core::ports::ScoreQueue::note`].
    pub(crate) fn note(&mut self, database: &Database, notes: &[Unscored]) -> OnlineResult<()> {
        let mut batch = database.batch(notes.len() * CLEARED_BYTES)?;
        self.stage_notes(&mut batch, notes);
        batch.write()?;
        self.noted(notes.len());
        Ok(())
    }

    /// See [`forebay_core::ports::ScoreQueue::unscored`].
    pub(crate) fn unscored(
        &self,
        database: &Database,
        from: u64,
        limit: usize,
    ) -> OnlineResult<Vec<UnscoredEntry>> {
        let mut entries = Vec::new();
        let from = from.max(self.note_head);
        if limit == 0 || from >= self.next_note {
            return Ok(entries);
        }
        database.scan(
            format::FAMILY_UNSCORED,
            &from.to_be_bytes(),
            None,
            |key, value| {
                let corrupt = |why: BytesError| database.corrupt("a note on unscored events", why);
                entries.push(UnscoredEntry {
                    sequence: format::parse_sequence(key).map_err(corrupt)?,
                    note: format::decode_unscored(value).map_err(corrupt)?,
                });
                Ok(entries.len() < limit)
            },
        )?;
        Ok(entries)
    }

    /// See [`forebay_core::ports::ScoreQueue::clear_unscored`].
    pub(crate) fn clear_unscored(&mut self, database: &Database, up_to: u64) -> OnlineResult<()> {
        let end = up_to.saturating_add(1).min(self.next_note);
        if end <= self.note_head {
            return Ok(());
        }
        let mut batch = database.batch(CLEARED_BYTES)?;
        batch.delete_range(
            format::FAMILY_UNSCORED,
            &self.note_head.to_be_bytes(),
            &end.to_be_bytes(),
        );
        batch.write()?;
        self.note_head = end;
        Ok(())
    }

    /// See [`forebay_core::ports::ScoreQueue::number_notes_from`].
    pub(crate) fn number_notes_from(
        &mut self,
        database: &Database,
        first: u64,
    ) -> OnlineResult<()> {
        if first <= self.next_note {
            return Ok(());
        }
        let mut batch = database.batch(CLEARED_BYTES)?;
        let next = format::encode_counter(first);
        batch.put(format::FAMILY_META, format::META_UNSCORED, &next);
        batch.write()?;
        if self.note_head == self.next_note {
            self.note_head = first;
        }
        self.next_note = first;
        Ok(())
    }
}

/// A record that the index says is there.
fn read<T>(
    database: &Database,
    family: &'static str,
    sequence: u64,
    what: &'static str,
    decode: impl FnOnce(&[u8]) -> BytesResult<T>,
) -> OnlineResult<T> {
    database
        .get(family, &sequence.to_be_bytes(), what, decode)?
        .ok_or_else(|| database.corrupt(what, format!("number {sequence} is not there")))
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
