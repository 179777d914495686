//! The store's queue of scores: pending ones, the outbox, and notes on events without a prediction.
//! A part of each shard's state, so it outlives a process and is lost with the last writes.

use std::collections::BTreeMap;
use std::sync::Arc;

use forebay_core::PortResult;
use forebay_core::ports::{
    OutboxEntry, PendingEntry, PendingLoad, Published, ScoreLoad, ScoreQueue, Settled,
    UnscoredEntry,
};
use forebay_core::prediction::Arm;
use forebay_core::settlement::{ScoreOutcome, Unscored, UnscoredNotes, UnscoredReason};

use super::{MemoryStore, newest};
use crate::fate::Point;

/// What is under `name`; a name is copied once, since loads are asked for all the time.
fn of<'a, T: Default>(all: &'a mut BTreeMap<String, T>, name: &str) -> &'a mut T {
    if !all.contains_key(name) {
        all.insert(name.to_owned(), T::default());
    }
    all.get_mut(name).expect("it is there by now")
}

impl ScoreQueue for MemoryStore {
    fn score_load(&self, shard: u16) -> PortResult<BTreeMap<String, ScoreLoad>> {
        let contents = self.contents.lock();
        let state = newest(&contents, shard)?;
        let mut loads: BTreeMap<String, ScoreLoad> = BTreeMap::new();
        for score in state.pending.values() {
            let load = of(&mut loads, &score.key.deployment);
            let of_arm = load.arms.entry(score.key.arm()).or_default();
            *of_arm = of_arm.and(PendingLoad {
                scores: 1,
                bytes: score.request.len() as u64,
                oldest_us: Some(score.event_time_us),
            });
        }
        for entry in state.outbox.values() {
            let (key, record) = entry.as_ref();
            let load = of(&mut loads, &key.deployment);
            *of(&mut load.outbox, &record.topic) += 1;
        }
        Ok(loads)
    }

    fn pending(
        &self,
        shard: u16,
        deployment: &str,
        arm: Arm,
        from: u64,
        limit: usize,
    ) -> PortResult<Vec<PendingEntry>> {
        let contents = self.contents.lock();
        let of = newest(&contents, shard)?
            .pending
            .range(from..)
            .filter(|(_, score)| score.key.deployment == deployment && score.key.arm() == arm);
        Ok(of
            .take(limit)
            .map(|(sequence, score)| PendingEntry {
                sequence: *sequence,
                score: Arc::clone(score),
            })
            .collect())
    }

    fn settle(&self, shard: u16, settled: &[Settled]) -> PortResult<()> {
        self.write(Point::Settle, shard, |_, state| {
            let mut notes = UnscoredNotes::default();
            for Settled { entry, outcome } in settled {
                if state.pending.remove(&entry.sequence).is_none() {
                    continue;
                }
                let key = &entry.score.key;
                match outcome {
                    ScoreOutcome::Scored(record) => {
                        let sequence = state.next();
                        let entry = Arc::new((key.clone(), record.clone()));
                        state.outbox.insert(sequence, entry);
                    }
                    ScoreOutcome::Unscored(reason, detail) => notes.add(key, *reason, detail),
                }
            }
            state.note(notes.into_notes());
            Ok(())
        })
    }

    fn outbox(
        &self,
        shard: u16,
        (deployment, topic): (&str, &str),
        from: u64,
        limit: usize,
    ) -> PortResult<Vec<OutboxEntry>> {
        let contents = self.contents.lock();
        let of = newest(&contents, shard)?
            .outbox
            .range(from..)
            .filter(|(_, entry)| entry.0.deployment == deployment && entry.1.topic == topic);
        Ok(of
            .take(limit)
            .map(|(sequence, entry)| OutboxEntry {
                sequence: *sequence,
                key: entry.0.clone(),
                record: entry.1.clone(),
            })
            .collect())
    }

    fn clear_outbox(&self, shard: u16, published: &[Published<'_>]) -> PortResult<()> {
        self.write(Point::ClearOutbox, shard, |_, state| {
            let mut notes = UnscoredNotes::default();
            for Published { entry, refused } in published {
                let was_there = state.outbox.remove(&entry.sequence).is_some();
                if let Some(words) = refused.filter(|_| was_there) {
                    notes.add(&entry.key, UnscoredReason::PredictionRefused, words);
                }
            }
            state.note(notes.into_notes());
            Ok(())
        })
    }

    fn note(&self, shard: u16, notes: &[Unscored]) -> PortResult<()> {
        self.write(Point::Settle, shard, |_, state| {
            state.note(notes.to_vec());
            Ok(())
        })
    }

    fn unscored(&self, shard: u16, from: u64, limit: usize) -> PortResult<Vec<UnscoredEntry>> {
        let contents = self.contents.lock();
        let notes = newest(&contents, shard)?.unscored.range(from..);
        Ok(notes
            .take(limit)
            .map(|(sequence, note)| UnscoredEntry {
                sequence: *sequence,
                note: note.clone(),
            })
            .collect())
    }

    fn clear_unscored(&self, shard: u16, sequence: u64) -> PortResult<()> {
        self.write(Point::ClearNotes, shard, |_, state| {
            state.unscored.retain(|at, _| *at > sequence);
            Ok(())
        })
    }

    fn number_notes_from(&self, shard: u16, first: u64) -> PortResult<()> {
        let mut contents = self.contents.lock();
        contents.decide(shard);
        let mut state = newest(&contents, shard)?.clone();
        state.next_sequence = state.next_sequence.max(first);
        contents.shards[usize::from(shard)].push(state);
        Ok(())
    }
}
