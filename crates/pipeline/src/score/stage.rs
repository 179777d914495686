//! The scoring thread of one arm of a deployment. It reads the oldest pending scores of it that
//! are released, a chunk at a time, reads their features as of each event, and asks the model;
//! several chunks are asked for at once, and each is settled when it and all before it are
//! answered, so that one entity's predictions by the arm stay in order. What other arms of the
//! deployment do is nothing to it, but that those of its role fill the outbox of the same topic,
//! and that after a change of routes what waits for the version before has its turn
//! ([`super::turn`]).
//!
//! After an outage nothing is kept: the chunks under way are let go, and once the pause is over the
//! oldest are read from the store again, one at a time until one passes.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::Ordering;
use std::time::Duration;

use forebay_core::error::with_causes;
use forebay_core::invariant;
use forebay_core::limits::{SCORING_CHUNK_MAX_BYTES, SCORING_CHUNK_MAX_ROWS};
use forebay_core::memory::{Part, Reservation};
use forebay_core::ports::{PendingEntry, Scores, Settled};
use forebay_core::prediction::Arm;
use forebay_core::settlement::{ScoreOutcome, UnscoredReason};
use forebay_core::{PortError, PortResult};

use crate::deployment::Deployment;
use crate::error::PipelineError;
use crate::retry::Outage;
use crate::score::ask::{Answer, Outcomes, Prepared, ask, prepare, records};
use crate::score::bounded::{Bound, known};
use crate::score::expire::{expired, unsent};
use crate::score::lane::{Lane, Room};
use crate::score::settle::{Verdict, asks_too_much, verdict};
use crate::score::turn::Turn;
use crate::status::DeploymentStatus;

/// Longest wait for a bell, so that a stop is seen.
const LISTEN: Duration = Duration::from_secs(1);
/// What a pending score takes in memory beside the bytes of its row: its key, its place, and what
/// holds them.
const ENTRY_BYTES: usize = 256;

/// The scoring thread of one arm of a deployment.
#[derive(Debug)]
pub(crate) struct Stage {
    lane: Lane,
    arm: Arm,
    /// For each shard the place from which on nothing is read yet.
    cursors: Vec<u64>,
    first_shard: u16,
    in_flight: VecDeque<Chunk>,
    /// Set after a failure: one chunk at a time until one passes.
    is_probing: bool,
    /// Rows of the next chunk at most: fewer while there is no memory for the features of more.
    chunk_max_rows: usize,
    /// There was no memory for the next chunk: nothing is read before one under way is settled,
    /// which gives its own back.
    awaits_memory: bool,
    turn: Turn,
    outage: Option<Outage>,
}

/// Pending scores under way together.
#[derive(Debug)]
struct Chunk {
    entries: Vec<(u16, PendingEntry)>,
    asked: Asked,
    /// What its rows hold, until it is settled.
    _memory: Reservation,
}

/// How far the question of a chunk is.
#[derive(Debug)]
enum Asked {
    /// The model has it.
    Model(Box<Prepared>, Answer),
    /// It could not be asked: some row is at fault.
    Not(PipelineError),
}

/// Why scoring does not go on.
#[derive(Debug)]
enum Trouble {
    /// The place is at fault: try again later.
    Later(PipelineError),
    /// The pipeline stops.
    Stopping,
    /// The store fails for good.
    Fatal(PipelineError),
}

impl Stage {
    /// For `arm` of `lane`.
    pub(crate) fn new(lane: Lane, arm: Arm) -> Self {
        let shards = usize::from(lane.parts.store.shards());
        Self {
            lane,
            arm,
            cursors: vec![0; shards],
            first_shard: 0,
            in_flight: VecDeque::new(),
            is_probing: false,
            chunk_max_rows: SCORING_CHUNK_MAX_ROWS,
            awaits_memory: false,
            turn: Turn::default(),
            outage: None,
        }
    }

    /// Score until nothing more comes, or the pipeline stops and the model does not answer.
    ///
    /// # Errors
    /// The store fails for good.
    pub(crate) fn run(mut self) -> Result<(), PipelineError> {
        let Some(deployment) = self.lane.deployment.clone() else {
            return self.withdraw_all();
        };
        loop {
            match self.step(&deployment) {
                Ok(true) => {}
                Ok(false) | Err(Trouble::Stopping) => return Ok(()),
                Err(Trouble::Fatal(error)) => return Err(error),
                Err(Trouble::Later(error)) => {
                    if !self.wait_out(&error)? {
                        return Ok(());
                    }
                }
            }
        }
    }

    /// Ask for what there is, and settle what is answered. False when all is done for good.
    fn step(&mut self, deployment: &Deployment) -> Result<bool, Trouble> {
        let heard = self.lane.bell.rings();
        // Read before the queue: what is released afterwards is seen in the next step.
        let is_last = self.lane.ends.drained.load(Ordering::Acquire);
        if self.lane.is_abandoned() {
            self.let_go();
            return Err(Trouble::Stopping);
        }
        let chunks = if self.is_probing {
            1
        } else {
            self.lane.parts.limits.chunks.max(1)
        };
        while self.in_flight.len() < chunks
            && !self.awaits_memory
            && self.ask_for_more(deployment)?
        {}
        match self.in_flight.front() {
            Some(front) if front.is_answered() => self.settle_front(deployment)?,
            None if (is_last && !self.turn.is_others()) || self.is_through(deployment)? => {
                let shown = |status: &mut DeploymentStatus| drop(status.scoring.remove(&self.arm));
                self.lane.show(shown);
                return Ok(false);
            }
            _ => self.lane.bell.wait(self.lane.runtime(), heard, LISTEN),
        }
        Ok(true)
    }

    /// Whether no route leads to the version and nothing waits for the arm any more.
    fn is_through(&self, deployment: &Deployment) -> Result<bool, Trouble> {
        if self.is_routed(deployment) {
            return Ok(false);
        }
        let load = self.lane.load().map_err(later)?;
        Ok(load.of(self.arm).scores == 0)
    }

    fn is_routed(&self, deployment: &Deployment) -> bool {
        // In whichever role: its model is then to be there.
        let version = self.arm.version;
        deployment.arms().any(|arm| arm.version == version)
    }

    /// Read the next chunk and ask for it. False when there is none, or no room for its records, or
    /// no memory before a chunk under way is settled, or another version's go first.
    fn ask_for_more(&mut self, deployment: &Deployment) -> Result<bool, Trouble> {
        self.turn.skip();
        let topic = deployment.topic_of(self.arm.role);
        match self.lane.take_room(self.arm, &topic).map_err(later)? {
            Room::Taken => {}
            Room::Unneeded => return Ok(false),
            // What is under way is settled first: the cursors are behind it.
            Room::Full(_) if !self.in_flight.is_empty() => return Ok(false),
            Room::Full(oldest_us) => {
                if let Some(cause) = unsent(&self.lane, &topic, oldest_us) {
                    self.give_up_expired(&cause)?;
                }
                return Ok(false);
            }
        }
        let ends = self.turn.ends(&self.lane, self.arm).map_err(later)?;
        let asked = self.ask_for_next(deployment, &ends);
        // A chunk takes the room of its rows, and one that was not asked for takes none.
        self.note_under_way();
        asked
    }

    fn ask_for_next(&mut self, deployment: &Deployment, ends: &[u64]) -> Result<bool, Trouble> {
        let before = (self.cursors.clone(), self.first_shard);
        let entries = self.next_entries(ends).map_err(later)?;
        if entries.is_empty() {
            return Ok(false);
        }
        let rows = entries.len();
        let memory = match self.memory_for(&entries) {
            Ok(memory) => memory,
            Err(_) if self.may_ask_for_less(rows) => {
                (self.cursors, self.first_shard) = before;
                return Ok(self.ask_for_less(rows));
            }
            Err(error) => return Err(later(error)),
        };
        let asked = match prepare(&self.lane, deployment, &entries) {
            Ok(prepared) => {
                let answer = ask(&self.lane, deployment, self.arm.version, &prepared);
                Asked::Model(Box::new(prepared), answer)
            }
            Err(error) if asks_too_much(&error) && self.may_ask_for_less(rows) => {
                (self.cursors, self.first_shard) = before;
                return Ok(self.ask_for_less(rows));
            }
            Err(error) if verdict(&error, rows, true) == Verdict::Retry => {
                return Err(Trouble::Later(error));
            }
            Err(error) => Asked::Not(error),
        };
        self.in_flight.push_back(Chunk {
            entries,
            asked,
            _memory: memory,
        });
        Ok(true)
    }

    fn note_under_way(&self) {
        let rows = self.in_flight.iter().map(|chunk| chunk.entries.len());
        self.lane.note_under_way(self.arm, rows.sum());
    }

    /// Memory for `entries` until they are settled: their bytes, and as much again for what is
    /// decoded of them. What was just read is not yet charged; it is a chunk at most.
    fn memory_for(&self, entries: &[(u16, PendingEntry)]) -> PortResult<Reservation> {
        let bytes = |(_, entry): &(u16, PendingEntry)| 2 * entry.score.request.len() + ENTRY_BYTES;
        let bytes = entries.iter().map(bytes).sum();
        let mut memory = self.lane.parts.memory.empty(Part::Scoring);
        match entries.len() {
            // It cannot be cut: it goes through alone, however large it is.
            1 => memory.hold(bytes)?,
            _ => memory.grow(bytes)?,
        }
        Ok(memory)
    }

    /// Whether a chunk of `rows` can be put off or made smaller.
    fn may_ask_for_less(&self, rows: usize) -> bool {
        rows > 1 || !self.in_flight.is_empty()
    }

    /// There is no memory for a chunk of `rows`. Chunks under way give theirs back when they are
    /// settled; without any a smaller one is tried at once. Whether it is.
    fn ask_for_less(&mut self, rows: usize) -> bool {
        let is_alone = self.in_flight.is_empty();
        if is_alone {
            self.chunk_max_rows = rows.div_ceil(2);
        }
        self.awaits_memory = !is_alone;
        is_alone
    }

    /// The next released scores of all shards, one shard after the other, a chunk at most; of each
    /// shard those below its place in `ends`.
    fn next_entries(&mut self, ends: &[u64]) -> PortResult<Vec<(u16, PendingEntry)>> {
        let (store, shards) = (&self.lane.parts.store, self.lane.parts.store.shards());
        let mut entries = Vec::new();
        let mut bound = Bound::of(self.chunk_max_rows, SCORING_CHUNK_MAX_BYTES);
        let mut gives_way = false;
        for step in 0..shards {
            let shard = (self.first_shard + step) % shards;
            let (from, end) = (self.cursors[usize::from(shard)], ends[usize::from(shard)]);
            let name = &self.lane.name;
            let pending = |from, count| store.pending(shard, name, self.arm, from, count);
            let mut found = bound.read(from, pending, known)?;
            invariant!(
                PendingSequencesAscend,
                found.first().is_none_or(|first| first.sequence >= from)
                    && found.is_sorted_by(|a, b| a.sequence < b.sequence),
                "shard {shard} from {from}"
            );
            found.truncate(self.lane.released.ready(&found));
            let before = found.partition_point(|entry| entry.sequence < end);
            gives_way |= before < found.len();
            found.truncate(before);
            if let Some(last) = found.last() {
                self.cursors[usize::from(shard)] = last.sequence + 1;
            }
            entries.extend(found.into_iter().map(|entry| (shard, entry)));
        }
        self.first_shard = (self.first_shard + 1) % shards.max(1);
        if entries.is_empty() && gives_way {
            self.turn.give_way();
        }
        Ok(entries)
    }

    /// Settle the oldest chunk, which is answered.
    fn settle_front(&mut self, deployment: &Deployment) -> Result<(), Trouble> {
        let Some(chunk) = self.in_flight.pop_front() else {
            return Ok(());
        };
        self.awaits_memory = false;
        let Chunk {
            entries,
            asked,
            _memory,
        } = chunk;
        let first = match asked {
            Asked::Not(error) => Err(error),
            Asked::Model(prepared, answer) => self
                .wait_for(&answer)?
                .and_then(|scores| records(&self.lane, deployment, &entries, &prepared, &scores)),
        };
        let outcomes = self.resolve(deployment, &entries, first)?;
        invariant!(
            OutcomePerScore,
            outcomes.each.len() == entries.len(),
            "{}: {} outcomes for {} scores",
            self.arm,
            outcomes.each.len(),
            entries.len()
        );
        let rows = entries.len();
        let mut settled: BTreeMap<u16, Vec<Settled>> = BTreeMap::new();
        for ((shard, entry), outcome) in entries.into_iter().zip(outcomes.each) {
            let of_shard = settled.entry(shard).or_default();
            of_shard.push(Settled { entry, outcome });
        }
        let of_another = |one: &Settled| one.entry.score.key.arm() != self.arm;
        invariant!(
            SettledAsAsked,
            settled.values().map(Vec::len).sum::<usize>() == rows
                && !settled.values().flatten().any(of_another),
            "{}: of {rows} scores",
            self.arm
        );
        self.write(&settled)?;
        self.lane.count_without_offsets(outcomes.without_offsets);
        self.is_probing = false;
        self.chunk_max_rows = (2 * self.chunk_max_rows).min(SCORING_CHUNK_MAX_ROWS);
        if let Some(outage) = self.outage.take() {
            let (name, arm) = (&self.lane.name, self.arm);
            outage.is_over(&format_args!("deployment {name} {arm}"));
        }
        // Also what a run before this one has failed of.
        self.lane
            .show(|status| drop(status.scoring.remove(&self.arm)));
        Ok(())
    }

    /// Wait for the model's answer.
    fn wait_for(&self, answer: &Answer) -> Result<Result<Scores, PipelineError>, Trouble> {
        loop {
            let heard = self.lane.bell.rings();
            if let Some(scores) = answer.take() {
                return Ok(scores.map_err(Into::into));
            }
            if self.lane.is_abandoned() {
                return Err(Trouble::Stopping);
            }
            self.lane.bell.wait(self.lane.runtime(), heard, LISTEN);
        }
    }

    /// The end of each of `entries`, given how scoring them together went. A row at fault is found
    /// by halving, so that it does not take its neighbours with it.
    fn resolve(
        &self,
        deployment: &Deployment,
        entries: &[(u16, PendingEntry)],
        first: Result<Outcomes, PipelineError>,
    ) -> Result<Outcomes, Trouble> {
        let error = match first {
            Ok(outcomes) => return Ok(outcomes),
            Err(error) => error,
        };
        let routed = self.is_routed(deployment);
        match verdict(&error, entries.len(), routed) {
            Verdict::Retry => Err(Trouble::Later(error)),
            Verdict::SetAside(reason) => {
                let words = with_causes(&error);
                let (rows, now) = (entries.len() as u64, self.lane.runtime().elapsed());
                if let Some(rows) = self.lane.refused_rows.add(rows, now)
                    && let Some((_, entry)) = entries.first()
                {
                    let (name, id) = (&self.lane.name, entry.score.key.id());
                    tracing::warn!(
                        deployment = name,
                        id,
                        rows,
                        error = words,
                        "not scored; each has a note in the table settlements"
                    );
                }
                self.lane.count_unscored(reason.label(), rows);
                let aside = || ScoreOutcome::Unscored(reason, words.clone());
                Ok(Outcomes {
                    each: entries.iter().map(|_| aside()).collect(),
                    without_offsets: 0,
                })
            }
            Verdict::Halve => {
                let (left, right) = entries.split_at(entries.len() / 2);
                let outcomes = self.again(deployment, left)?;
                Ok(outcomes.and(self.again(deployment, right)?))
            }
        }
    }

    /// Score `entries` now, and wait for it.
    fn again(
        &self,
        deployment: &Deployment,
        entries: &[(u16, PendingEntry)],
    ) -> Result<Outcomes, Trouble> {
        let first = match prepare(&self.lane, deployment, entries) {
            Err(error) => Err(error),
            Ok(prepared) => self
                .wait_for(&ask(&self.lane, deployment, self.arm.version, &prepared))?
                .and_then(|scores| records(&self.lane, deployment, entries, &prepared, &scores)),
        };
        self.resolve(deployment, entries, first)
    }

    /// The second write of each shard.
    fn write(&self, settled: &BTreeMap<u16, Vec<Settled>>) -> Result<(), Trouble> {
        for (shard, settled) in settled {
            let store = &self.lane.parts.store;
            let written = self
                .lane
                .retry()
                .run("the write of scores", || store.settle(*shard, settled));
            if let Err(error) = written {
                let is_left = error.kind().is_retriable() && self.lane.is_stopping();
                if is_left {
                    tracing::warn!(
                        deployment = self.lane.name,
                        error = with_causes(&error),
                        "scores are left for the next start"
                    );
                    return Err(Trouble::Stopping);
                }
                return Err(Trouble::Fatal(error.into()));
            }
        }
        let entries = settled.values().flatten().map(|settled| &settled.entry);
        let (released, now) = (&self.lane.released, self.lane.runtime().elapsed());
        released.record_waits(entries, now, &self.lane.waits);
        self.note_under_way();
        // There is something to publish, and room on disk.
        self.lane.bell.ring();
        let load = self.lane.load().map_err(later)?;
        self.lane.show_load(&load);
        Ok(())
    }

    /// Let go of the chunks under way: they are read again.
    fn let_go(&mut self) {
        self.in_flight.clear();
        self.awaits_memory = false;
        self.cursors.fill(0);
        self.note_under_way();
    }

    /// Scoring failed with `error`, which no row is to blame for: wait before the next try. False
    /// when the pipeline stops.
    fn wait_out(&mut self, error: &PipelineError) -> Result<bool, PipelineError> {
        self.let_go();
        self.is_probing = true;
        let (name, words) = (self.lane.name.clone(), with_causes(error));
        let arm = self.arm;
        self.lane.show(|status| {
            status.scoring.insert(arm, words.clone());
        });
        let cause = format!("its model could not be asked: {words}");
        match self.give_up_expired(&cause) {
            Ok(()) => {}
            Err(Trouble::Fatal(error)) => return Err(error),
            Err(Trouble::Stopping) => return Ok(false),
            // The store does not answer either; the pause is for both.
            Err(Trouble::Later(_)) => {}
        }
        let outage = self.outage.get_or_insert_with(|| Outage::new("scoring"));
        let told = format_args!("deployment {name} {arm}: {words}");
        let goes_on = outage.wait(self.lane.retry(), error.kind(), &told);
        if !goes_on {
            tracing::warn!(
                deployment = name,
                version = arm.version,
                error = words,
                "scoring is left for the next start"
            );
        }
        Ok(goes_on)
    }

    /// Note the events whose features are kept no longer; `cause` says why they were not scored
    /// before.
    fn give_up_expired(&self, cause: &str) -> Result<(), Trouble> {
        let settled = expired(&self.lane, self.arm, cause).map_err(later)?;
        if settled.is_empty() {
            return Ok(());
        }
        self.write(&settled)
    }

    /// The deployment is no longer defined: nobody waits for what is pending.
    fn withdraw_all(mut self) -> Result<(), PipelineError> {
        loop {
            if self.lane.is_abandoned() {
                return Ok(());
            }
            let entries = self.lane.retry().run("a read of pending scores", || {
                let mut all = Vec::new();
                let mut bound = Bound::of(SCORING_CHUNK_MAX_ROWS, SCORING_CHUNK_MAX_BYTES);
                for shard in 0..self.lane.parts.store.shards() {
                    let (store, name) = (&self.lane.parts.store, &self.lane.name);
                    let pending = |from, count| store.pending(shard, name, self.arm, from, count);
                    let found = bound.read(0, pending, known)?;
                    all.extend(found.into_iter().map(|entry| (shard, entry)));
                }
                Ok(all)
            })?;
            if entries.is_empty() {
                return Ok(());
            }
            let reason = UnscoredReason::Withdrawn;
            self.lane
                .count_unscored(reason.label(), entries.len() as u64);
            let mut settled: BTreeMap<u16, Vec<Settled>> = BTreeMap::new();
            for (shard, entry) in entries {
                let words = format!("deployment {} is no longer defined", self.lane.name);
                settled.entry(shard).or_default().push(Settled {
                    entry,
                    outcome: ScoreOutcome::Unscored(reason, words),
                });
            }
            match self.write(&settled) {
                Ok(()) => {}
                Err(Trouble::Fatal(error)) => return Err(error),
                Err(Trouble::Stopping) => return Ok(()),
                Err(Trouble::Later(error)) => {
                    if !self.wait_out(&error)? {
                        return Ok(());
                    }
                }
            }
        }
    }
}

impl Drop for Stage {
    /// Also of a panic: what was under way takes no room any more.
    fn drop(&mut self) {
        self.lane.note_under_way(self.arm, 0);
    }
}

impl Chunk {
    /// Whether the model has answered.
    fn is_answered(&self) -> bool {
        match &self.asked {
            Asked::Model(_, answer) => answer.is_there(),
            Asked::Not(_) => true,
        }
    }
}

fn later(error: PortError) -> Trouble {
    Trouble::Later(error.into())
}
