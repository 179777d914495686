//! One commit of one shard: an epoch of the log, or a part of a view's fill. It folds rows into the
//! trees of their keys, puts every changed record and the progress into one batch, writes it and
//! publishes the new states. Rows come from the pipeline's shard writers through `store`; records
//! go to `database`, states to the table from which readers take them. A shard has one writer,
//! whose lock is held for the whole commit; readers go on undisturbed with the states before it.
//!
//! # Order of writes
//!
//! ```text
//! bring back          the database, where the last write failed
//! gather              drop what the shard has and what is too late, group by key
//! insert, expire      new trees of the touched keys
//! sweep               some records a commit, of all keys in turn
//! progress            offsets, horizons, pending scores, notes of a fill
//!        |
//! decisions about time ===> written and synced          only where the epoch brings some
//!        |
//!   gate closed: +------------------------------------+
//!                | the batch ===> written, not synced |
//!                | publish                            |
//!                +------------------------------------+
//!        |
//! queue               the new pending scores can be taken
//! ```
//!
//! * State and offsets are in one batch, so neither is ever ahead of the other: tiles, presence,
//!   horizons, pending scores, notes on events that have no prediction, and the progress of the
//!   partitions that moved; or, of a fill, the note of how far it is, while all offsets stay.
//! * The write comes before the publication: a reader never sees what RocksDB has not got. `gate`
//!   is closed over both, so that a reader who loads a key from disk gets the published epoch.
//! * The publication comes before the queue hears of the scores: a score is asked for only where
//!   its own event can be read.
//! * The batch is not synced. A process that is killed loses nothing; a power cut loses the end of
//!   the write-ahead log, state and offsets together, and Kafka has those records.
//! * A decision about time comes from a clock and no log has it. So it is synced before the batch:
//!   else a power cut could take one under which readers had been answered. One that stands without
//!   its rows does no harm; it holds when they come again.
//!
//! A commit that has nothing for its batch and moves no partition writes no batch and keeps the
//! epoch. The pipeline hands over progress to each shard once a second at least, so that one
//! without rows does not hold back a restart.
//!
//! # After an error
//!
//! The draft is thrown away, and nothing is published. What stays is the decisions about time, and
//! the places of the sweeps: what these had found waits for a later sweep. The pipeline commits the
//! same write again; what the shard has by then is below its progress and is dropped. An error of
//! the write itself leaves open whether RocksDB has the batch. Then `bring_back` opens the database
//! anew, if it does not heal, and goes on from what is found there.
//!
//! # Damage
//!
//! What is stored of a view may be damaged: a record does not decode, or its file cannot be read.
//! One key of one view meets it here, and the commit has the rows of all views. So that view alone
//! is set aside: the commit begins anew without its rows, and its batch has the reason in the
//! view's horizon. From then on no row of the view is folded in this shard and its reads are
//! refused, until it is dropped; the archive has the rows, and a fill makes it anew (`aside`). A
//! fill that meets damage of its own view fails instead. A view whose SQL has failed on the rows of
//! an epoch is set aside in the same way, by the epoch itself: each shard has the mark with the
//! first progress beyond those rows.
//!
//! A record of another build's version is no damage: that build reads it. Where a file cannot be
//! read, this buys time and no more: RocksDB ends a shard's writes once it must merge such a file.
//!
//! # Invariants
//!
//! * `keys_sorted`, `key_of_its_shard`: the keys of a commit ascend, differ and hash to this shard.
//! * `dirty_keys_published`: every key that a row touches is published.
//! * `progress_covers_rows`: the next offset of a partition lies above each row that is folded.
//! * `horizon_never_falls`: the newest event time that a view has lost never falls.
//! * `fill_folds_its_view`: a fill folds rows of its own view alone.
//! * Where the progress is applied and published: `offsets_never_fall`, `epochs_ascend`.
//!
//! # Alternatives
//!
//! Shards as column families of one database, a sync an epoch, offsets in Kafka:
//! docs/decisions/0004-one-rocksdb-a-shard-one-write-an-epoch.md. Merge operators of RocksDB:
//! docs/decisions/0009-no-merge-operators.md.

#![allow(
    clippy::disallowed_methods,
    reason = "it measures how long the disk takes"
)]

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Instant;

use forebay_core::invariant;
use forebay_core::ports::ShardWrite;
use forebay_core::view::ViewId;
use forebay_core::watermark::forgettable;

use crate::closing::close;
use crate::database::Batch;
use crate::draft::{ChangedKey, Draft, DraftCounts, KeySink, Publication};
use crate::error::{OnlineError, OnlineResult};
use crate::expiry::expire_key;
use crate::floor::Floors;
use crate::fold::{Admission, DirtyKey, Gathered, ViewFold, gather};
use crate::format::{self, Horizon};
use crate::fresh::fresh;
use crate::insert::Inserter;
use crate::key_state::KeyState;
use crate::load::KeyOpener;
use crate::marks;
use crate::progress::Progression;
use crate::queue::Queue;
use crate::shard::Shard;
use crate::stats::{Counters, nanos};
use crate::view::Views;
use crate::work::Work;
use crate::writer::Writer;

/// Least capacity of an epoch's batch, bytes.
const BATCH_MIN_BYTES: usize = 4 << 10;

/// Views that a commit sets aside, and what it found damaged of each.
type Damages = BTreeMap<ViewId, Arc<str>>;

/// The views that `work` sets aside, and that are not yet.
fn wished_aside(writer: &Writer, views: &Views, work: Work<'_>) -> Damages {
    let wished = work.epoch().map_or(&[][..], |write| &write.aside);
    let wished = wished.iter().filter(|(view, _)| {
        let is_known = views.contains_key(view);
        is_known && writer.damage(*view).is_none()
    });
    wished.cloned().collect()
}

impl Shard {
    /// See [`forebay_core::ports::EpochWriter::commit`] and
    /// [`forebay_core::ports::FillWriter::fill`].
    pub(crate) fn commit(&self, views: &Views, work: Work<'_>) -> OnlineResult<u64> {
        let started = Instant::now();
        let mut writer = self.writer.lock();
        self.bring_back(&mut writer)?;
        let mut damages = wished_aside(&writer, views, work);
        loop {
            let error = match self.commit_without(&mut writer, views, work, &damages) {
                Ok(epoch) => {
                    self.counters.add_commit(started.elapsed());
                    return Ok(epoch);
                }
                Err(error) => error,
            };
            let OnlineError::ViewDamaged { view, why, .. } = &error else {
                return Err(error);
            };
            // One view more each time.
            if work.fill() == Some(*view) || damages.contains_key(view) {
                return Err(error);
            }
            tracing::error!(shard = self.number, %error, "a view is set aside");
            damages.insert(*view, why.as_str().into());
        }
    }

    /// The rows of `work` and the views that fold them, but for those that are set aside.
    fn folds<'a>(
        &self,
        writer: &Writer,
        views: &Views,
        work: Work<'a>,
        damages: &Damages,
    ) -> OnlineResult<Vec<ViewFold<'a>>> {
        if let Some(view) = work.fill().and_then(|view| views.get(&view))
            && let Some(why) = writer.damage(view.spec.id)
        {
            return Err(self.view_damaged(&view.spec, why));
        }
        let mut folds = Vec::with_capacity(work.folds().len());
        for fold in work.folds() {
            let view = views
                .get(&fold.view)
                .ok_or(OnlineError::UnknownView(fold.view))?;
            if writer.damage(fold.view).is_none() && !damages.contains_key(&fold.view) {
                folds.push((fold, Arc::clone(view)));
            }
        }
        Ok(folds)
    }

    /// Commit `work`, with the views of `damages` set aside.
    fn commit_without(
        &self,
        writer: &mut Writer,
        views: &Views,
        work: Work<'_>,
        damages: &Damages,
    ) -> OnlineResult<u64> {
        let folds = self.folds(writer, views, work, damages)?;
        let mut index = std::mem::take(&mut writer.index);
        let admission = Admission {
            applied: &writer.progress.applied,
            is_fill: work.is_fill(),
            history_us: self.history_us,
        };
        let gathered = gather(&folds, &admission, &mut index);
        writer.index = index;
        let gathered = gathered?;
        self.check_keys(&gathered);

        let mut draft = Draft {
            batch: self
                .database
                .batch(writer.last_batch_bytes.max(BATCH_MIN_BYTES))?,
            changed: Vec::with_capacity(gathered.keys.len()),
            forgotten: Vec::new(),
            horizons: HashMap::new(),
            floors: Floors::new(writer, views, self.floor.oldest_us(), self.history_us),
            counts: DraftCounts::default(),
        };
        for (view, why) in damages {
            draft.floors.forget(*view);
            draft.horizon(writer, *view).damage = Some(Arc::clone(why));
        }
        note_folds(&mut draft, writer, &folds, &gathered);
        self.insert_rows(writer, &mut draft, &gathered)?;
        self.sweep(writer, &mut draft, views, &gathered)?;
        self.sweep_presence(writer, &mut draft, views, &gathered)?;
        self.finish(writer, draft, work, &gathered)
    }

    /// Insert the rows of every dirty key and put its tiles into the batch.
    fn insert_rows<'a>(
        &self,
        writer: &mut Writer,
        draft: &mut Draft<'a, '_>,
        gathered: &Gathered<'a>,
    ) -> OnlineResult<()> {
        let before = self.states_for_write(&gathered.keys)?;
        let mut prefix = Vec::new();
        for (dirty, before) in gathered.keys.iter().zip(&before) {
            format::key_prefix(&mut prefix, dirty.view.spec.id, dirty.key);
            let mut state = before.fork();
            let mut opener = KeyOpener::new(&self.database, &dirty.view, dirty.key);
            let (view, rows) = (&dirty.view.spec, (gathered, dirty));
            let inserted = insert_key(writer, draft, rows, &mut state, &mut prefix, &mut opener);
            self.of_view(view, inserted)?;
            prefix.truncate(format::prefix_len(dirty.key));
            if let Some(floor) = draft.floors.of(view.id) {
                let below = (floor, false);
                let expired =
                    expire_key(writer, draft, &mut state, below, &mut prefix, &mut opener);
                self.of_view(view, expired)?;
                prefix.truncate(format::prefix_len(dirty.key));
            }
            self.count_opened(&opener);
            let mut sink = KeySink::new(&mut draft.batch, &mut prefix);
            let mut tree = state.take_tree(view.partials.len());
            draft.counts.branches += close(&dirty.view, &mut tree, &mut sink);
            state.put_tree(tree);
            prefix.truncate(format::prefix_len(dirty.key));
            state.pack();
            state.lose(dirty.late_us);
            if !state.known || state.gone_newest_us() != before.gone_newest_us() {
                draft.counts.created += u64::from(!state.known);
                state.known = true;
                draft.batch.put(
                    format::FAMILY_PRESENCE,
                    &prefix,
                    &format::encode_presence(state.gone_newest_us()),
                );
            }
            let key = std::borrow::Cow::Borrowed(dirty.key);
            draft.changed.push(ChangedKey {
                view: dirty.view.spec.id,
                hash: dirty.hash,
                key,
                state: Arc::new(state),
                enters: true,
            });
        }
        Ok(())
    }

    /// States of the dirty keys as of the last epoch, from memory or disk.
    fn states_for_write(&self, keys: &[DirtyKey<'_>]) -> OnlineResult<Vec<Arc<KeyState>>> {
        let (found, complete): (Vec<_>, bool) = {
            let table = self.table.read();
            (
                keys.iter()
                    .map(|k| table.get(k.view.spec.id, k.hash, k.key).cloned())
                    .collect(),
                table.complete,
            )
        };
        let unknown = Arc::new(KeyState::default());
        found
            .into_iter()
            .zip(keys)
            .map(|(state, dirty)| match state {
                Some(state) => Ok(state),
                None if complete => Ok(Arc::clone(&unknown)),
                None => {
                    Counters::add(&self.counters.keys_loaded, 1);
                    Counters::add(&dirty.view.counters.loads, 1);
                    let loaded = self.database.load_key(&dirty.view, dirty.key);
                    self.of_view(&dirty.view.spec, loaded).map(Arc::new)
                }
            })
            .collect()
    }

    /// Put progress, horizons and pending scores into the batch, write it, publish.
    fn finish(
        &self,
        writer: &mut Writer,
        mut draft: Draft<'_, '_>,
        work: Work<'_>,
        gathered: &Gathered<'_>,
    ) -> OnlineResult<u64> {
        let (fresh, notes) = work
            .epoch()
            .map(|write| fresh(writer, write))
            .unwrap_or_default();
        let mut step = Progression::of(&writer.progress, work);
        let first = step.next_pending;
        step.next_pending += fresh.len() as u64;
        let scores = Queue::stage(&mut draft.batch, first, fresh);
        for (view, horizon) in &draft.horizons {
            draft.batch.put(
                format::FAMILY_META,
                &format::horizon_key(*view),
                &horizon.encode(),
            );
        }
        self.note_beside(writer, &mut draft, work)?;
        if draft.batch.is_empty() && step.moved.is_empty() {
            // A shard that nothing touched stays at its epoch and writes nothing.
            return Ok(writer.progress.epoch);
        }
        step.put(&mut draft.batch);
        self.check_progress(writer, &draft, &step, gathered);

        let batch_bytes = draft.batch.size_bytes();
        let publication = Publication {
            epoch: step.epoch,
            changed: &draft.changed,
            forgotten: &draft.forgotten,
            horizons: &draft.horizons,
            moved: &step.moved,
        };
        let freed = {
            let _stable = self.gate.write();
            // Notes are numbered by the queue, which must not move until they are written.
            let mut queue = (!notes.is_empty()).then(|| self.queue.lock());
            if let Some(queue) = &queue {
                queue.stage_notes(&mut draft.batch, &notes);
            }
            let started = Instant::now();
            draft.batch.write()?;
            if let Some(queue) = &mut queue {
                queue.noted(notes.len());
            }
            drop(queue);
            Counters::add(&self.counters.write_ns, nanos(started.elapsed()));
            self.publish(&publication)
        };
        self.queue.lock().add(&scores);
        drop(freed);
        step.apply(&mut writer.progress);
        draft.counts.forgotten = draft.forgotten.len() as u64;
        writer.horizons.extend(draft.horizons);
        writer.last_batch_bytes = batch_bytes;
        self.count(&draft.counts, batch_bytes, gathered);
        Ok(step.epoch)
    }

    /// What stands beside the rows: an epoch's decisions about time, how far a fill is.
    fn note_beside(
        &self,
        writer: &mut Writer,
        draft: &mut Draft<'_, '_>,
        work: Work<'_>,
    ) -> OnlineResult<()> {
        match work {
            Work::Epoch(write) => self.record_marks(writer, write, &mut draft.batch)?,
            Work::Fill(write) => {
                invariant!(
                    FillFoldsItsView,
                    write.folds.iter().all(|fold| fold.view == write.view),
                    "view {}",
                    write.view
                );
                let (key, note) = (
                    format::fill_key(write.view),
                    format::encode_fill(&write.note),
                );
                draft.batch.put(format::FAMILY_META, &key, &note);
            }
        }
        Ok(())
    }

    /// Write `marks` ahead of the rows that were read under them, and wait until the disk has them:
    /// a power cut that took one would have these rows judged by another clock's reading, after
    /// readers and predictions had shown what followed from it. Readers of the disk do not wait,
    /// since no state changes. Decisions that stand without their rows hold when these come again.
    /// What need not be kept any more goes with `batch`.
    fn record_marks(
        &self,
        writer: &mut Writer,
        write: &ShardWrite,
        batch: &mut Batch<'_>,
    ) -> OnlineResult<()> {
        if !write.marks.is_empty() {
            let mut ahead = self.database.batch(BATCH_MIN_BYTES)?;
            marks::put(&mut ahead, &write.marks);
            ahead.write_synced()?;
            writer.holds.note(&write.marks);
        }
        if !write.forget_bounds.is_empty() {
            let kept = marks::read(&self.database)?;
            let applied = &writer.progress.applied.0;
            let mark_us = |place: &_| applied.get(place).and_then(|p| p.max_event_time_us);
            marks::delete(batch, &forgettable(&kept, &write.forget_bounds, mark_us));
        }
        Ok(())
    }

    /// What holds of the keys of every commit.
    fn check_keys(&self, gathered: &Gathered<'_>) {
        let order = |k: &DirtyKey<'_>| (k.view.spec.id, k.hash);
        let ascending = gathered
            .keys
            .is_sorted_by(|a, b| (a.view.spec.id, a.key) < (b.view.spec.id, b.key));
        invariant!(KeysSorted, ascending, "{} keys", gathered.keys.len());
        for (view, hash) in gathered.keys.iter().map(order) {
            let shard = self.shard_of_hash(view, hash);
            invariant!(
                KeyOfItsShard,
                shard == self.number,
                "a key of shard {shard} in shard {}",
                self.number
            );
        }
    }

    /// What holds between the progress before a commit and the one after it.
    fn check_progress(
        &self,
        writer: &Writer,
        draft: &Draft<'_, '_>,
        step: &Progression,
        gathered: &Gathered<'_>,
    ) {
        for (view, horizon) in &draft.horizons {
            let gone_us = writer.horizons.get(view).and_then(|h| h.gone_us);
            invariant!(
                HorizonNeverFalls,
                horizon.gone_us >= gone_us,
                "view {view}: {:?} after {gone_us:?}",
                horizon.gone_us
            );
        }
        invariant!(
            DirtyKeysPublished,
            draft.changed.len() >= gathered.keys.len(),
            "{} of {} keys",
            draft.changed.len(),
            gathered.keys.len()
        );
        for (partition, newest_offset) in &gathered.newest_offsets {
            let next_offset = step.next_offset(&writer.progress, partition);
            invariant!(
                ProgressCoversRows,
                next_offset > *newest_offset,
                "shard {}, {partition:?}: {next_offset} after a row at {newest_offset}",
                self.number
            );
        }
    }

    fn count(&self, counts: &DraftCounts, batch_bytes: usize, gathered: &Gathered<'_>) {
        let counters = &self.counters;
        Counters::add(&counters.written_bytes, batch_bytes as u64);
        Counters::add(&counters.rows_folded, counts.folded);
        Counters::add(&counters.rows_duplicate, counts.duplicates);
        Counters::add(&counters.rows_replayed, gathered.replayed);
        for (view, late) in &gathered.late {
            Counters::add(&counters.rows_late, late.rows);
            Counters::add(&view.counters.late, late.rows);
        }
        Counters::add(&counters.tiles_written, counts.tiles);
        Counters::add(&counters.branches_written, counts.branches);
        Counters::add(&counters.tiles_expired, counts.expired);
        Counters::add(&counters.keys_created, counts.created);
        Counters::add(&counters.keys_forgotten, counts.forgotten);
    }
}

/// Insert the rows of `dirty` into `state`; changed tiles go into the batch.
fn insert_key(
    writer: &mut Writer,
    draft: &mut Draft<'_, '_>,
    (gathered, dirty): (&Gathered<'_>, &DirtyKey<'_>),
    state: &mut KeyState,
    prefix: &mut Vec<u8>,
    opener: &mut KeyOpener<'_>,
) -> OnlineResult<()> {
    let new = &gathered.rows[dirty.rows.clone()];
    if new.is_empty() {
        return Ok(());
    }
    let mut tree = state.take_tree(dirty.view.spec.partials.len());
    if let Some(newest) = new.last() {
        tree.arrive(newest.time);
    }
    let mut sink = KeySink::new(&mut draft.batch, prefix);
    let mut inserter = Inserter {
        kinds: &dirty.view.kinds,
        filters: dirty.view.spec.filters,
        partials: dirty.view.spec.partials.len(),
        folds: &gathered.folds,
        scratch: &mut writer.scratch,
        order: &mut writer.order,
        block: &mut writer.block,
        sink: &mut sink,
        opener,
        record: tree.record(),
        memory_change: 0,
        duplicates: 0,
        tiles: 0,
    };
    inserter.insert_all(&mut tree.roots, new)?;
    let change = inserter.memory_change;
    draft.counts.duplicates += inserter.duplicates;
    draft.counts.tiles += inserter.tiles;
    draft.counts.folded += new.len() as u64 - inserter.duplicates;
    tree.grow_by(opener.take_memory_change());
    tree.grow_by(change);
    state.put_tree(tree);
    Ok(())
}

/// Note what the folds say beside their rows: topics of the views, rows that are too late.
fn note_folds(
    draft: &mut Draft<'_, '_>,
    writer: &Writer,
    folds: &[ViewFold<'_>],
    gathered: &Gathered<'_>,
) {
    for (fold, _) in folds {
        for partition in &fold.origin.partitions {
            let known = |horizon: &Horizon| horizon.topics.contains(&partition.topic);
            let view = fold.view;
            if !draft
                .horizons
                .get(&view)
                .or_else(|| writer.horizons.get(&view))
                .is_some_and(known)
            {
                draft
                    .horizon(writer, view)
                    .topics
                    .push(Arc::clone(&partition.topic));
            }
        }
    }
    for (view, late) in &gathered.late {
        let horizon = draft.horizon(writer, view.spec.id);
        horizon.late_rows += late.rows;
        horizon.gone_us = horizon.gone_us.max(late.newest_us);
    }
}
