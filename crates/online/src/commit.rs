//! One epoch of one shard: fold rows into the trees of their keys, put every changed record into
//! ONE batch with the progress, write it, publish. The single writer runs here; readers go on
//! undisturbed until the new states are swapped in.
//!
//! Order: gather -> insert and expire per key -> sweep -> progress, horizons, pending scores ->
//! write -> publish. An error before the write changes nothing; what was prepared is thrown away.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Instant;

use forebay_core::invariant;
use forebay_core::ports::{Origin, ShardFold, ShardWrite};
use forebay_core::prediction::PendingScore;
use forebay_core::progress::TopicPartition;
use forebay_core::time::Micros;
use forebay_core::view::ViewId;

use crate::database::{Batch, FamilyBatch};
use crate::error::{OnlineError, OnlineResult};
use crate::expiry::{Floors, expire_key};
use crate::fold::{Admission, DirtyKey, Gathered, gather};
use crate::format::{self, Horizon, ProgressRecord, TileId};
use crate::key_state::KeyState;
use crate::queue::Queue;
use crate::shard::{Shard, Writer};
use crate::stats::{Counters, nanos};
use crate::tree::{Inserter, TileSink};
use crate::view::ViewRuntime;

/// Least capacity of an epoch's batch, bytes.
const BATCH_MIN_BYTES: usize = 4 << 10;

/// The registered views.
pub(crate) type Views = HashMap<ViewId, Arc<ViewRuntime>>;

/// A key whose new state is to be published.
#[derive(Debug)]
pub(crate) struct ChangedKey<'a> {
    pub(crate) view: ViewId,
    pub(crate) hash: u64,
    pub(crate) key: std::borrow::Cow<'a, [u8]>,
    pub(crate) state: Arc<KeyState>,
}

/// What a commit has prepared so far.
pub(crate) struct Draft<'a, 'd> {
    pub(crate) batch: Batch<'d>,
    pub(crate) changed: Vec<ChangedKey<'a>>,
    /// Horizons that differ from the writer's.
    pub(crate) horizons: HashMap<ViewId, Horizon>,
    pub(crate) floors: Floors,
    counts: DraftCounts,
}

#[derive(Debug, Default)]
struct DraftCounts {
    folded: u64,
    duplicates: u64,
    tiles: u64,
    expired: u64,
    created: u64,
}

impl Draft<'_, '_> {
    /// The horizon of `view` as this commit leaves it, to be changed.
    pub(crate) fn horizon<'h>(&'h mut self, writer: &Writer, view: ViewId) -> &'h mut Horizon {
        self.horizons
            .entry(view)
            .or_insert_with(|| writer.horizons.get(&view).cloned().unwrap_or_default())
    }

    /// Note tiles that expire, the newest of whose rows is `newest_us`.
    pub(crate) fn note_expired(
        &mut self,
        writer: &Writer,
        view: ViewId,
        tiles: u64,
        newest_us: Micros,
    ) {
        self.counts.expired += tiles;
        let gone_us = &mut self.horizon(writer, view).gone_us;
        *gone_us = (*gone_us).max(Some(newest_us));
    }
}

/// Tiles of one key into a batch.
pub(crate) struct KeySink<'b, 'd> {
    family: FamilyBatch<'b, 'd>,
    key: &'b mut Vec<u8>,
    prefix: usize,
}

impl<'b, 'd> KeySink<'b, 'd> {
    /// `prefix` holds view and entity key and is lengthened in place.
    pub(crate) fn new(batch: &'b mut Batch<'d>, prefix: &'b mut Vec<u8>) -> Self {
        let length = prefix.len();
        Self {
            family: batch.family(format::FAMILY_TILE),
            key: prefix,
            prefix: length,
        }
    }

    fn key_of(&mut self, id: TileId) -> &[u8] {
        self.key.truncate(self.prefix);
        format::push_tile_suffix(self.key, id);
        self.key
    }
}

impl TileSink for KeySink<'_, '_> {
    fn put(&mut self, id: TileId, bytes: &[u8]) {
        self.key_of(id);
        self.family.put(self.key, bytes);
    }

    fn delete(&mut self, id: TileId) {
        self.key_of(id);
        self.family.delete(self.key);
    }
}

impl Shard {
    /// See [`forebay_core::ports::OnlineStore::commit`].
    pub(crate) fn commit(&self, views: &Views, mut write: ShardWrite) -> OnlineResult<u64> {
        let started = Instant::now();
        let mut writer = self.writer.lock();
        let pending = std::mem::take(&mut write.pending);
        let fold_views = write
            .folds
            .iter()
            .map(|fold| {
                views
                    .get(&fold.view)
                    .cloned()
                    .ok_or(OnlineError::UnknownView(fold.view))
            })
            .collect::<OnlineResult<Vec<_>>>()?;
        let mut index = std::mem::take(&mut writer.index);
        let admission = Admission {
            applied: &writer.progress.applied,
            backfill: write.backfill,
            history_us: self.history_us,
        };
        let gathered = gather(&write.folds, &fold_views, &admission, &mut index);
        writer.index = index;
        let gathered = gathered?;
        self.check_keys(&gathered);

        let mut draft = Draft {
            batch: self
                .database
                .batch(writer.last_batch_bytes.max(BATCH_MIN_BYTES)),
            changed: Vec::with_capacity(gathered.keys.len()),
            horizons: HashMap::new(),
            floors: Floors::new(&writer, views, self.floor.oldest_us(), self.history_us),
            counts: DraftCounts::default(),
        };
        note_folds(&mut draft, &writer, &write.folds, &gathered);
        self.insert_rows(&mut writer, &mut draft, &gathered)?;
        self.sweep(&mut writer, &mut draft, views, &gathered)?;
        let progress = next_progress(&writer.progress, &write);
        self.finish(&mut writer, draft, progress, pending, &write, &gathered)
            .inspect(|_| self.counters.add_commit(started.elapsed()))
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
            insert_key(writer, draft, gathered, dirty, &mut state, &mut prefix);
            prefix.truncate(format::prefix_len(dirty.key));
            if let Some(floor) = draft.floors.of(dirty.view.spec.id) {
                expire_key(writer, draft, &dirty.view, &mut state, floor, &mut prefix);
                prefix.truncate(format::prefix_len(dirty.key));
            }
            state.gone_newest_us = state.gone_newest_us.max(dirty.late_us);
            if !state.known || state.gone_newest_us != before.gone_newest_us {
                draft.counts.created += u64::from(!state.known);
                state.known = true;
                draft.batch.put(
                    format::FAMILY_PRESENCE,
                    &prefix,
                    &format::encode_presence(state.gone_newest_us),
                );
            }
            let key = std::borrow::Cow::Borrowed(dirty.key);
            draft.changed.push(ChangedKey {
                view: dirty.view.spec.id,
                hash: dirty.hash,
                key,
                state: Arc::new(state),
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
                    self.database.load_key(&dirty.view, dirty.key).map(Arc::new)
                }
            })
            .collect()
    }

    /// Put progress, horizons and pending scores into the batch, write it, publish.
    fn finish(
        &self,
        writer: &mut Writer,
        mut draft: Draft<'_, '_>,
        mut progress: ProgressRecord,
        pending: Vec<PendingScore>,
        write: &ShardWrite,
        gathered: &Gathered<'_>,
    ) -> OnlineResult<u64> {
        let fresh = self.fresh_pending(writer, pending, write.backfill);
        let first = progress.next_pending;
        progress.next_pending += fresh.len() as u64;
        let scores = Queue::stage(&mut draft.batch, first, fresh);
        for (view, horizon) in &draft.horizons {
            draft.batch.put(
                format::FAMILY_META,
                &format::horizon_key(*view),
                &horizon.encode(),
            );
        }
        draft.batch.put(
            format::FAMILY_META,
            format::META_PROGRESS,
            &progress.encode(),
        );

        self.check_progress(writer, &draft, &progress, gathered);
        let batch_bytes = draft.batch.size_bytes();
        let applied = Arc::new(progress.applied.clone());
        let changed = draft
            .changed
            .iter()
            .map(|c| (c.view, c.hash, c.key.as_ref(), Arc::clone(&c.state)));
        let gone_us = draft
            .horizons
            .iter()
            .filter_map(|(view, horizon)| Some((*view, horizon.gone_us?)));
        let freed = {
            let _stable = self.gate.write();
            let started = Instant::now();
            draft.batch.write()?;
            Counters::add(&self.counters.write_ns, nanos(started.elapsed()));
            self.publish(progress.epoch, applied, gone_us, changed)
        };
        self.queue.lock().add(scores);
        drop(freed);
        let epoch = progress.epoch;
        writer.progress = progress;
        writer.horizons.extend(draft.horizons);
        writer.last_batch_bytes = batch_bytes;
        self.count(&draft.counts, batch_bytes, gathered);
        Ok(epoch)
    }

    /// The scores that are neither replayed nor pending already, each once.
    fn fresh_pending(
        &self,
        writer: &Writer,
        pending: Vec<PendingScore>,
        backfill: bool,
    ) -> Vec<PendingScore> {
        if pending.is_empty() {
            return pending;
        }
        let queue = self.queue.lock();
        let mut seen = HashSet::new();
        let mut next_offsets: HashMap<(String, i32), i64> = HashMap::new();
        let mut fresh = pending;
        fresh.retain(|score| {
            let place = (score.key.topic.clone(), score.key.partition);
            let next = *next_offsets.entry(place).or_insert_with(|| {
                let partition = TopicPartition::new(score.key.topic.as_str(), score.key.partition);
                writer.progress.applied.next_offset(&partition)
            });
            (backfill || score.key.offset >= next)
                && !queue.contains(&score.key)
                && seen.insert(score.key.clone())
        });
        fresh
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
        progress: &ProgressRecord,
        gathered: &Gathered<'_>,
    ) {
        let before = &writer.progress;
        invariant!(
            EpochsAscend,
            progress.epoch == before.epoch + 1,
            "shard {}: {} after {}",
            self.number,
            progress.epoch,
            before.epoch
        );
        for (view, horizon) in &draft.horizons {
            let gone_us = writer.horizons.get(view).and_then(|h| h.gone_us);
            invariant!(
                HorizonNeverFalls,
                horizon.gone_us >= gone_us,
                "view {view}: {:?} after {gone_us:?}",
                horizon.gone_us
            );
        }
        for (partition, newest_offset) in &gathered.newest_offsets {
            let next_offset = progress.applied.next_offset(partition);
            invariant!(
                ProgressCoversRows,
                next_offset > *newest_offset,
                "{partition:?}: {next_offset} after a row at {newest_offset}"
            );
        }
    }

    fn count(&self, counts: &DraftCounts, batch_bytes: usize, gathered: &Gathered<'_>) {
        let counters = &self.counters;
        Counters::add(&counters.written_bytes, batch_bytes as u64);
        Counters::add(&counters.rows_folded, counts.folded);
        Counters::add(&counters.rows_duplicate, counts.duplicates);
        Counters::add(&counters.rows_replayed, gathered.replayed);
        Counters::add(
            &counters.rows_late,
            gathered.late.iter().map(|(_, late)| late.rows).sum(),
        );
        Counters::add(&counters.tiles_written, counts.tiles);
        Counters::add(&counters.tiles_expired, counts.expired);
        Counters::add(&counters.keys_created, counts.created);
    }
}

/// Insert the rows of `dirty` into `state`; changed tiles go into the batch.
fn insert_key(
    writer: &mut Writer,
    draft: &mut Draft<'_, '_>,
    gathered: &Gathered<'_>,
    dirty: &DirtyKey<'_>,
    state: &mut KeyState,
    prefix: &mut Vec<u8>,
) {
    let new = &gathered.rows[dirty.rows.clone()];
    if new.is_empty() {
        return;
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
        memory_change: 0,
        duplicates: 0,
        tiles: 0,
    };
    inserter.insert_all(&mut state.roots, new);
    state.memory_bytes = state
        .memory_bytes
        .saturating_add_signed(inserter.memory_change);
    draft.counts.duplicates += inserter.duplicates;
    draft.counts.tiles += inserter.tiles;
    draft.counts.folded += new.len() as u64 - inserter.duplicates;
}

/// Note what the folds say beside their rows: topics of the views, rows that are too late.
fn note_folds(
    draft: &mut Draft<'_, '_>,
    writer: &Writer,
    folds: &[ShardFold],
    gathered: &Gathered<'_>,
) {
    for fold in folds {
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
        let horizon = draft.horizon(writer, *view);
        horizon.late_rows += late.rows;
        horizon.gone_us = horizon.gone_us.max(late.newest_us);
    }
}

/// The progress after the epoch. A backfill leaves it where it is.
fn next_progress(before: &ProgressRecord, write: &ShardWrite) -> ProgressRecord {
    let mut progress = before.clone();
    progress.epoch += 1;
    if write.backfill {
        return progress;
    }
    for (partition, read) in &write.progress {
        progress.applied.advance(partition, *read);
    }
    let mut seen: Vec<*const Origin> = Vec::new();
    for fold in &write.folds {
        let origin = Arc::as_ptr(&fold.origin);
        if !seen.contains(&origin) {
            seen.push(origin);
            advance_watermarks(&mut progress.watermarks, &fold.origin);
        }
    }
    progress
}

/// Watermarks never fall within a partition, so its last row has the greatest.
fn advance_watermarks(watermarks: &mut BTreeMap<TopicPartition, Micros>, origin: &Origin) {
    let mut last = vec![None; origin.partitions.len()];
    let mut missing = last.len();
    for (partition, watermark) in origin.partition.iter().zip(&origin.watermark_us).rev() {
        let (Some(slot), Some(watermark)) = (last.get_mut(*partition as usize), watermark) else {
            continue;
        };
        if slot.is_none() {
            *slot = Some(*watermark);
            missing -= 1;
            if missing == 0 {
                break;
            }
        }
    }
    for (partition, watermark) in origin.partitions.iter().zip(last) {
        if let Some(watermark) = watermark {
            let entry = watermarks.entry(partition.clone()).or_insert(watermark);
            *entry = (*entry).max(watermark);
        }
    }
}
