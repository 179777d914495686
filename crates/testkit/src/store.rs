//! A store that keeps every row and computes values by looking at all of them: slow, and right by
//! its shortness. It is picky where the real one must be sure: every row has its watermark, and
//! comes once.
//!
//! Its contents outlive a process; [`MemoryStore::lose_writes`] is what a power cut does to a
//! shard, [`MemoryStore::lose_reply`] what a disk does that fails under a write.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use forebay_core::aggregate::cells::Cell;
use forebay_core::aggregate::{Partial, RowOrder};
use forebay_core::cells::Cells;
use forebay_core::index::ShardId;
use forebay_core::key::{KeyBuffer, shard_of};
use forebay_core::memory::Reservation;
use forebay_core::ports::{
    At, EpochWriter, FillNote, LogNotes, ShardEpoch, ShardFold, ShardWrite, StateProgress,
    StateReader, TopicNote, ViewRows, ViewStates,
};
use forebay_core::prediction::{OutboxRecord, PendingScore, PredictionKey};
use forebay_core::progress::{Applied, TopicPartition};
use forebay_core::settlement::Unscored;
use forebay_core::time::Micros;
use forebay_core::value::Value;
use forebay_core::view::{FeatureStatus, ViewId, ViewSpec, Window, feature_status};
use forebay_core::watermark::{MarkFact, MarkRecord, forgettable};
use forebay_core::{ErrorKind, PortError, PortResult};
use parking_lot::Mutex;

use crate::fate::{Fate, Point};
use health::damaged;
use undecided::{Undecided, undecided};

mod epochs;
mod fills;
mod health;
mod scores;
mod undecided;

/// One folded row.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredRow {
    /// View that folded it.
    pub view: ViewId,
    /// Encoded key.
    pub key: Vec<u8>,
    /// Where it stands.
    pub place: TopicPartition,
    /// See `place`.
    pub offset: i64,
    /// Event time.
    pub time_us: Micros,
    /// Its partition's watermark before it.
    pub watermark_us: Option<Micros>,
    /// Argument values.
    pub arguments: Vec<Value>,
    /// Whether it came too late and does not count.
    pub late: bool,
}

/// What one write leaves.
#[derive(Debug, Clone, Default)]
struct State {
    epoch: u64,
    applied: Arc<Applied>,
    rows: Vec<Arc<StoredRow>>,
    pending: BTreeMap<u64, Arc<PendingScore>>,
    outbox: BTreeMap<u64, Arc<(PredictionKey, OutboxRecord)>>,
    unscored: BTreeMap<u64, Unscored>,
    next_sequence: u64,
    marks: BTreeMap<(TopicPartition, Option<i64>), MarkRecord>,
    filled: BTreeMap<ViewId, FillNote>,
    /// Views whose next write meets damage, and those that are set aside, with the reason.
    damaged: BTreeSet<ViewId>,
    aside: BTreeMap<ViewId, Arc<str>>,
    /// Views of which a fill had an undecided write: it may bring those rows again.
    filled_again: BTreeSet<ViewId>,
}

impl State {
    fn next(&mut self) -> u64 {
        self.next_sequence += 1;
        self.next_sequence
    }

    fn note(&mut self, notes: Vec<Unscored>) {
        for note in notes {
            let sequence = self.next();
            self.unscored.insert(sequence, note);
        }
    }
}

#[derive(Debug)]
struct Contents {
    views: BTreeMap<ViewId, Arc<ViewSpec>>,
    identity: Option<String>,
    notes: BTreeMap<String, TopicNote>,
    /// For each shard its state after each write, the newest last.
    shards: Vec<Vec<State>>,
    /// How many of them a power cut leaves.
    synced: Vec<usize>,
    /// Of each shard, writes that were done and reported as failed.
    undecided: Vec<Undecided>,
    /// From when on state is to be kept; None: nothing asks for it.
    kept_us: Option<Micros>,
    /// Of how many epochs of a shard the applied offsets are known; None: of all.
    known_epochs: Option<u64>,
}

impl Contents {
    /// What was written by now outlives a power cut.
    fn sync(&mut self) {
        self.synced = self.shards.iter().map(Vec::len).collect();
    }

    /// What was written to `shard` by now outlives a power cut.
    fn sync_shard(&mut self, shard: u16) {
        self.synced[usize::from(shard)] = self.shards[usize::from(shard)].len();
    }
}

/// The store; clones share its contents and follow one fate each.
#[derive(Debug, Clone)]
pub struct MemoryStore {
    contents: Arc<Mutex<Contents>>,
    history_us: Micros,
    fate: Arc<Fate>,
}

/// Bounds below these offsets are needed no more.
fn forget_bounds(state: &mut State, below: &[(TopicPartition, i64)]) {
    let kept: Vec<MarkRecord> = state.marks.values().cloned().collect();
    let applied = Arc::clone(&state.applied);
    let mark_us = |place: &_| applied.0.get(place).and_then(|p| p.max_event_time_us);
    for record in forgettable(&kept, below, mark_us) {
        state.marks.retain(|_, known| known != record);
    }
}

impl MemoryStore {
    /// An empty store.
    #[must_use]
    pub fn new(shards: u16, history_us: Micros, fate: &Arc<Fate>) -> Self {
        let contents = Contents {
            views: BTreeMap::new(),
            identity: None,
            notes: BTreeMap::new(),
            shards: (0..shards).map(|_| vec![State::default()]).collect(),
            synced: vec![1; usize::from(shards)],
            undecided: vec![Undecided::default(); usize::from(shards)],
            kept_us: None,
            known_epochs: None,
        };
        Self {
            contents: Arc::new(Mutex::new(contents)),
            history_us,
            fate: Arc::clone(fate),
        }
    }

    /// The same contents under another fate: after a restart.
    #[must_use]
    pub fn under(&self, fate: &Arc<Fate>) -> Self {
        Self {
            fate: Arc::clone(fate),
            ..self.clone()
        }
    }

    /// The last `writes` of `shard` are gone, but for those before the last sync.
    pub fn lose_writes(&self, shard: usize, writes: usize) {
        self.reopen();
        let mut contents = self.contents.lock();
        let synced = contents.synced[shard];
        let states = &mut contents.shards[shard];
        states.truncate(states.len().saturating_sub(writes).max(synced));
    }

    /// From when on whoever writes wants state to be kept, whatever its age.
    #[must_use]
    pub fn kept_from(&self) -> Option<Micros> {
        self.contents.lock().kept_us
    }

    /// Number of writes that `shard` has seen.
    #[must_use]
    pub fn writes(&self, shard: usize) -> usize {
        self.contents.lock().shards[shard].len() - 1
    }

    /// The rows of `view` in each shard, by place.
    #[must_use]
    pub fn rows(&self, view: ViewId) -> Vec<Vec<StoredRow>> {
        let contents = self.contents.lock();
        let of_view = |states: &Vec<State>| {
            let newest = states
                .last()
                .map(|state| state.rows.as_slice())
                .unwrap_or_default();
            let mut rows: Vec<StoredRow> = newest
                .iter()
                .filter(|r| r.view == view)
                .map(|r| StoredRow::clone(r))
                .collect();
            rows.sort_by(|a, b| (&a.place, a.offset).cmp(&(&b.place, b.offset)));
            rows
        };
        contents.shards.iter().map(of_view).collect()
    }

    /// Pending scores and outbox records over all shards.
    #[must_use]
    pub fn unfinished(&self) -> (usize, usize) {
        let contents = self.contents.lock();
        let newest = contents.shards.iter().filter_map(|states| states.last());
        newest.fold((0, 0), |(pending, outbox), s| {
            (pending + s.pending.len(), outbox + s.outbox.len())
        })
    }

    /// The notes on events without prediction, over all shards.
    #[must_use]
    pub fn notes(&self) -> Vec<Unscored> {
        let contents = self.contents.lock();
        let newest = contents.shards.iter().filter_map(|states| states.last());
        newest.flat_map(|s| s.unscored.values().cloned()).collect()
    }

    /// Do one write of `shard`, atomically.
    fn write<T>(
        &self,
        point: Point,
        shard: u16,
        act: impl FnOnce(&Contents, &mut State) -> PortResult<T>,
    ) -> PortResult<T> {
        self.fate.meet(point, || {
            let mut contents = self.contents.lock();
            contents.decide(shard);
            let mut state = newest(&contents, shard)?.clone();
            let lost = contents.undecided[usize::from(shard)].next_is_lost.take();
            let outcome = act(&contents, &mut state)?;
            if let Some(kind) = lost {
                contents.undecided[usize::from(shard)].state = Some(state);
                return Err(undecided(kind));
            }
            contents.shards[usize::from(shard)].push(state);
            Ok(outcome)
        })
    }

    /// Decisions about time are there, and outlive a power cut, before the rest of their write is.
    fn record_marks(&self, shard: u16, marks: &[MarkRecord]) -> PortResult<()> {
        if marks.is_empty() {
            return Ok(());
        }
        let mut contents = self.contents.lock();
        contents.decide(shard);
        let mut state = newest(&contents, shard)?.clone();
        for record in marks {
            let from = match record.fact {
                MarkFact::Bound(bound) => Some(bound.from),
                MarkFact::Hold(_) => None,
            };
            let place = (record.partition.clone(), from);
            state.marks.insert(place, record.clone());
        }
        contents.shards[usize::from(shard)].push(state);
        contents.sync_shard(shard);
        Ok(())
    }

    fn fold(
        &self,
        contents: &Contents,
        state: &mut State,
        fold: &ShardFold,
        backfill: bool,
    ) -> PortResult<()> {
        let view = contents
            .views
            .get(&fold.view)
            .ok_or_else(|| unknown_view(fold.view))?;
        assert_eq!(
            fold.origin.watermark_us.len(),
            fold.origin.offset.len(),
            "every row has its watermark"
        );
        for row in &fold.rows {
            let source = fold.batch.source_rows[*row as usize] as usize;
            let place = &fold.origin.partitions[fold.origin.partition[source] as usize];
            let offset = fold.origin.offset[source];
            if !backfill && offset < state.applied.next_offset(place) {
                continue;
            }
            let (time_us, watermark_us) = (
                fold.batch.times.value(*row as usize),
                fold.origin.watermark_us[source],
            );
            let values = fold
                .batch
                .arguments
                .iter()
                .map(|a| Value::from_array(a.as_ref(), *row as usize));
            let stored = StoredRow {
                view: fold.view,
                key: fold
                    .keys
                    .get(*row as usize)
                    .map(<[u8]>::to_vec)
                    .unwrap_or_default(),
                place: place.clone(),
                offset,
                time_us,
                watermark_us,
                arguments: values.collect::<PortResult<_>>()?,
                late: view.too_late(time_us, watermark_us, self.history_us),
            };
            let same = |r: &Arc<StoredRow>| {
                r.view == stored.view && r.place == stored.place && r.offset == stored.offset
            };
            let is_there = state.rows.iter().any(same);
            if is_there && backfill && state.filled_again.contains(&fold.view) {
                continue;
            }
            assert!(
                !is_there,
                "row {offset} of {place:?} was handed to view {} twice",
                fold.view
            );
            state.rows.push(Arc::new(stored));
        }
        Ok(())
    }
}

fn newest(contents: &Contents, shard: u16) -> PortResult<&State> {
    let states = contents
        .shards
        .get(usize::from(shard))
        .and_then(|states| states.last());
    states.ok_or_else(|| PortError::invalid(format!("no shard {shard}")))
}

fn unknown_view(view: ViewId) -> PortError {
    PortError::not_found(format!("view {view} was not registered"))
}

/// What `spec` says of the rows of one key at `at`: newest event time and aggregates.
fn value(spec: &ViewSpec, rows: &[&StoredRow], at: Micros) -> (Option<Micros>, Vec<Cell>) {
    let seen: Vec<&&StoredRow> = rows.iter().filter(|row| row.time_us <= at).collect();
    let newest = seen.iter().map(|row| row.time_us).max();
    let aggregates = spec.aggregates.iter().map(|aggregate| {
        let partial_spec = &spec.partials[aggregate.partial];
        let mut partial = Partial::new(partial_spec);
        for row in &seen {
            let inside = match aggregate.window {
                Window::Range { preceding_us } => row.time_us >= at.saturating_sub(preceding_us),
                Window::Lifetime => true,
            };
            let order = RowOrder {
                time_us: row.time_us,
                partition: row.place.partition,
                offset: row.offset,
            };
            if inside {
                let arguments = partial_spec.arguments.iter();
                let arguments: Vec<Value> = arguments.map(|a| row.arguments[*a].clone()).collect();
                partial.update(&arguments, order);
            }
        }
        partial.evaluate(aggregate.kind)
    });
    (newest, aggregates.collect())
}

impl LogNotes for MemoryStore {
    fn log_identity(&self) -> PortResult<Option<String>> {
        Ok(self.contents.lock().identity.clone())
    }

    fn set_log_identity(&self, identity: &str) -> PortResult<()> {
        let mut contents = self.contents.lock();
        let known = contents.identity.get_or_insert_with(|| identity.to_owned());
        if known == identity {
            Ok(())
        } else {
            Err(PortError::new(ErrorKind::FailedPrecondition, "another log"))
        }
    }

    fn topic_note(&self, topic: &str) -> PortResult<Option<TopicNote>> {
        Ok(self.contents.lock().notes.get(topic).cloned())
    }

    fn set_topic_note(&self, topic: &str, note: &TopicNote) -> PortResult<()> {
        let mut contents = self.contents.lock();
        contents.notes.insert(topic.to_owned(), note.clone());
        Ok(())
    }
}

impl StateReader for MemoryStore {
    fn read(
        &self,
        view: ViewId,
        keys: &KeyBuffer,
        at: At<'_>,
        memory: &mut Reservation,
    ) -> PortResult<ViewRows> {
        let contents = self.contents.lock();
        let spec = contents
            .views
            .get(&view)
            .ok_or_else(|| unknown_view(view))?;
        let shards = ShardId::count(contents.shards.len());
        let mut columns: Vec<Vec<Cell>> = vec![Vec::new(); spec.aggregates.len()];
        let (mut status, mut newest_us, mut applied) = (vec![], vec![], vec![]);
        for row in 0..keys.len() {
            let (mut newest_row, mut values) = (None, vec![Ok(Value::Null); spec.aggregates.len()]);
            applied.push(None);
            if let Some(key) = keys.get(row) {
                let shard = shard_of(key, shards);
                let state = newest(&contents, shard)?;
                if state.aside.contains_key(&view) {
                    return Err(damaged(view));
                }
                let of_key = |r: &&Arc<StoredRow>| r.view == view && r.key == key && !r.late;
                let rows: Vec<&StoredRow> = state
                    .rows
                    .iter()
                    .filter(of_key)
                    .map(|r| r.as_ref())
                    .collect();
                (newest_row, values) = value(spec, &rows, at.of(row));
                applied[row] = Some(ShardEpoch {
                    shard,
                    epoch: state.epoch,
                });
            }
            let row_status = feature_status(newest_row, at.of(row), spec.ttl_us);
            for (column, value) in columns.iter_mut().zip(values) {
                column.push(if row_status == FeatureStatus::Present {
                    value
                } else {
                    Ok(Value::Null)
                });
            }
            status.push(row_status);
            newest_us.push(newest_row);
        }
        memory.grow(keys.len() * spec.aggregates.len() * size_of::<Cell>())?;
        let mut aggregates = Cells::default();
        for (aggregate, cells) in spec.aggregates.iter().zip(&columns) {
            aggregates.append(aggregate, cells.iter())?;
        }
        Ok(ViewRows {
            aggregates,
            status,
            newest_us,
            applied,
        })
    }

    fn applied_at(&self, at: ShardEpoch) -> Option<Arc<Applied>> {
        let contents = self.contents.lock();
        epochs::applied_at(&contents, at)
    }
}

impl StateProgress for MemoryStore {
    fn shards(&self) -> u16 {
        ShardId::count(self.contents.lock().shards.len())
    }

    fn applied(&self, shard: u16) -> Arc<Applied> {
        newest(&self.contents.lock(), shard)
            .map(|state| Arc::clone(&state.applied))
            .unwrap_or_default()
    }

    fn marks(&self, shard: u16) -> PortResult<Vec<MarkRecord>> {
        let contents = self.contents.lock();
        Ok(newest(&contents, shard)?.marks.values().cloned().collect())
    }
}

impl EpochWriter for MemoryStore {
    fn commit(&self, shard: u16, write: &ShardWrite) -> PortResult<u64> {
        self.record_marks(shard, &write.marks)?;
        self.write(Point::Commit, shard, |contents, state| {
            forget_bounds(state, &write.forget_bounds);
            let known = write.aside.iter();
            for (view, why) in known.filter(|(view, _)| contents.views.contains_key(view)) {
                let kept = state.aside.entry(*view);
                kept.or_insert_with(|| Arc::clone(why));
            }
            for fold in &write.folds {
                if state.damaged.contains(&fold.view) {
                    state
                        .aside
                        .entry(fold.view)
                        .or_insert_with(|| "damaged".into());
                }
                if !state.aside.contains_key(&fold.view) {
                    self.fold(contents, state, fold, false)?;
                }
            }
            for score in &write.pending {
                let place = TopicPartition::new(score.key.topic.as_str(), score.key.partition);
                if score.key.offset >= state.applied.next_offset(&place) {
                    let known = state.pending.values().any(|p| p.key == score.key);
                    assert!(!known, "{:?} is pending twice", score.key);
                    let sequence = state.next();
                    state.pending.insert(sequence, Arc::clone(score));
                }
            }
            for note in &write.unscored {
                let place = TopicPartition::new(note.topic.as_str(), note.partition);
                let offsets = note.offsets.from_offset(state.applied.next_offset(&place));
                if offsets.count() > 0 {
                    state.note(vec![Unscored {
                        offsets,
                        ..note.clone()
                    }]);
                }
            }
            let mut applied = Applied::clone(&state.applied);
            write
                .progress
                .iter()
                .for_each(|(place, progress)| applied.advance(place, *progress));
            state.applied = Arc::new(applied);
            state.epoch += 1;
            Ok(state.epoch)
        })
    }

    // Nothing expires here.
    fn keep_from(&self, from_us: Option<Micros>) {
        self.contents.lock().kept_us = from_us;
    }
}

impl ViewStates for MemoryStore {
    fn register_view(&self, view: Arc<ViewSpec>) -> PortResult<()> {
        let mut contents = self.contents.lock();
        let known = contents
            .views
            .entry(view.id)
            .or_insert_with(|| Arc::clone(&view));
        if known.digest == view.digest {
            Ok(())
        } else {
            Err(PortError::new(ErrorKind::AlreadyExists, "another view"))
        }
    }

    fn drop_view(&self, view: ViewId) -> PortResult<()> {
        self.reopen();
        let mut contents = self.contents.lock();
        contents.views.remove(&view);
        let states = contents
            .shards
            .iter_mut()
            .filter_map(|states| states.last_mut());
        states.for_each(|state| {
            state.rows.retain(|row| row.view != view);
            state.filled.remove(&view);
            state.damaged.remove(&view);
            state.aside.remove(&view);
            state.filled_again.remove(&view);
        });
        contents.sync();
        Ok(())
    }

    fn views(&self) -> PortResult<Vec<ViewId>> {
        Ok(self.contents.lock().views.keys().copied().collect())
    }
}
