//! [`RocksStore`]: all shards together behind the ports of `core`, one for each role. It opens and
//! closes them, knows the registered views, spreads the keys of a read over the shards and puts the
//! answers together in the order of the request.
//!
//! Who writes: `pipeline`, one thread per shard at a time. Who reads: `serve`, scoring and
//! verification, any number.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use arc_swap::ArcSwap;
use forebay_core::bytes::BytesError;
use forebay_core::index::{RowIndex, ShardId};
use forebay_core::invariant;
use forebay_core::key::{KeyBuffer, key_hash};
use forebay_core::memory::{Budget, Reservation};
use forebay_core::ports::{
    At, EpochWriter, FillNote, FillWrite, FillWriter, OutboxEntry, PendingEntry, Published,
    ScoreLoad, ScoreQueue, Settled, ShardEpoch, ShardWrite, StateHealth, StateProgress,
    StateReader, StoreHealth, UnscoredEntry, ViewDamage, ViewRows, ViewStates,
};
use forebay_core::prediction::Arm;
use forebay_core::progress::Applied;
use forebay_core::settlement::Unscored;
use forebay_core::time::Micros;
use forebay_core::view::{ViewId, ViewSpec};
use forebay_core::watermark::MarkRecord;
use forebay_core::{PortError, PortResult};
use parking_lot::Mutex;

use crate::answers::Answers;
use crate::database::Database;
use crate::error::{OnlineError, OnlineResult};
use crate::find::ShardStates;
use crate::fold::table_hash;
use crate::format;
use crate::options::OnlineOptions;
use crate::queue::PendingFloor;
use crate::rocks_options::SharedBuffers;
use crate::shard::{RECORD_BYTES, Shard};
use crate::stats::{Counters, StoreStats, ViewStats};
use crate::view::{ViewRuntime, Views};
use crate::window::evaluate;
use crate::work::Work;

/// The online store on RocksDB, one directory a shard.
#[derive(Debug)]
pub struct RocksStore {
    pub(crate) shards: Vec<Shard>,
    views: ArcSwap<Views>,
    /// Held while a definition is registered or dropped.
    definitions: Mutex<()>,
    shared: SharedBuffers,
    floor: PendingFloor,
    counters: Arc<Counters>,
}

/// A row of a read that has a key: shard, position in the request, hash of the key.
type ReadRow = (ShardId, RowIndex, u64);

impl RocksStore {
    /// Open the store at `path`, or make it. The number of shards is fixed when it is made. Keys in
    /// memory draw from `budget`.
    ///
    /// # Errors
    /// Options out of their limits, another number of shards than stored, a directory that cannot
    /// be used or is in use by another process, records that cannot be decoded.
    pub fn open(path: &Path, options: &OnlineOptions, budget: &Arc<Budget>) -> OnlineResult<Self> {
        options.check()?;
        std::fs::create_dir_all(path).map_err(|source| OnlineError::Directory {
            path: path.to_owned(),
            source,
        })?;
        let shared = SharedBuffers::new(options);
        let floor = PendingFloor::new(options.shards);
        let counters = Arc::new(Counters::default());
        let shards = (0..options.shards)
            .map(|number| Shard::open(path, number, options, &shared, &floor, &counters, budget))
            .collect::<OnlineResult<Vec<_>>>()?;
        Ok(Self {
            shards,
            views: ArcSwap::default(),
            definitions: Mutex::new(()),
            shared,
            floor,
            counters,
        })
    }

    /// What the store has done and how large it is.
    #[must_use]
    pub fn stats(&self) -> StoreStats {
        let mut stats = self.counters.read();
        stats.rocksdb_bytes = self.shared.usage_bytes() as u64;
        stats.rocksdb = self.shared.stats();
        for shard in &self.shards {
            let table = shard.table.read();
            stats.keys_in_memory += table.keys() as u64;
            stats.table_bytes += table.memory_bytes() as u64;
            stats.history_changes += table.history.changes() as u64;
            drop(table);
            shard.database.add_sizes(&mut stats.rocksdb);
            stats.outbox_records += shard.queue.lock().outbox_len();
            stats.tiles_read += shard.database.tiles_read.load(Ordering::Relaxed);
            stats.branches_read += shard.database.branches_read.load(Ordering::Relaxed);
        }
        stats
    }

    /// Tiles in memory, over all shards. Walks all of them: for tools, not for metrics.
    #[must_use]
    pub fn tiles_in_memory(&self) -> usize {
        self.shards
            .iter()
            .map(|shard| shard.table.read().tiles())
            .sum()
    }

    /// What was read of each registered view, and what came too late for it.
    #[must_use]
    pub fn view_stats(&self) -> Vec<(Arc<ViewSpec>, ViewStats)> {
        let views = self.views.load();
        let stats = views
            .values()
            .map(|view| (Arc::clone(&view.spec), view.counters.read()));
        stats.collect()
    }

    /// Rows of `view` that were too late, since the store was made.
    #[must_use]
    pub fn late_rows(&self, view: ViewId) -> u64 {
        self.shards
            .iter()
            .map(|s| {
                s.writer
                    .lock()
                    .horizons
                    .get(&view)
                    .map_or(0, |h| h.late_rows)
            })
            .sum()
    }

    /// T_min: the least instant at which every shard answers for `view`; None while any instant is
    /// answered.
    #[must_use]
    pub fn t_min_us(&self, view: ViewId) -> Option<i64> {
        let views = self.views.load();
        let runtime = views.get(&view)?;
        let gone = self
            .shards
            .iter()
            .filter_map(|s| s.table.read().gone_us.get(&view).copied())
            .max();
        runtime.t_min_us(gone)
    }

    /// The database that holds what is the store's and no shard's.
    pub(crate) fn meta_database(&self) -> OnlineResult<&Database> {
        Ok(&self.shard(0)?.database)
    }

    fn shard(&self, number: u16) -> OnlineResult<&Shard> {
        let shards = ShardId::count(self.shards.len());
        self.shards
            .get(usize::from(number))
            .ok_or(OnlineError::UnknownShard {
                asked: number,
                shards,
            })
    }

    fn register(&self, spec: Arc<ViewSpec>) -> OnlineResult<()> {
        let _one = self.definitions.lock();
        let database = &self.shard(0)?.database;
        let key = format::view_meta_key(spec.id);
        let stored = self.view_record(spec.id);
        match stored.or_else(|error| self.set_aside_of(&spec, error))? {
            Some((_, digest)) if digest == spec.digest => {}
            // Nothing is folded into what is set aside, or read from it.
            Some((name, _)) if name == spec.name && self.is_set_aside(spec.id) => {}
            Some((name, digest)) => {
                return Err(OnlineError::ViewDiffers {
                    view: spec.id,
                    stored: format!("{name} ({digest})"),
                });
            }
            None => {
                let mut batch = database.batch(RECORD_BYTES)?;
                batch.put(
                    format::FAMILY_META,
                    &key,
                    &format::encode_view(&spec.name, &spec.digest),
                );
                batch.write_synced()?;
            }
        }
        let runtime = Arc::new(ViewRuntime::new(spec)?);
        let mut views = HashMap::clone(&self.views.load());
        views.insert(runtime.spec.id, runtime);
        self.views.store(Arc::new(views));
        Ok(())
    }

    fn unregister(&self, view: ViewId) -> OnlineResult<()> {
        let _one = self.definitions.lock();
        let mut views = HashMap::clone(&self.views.load());
        views.remove(&view);
        self.views.store(Arc::new(views));
        for shard in &self.shards {
            shard.drop_view(view)?;
        }
        let mut batch = self.shard(0)?.database.batch(RECORD_BYTES)?;
        batch.delete(format::FAMILY_META, &format::view_meta_key(view));
        batch.write_synced()
    }

    pub(crate) fn read_identity(&self) -> OnlineResult<Option<String>> {
        self.shard(0)?.database.get(
            format::FAMILY_META,
            format::META_LOG,
            "the log identity",
            |bytes| String::from_utf8(bytes.to_vec()).map_err(|_| BytesError::Utf8),
        )
    }

    pub(crate) fn write_identity(&self, identity: &str) -> OnlineResult<()> {
        let _one = self.definitions.lock();
        match self.read_identity()? {
            Some(stored) if stored == identity => Ok(()),
            Some(stored) => Err(OnlineError::OtherLog {
                stored,
                asked: identity.to_owned(),
            }),
            None => {
                let mut batch = self.shard(0)?.database.batch(RECORD_BYTES)?;
                batch.put(format::FAMILY_META, format::META_LOG, identity.as_bytes());
                batch.write_synced()
            }
        }
    }

    /// The finished rows of `keys`. `memory` holds what is read from disk meanwhile, a shard at a
    /// time, and is as it was afterwards.
    fn read_rows(
        &self,
        view: &ViewRuntime,
        keys: &KeyBuffer,
        at: At<'_>,
        memory: &mut Reservation,
    ) -> OnlineResult<Answers> {
        if let At::PerRow(instants) = at
            && instants.len() != keys.len()
        {
            let (instants, keys) = (instants.len(), keys.len());
            return Err(OnlineError::Mismatch(format!(
                "a read has {keys} keys and {instants} instants"
            )));
        }
        let shards = ShardId::count(self.shards.len());
        let mut rows: Vec<ReadRow> = RowIndex::all(keys.len())
            .filter_map(|row| {
                let hash = key_hash(keys.get(row.index())?);
                Some((ShardId::of_hash(hash, shards), row, hash))
            })
            .collect();
        if shards > 1 {
            rows.sort_unstable();
        }
        let mut answers = Answers {
            rows: vec![None; keys.len()],
            applied: vec![None; keys.len()],
        };
        let (mut hits, held) = (0, memory.bytes());
        for group in rows.chunk_by(|a, b| a.0 == b.0) {
            let read = self.read_shard(view, (keys, at), group, &mut answers, memory);
            memory.shrink_to(held);
            hits += read?;
        }
        invariant!(
            AnswerRowsAsAsked,
            answers.rows.len() == keys.len() && hits <= rows.len() as u64,
            "{} rows for {} keys",
            answers.rows.len(),
            keys.len()
        );
        Counters::add(&self.counters.hot_hits, hits);
        Counters::add(&self.counters.recomputes, rows.len() as u64 - hits);
        Counters::add(&view.counters.hits, hits);
        Counters::add(&view.counters.recomputes, rows.len() as u64 - hits);
        Ok(answers)
    }

    /// Answer the rows of one shard; returns how many were copies.
    fn read_shard(
        &self,
        view: &ViewRuntime,
        (keys, at): (&KeyBuffer, At<'_>),
        group: &[ReadRow],
        answers: &mut Answers,
        memory: &mut Reservation,
    ) -> OnlineResult<u64> {
        let number = group[0].0.number();
        let asked: Vec<(u64, &[u8])> = group
            .iter()
            .map(|(_, row, hash)| {
                (
                    table_hash(view.spec.id, *hash),
                    keys.get(row.index())
                        .expect("rows without a key were left out"),
                )
            })
            .collect();
        let (shard, held) = (self.shard(number)?, memory.bytes());
        let found = shard.states(view, &asked, memory)?;
        let (mut hits, missing) = self.answer_rows(view, at, (group, &found), answers)?;
        if missing.is_empty() {
            return Ok(hits);
        }
        let instants: Vec<Micros> = group.iter().map(|row| at.of(row.1.index())).collect();
        let of = |rows: &[usize]| {
            let asked: Vec<_> = rows.iter().map(|&row| asked[row]).collect();
            let instants: Vec<_> = rows.iter().map(|&row| instants[row]).collect();
            let group: Vec<_> = rows.iter().map(|&row| group[row]).collect();
            (asked, instants, group)
        };
        let (keys, when, rows) = of(&missing);
        let opened = shard.states_at(view, &keys, &when, memory)?;
        let again = match opened.epoch == found.epoch {
            true => self.answer_rows(view, at, (&rows, &opened), answers)?,
            // All rows of the shard are of one epoch.
            false => {
                memory.shrink_to(held);
                let all = shard.states_at(view, &asked, &instants, memory)?;
                hits = 0;
                self.answer_rows(view, at, (group, &all), answers)?
            }
        };
        if !again.1.is_empty() {
            let words =
                format!("a read of shard {number} lacks rows that were read for it; ask again");
            return Err(OnlineError::Mismatch(words));
        }
        Ok(hits + again.0)
    }

    /// Answer the rows of one shard from the states that were found; returns how many were copies,
    /// and the places in `group` of those that need what is on disk alone.
    fn answer_rows(
        &self,
        view: &ViewRuntime,
        at: At<'_>,
        (group, found): (&[ReadRow], &ShardStates),
        answers: &mut Answers,
    ) -> OnlineResult<(u64, Vec<usize>)> {
        let number = group[0].0.number();
        invariant!(
            AnswerRowsAsAsked,
            found.states.len() == group.len() && group.iter().all(|row| row.0 == group[0].0),
            "{} states for {} rows of shard {number}",
            found.states.len(),
            group.len()
        );
        let t_min_us = view.t_min_us(found.gone_us);
        let applied = ShardEpoch {
            shard: number,
            epoch: found.epoch,
        };
        let (mut hits, mut missing) = (0, Vec::new());
        for (place, ((_, row, _), state)) in group.iter().zip(&found.states).enumerate() {
            let row = row.index();
            let at_us = at.of(row);
            if let Some(t_min_us) = t_min_us.filter(|t_min_us| at_us < *t_min_us) {
                return Err(OnlineError::TooOld {
                    view: view.spec.name.clone(),
                    t_min_us,
                    at_us,
                });
            }
            answers.applied[row] = Some(applied);
            answers.rows[row] = None;
            let Some(state) = state.as_ref().filter(|state| state.known) else {
                continue;
            };
            if let Some(hot) = state.hot.load().as_ref().filter(|hot| hot.answers(at_us)) {
                answers.rows[row] = Some(Arc::clone(hot));
                hits += 1;
                continue;
            }
            let Ok(computed) = evaluate(view, state, at_us).map(Arc::new) else {
                missing.push(place);
                continue;
            };
            state.hot.store(Some(Arc::clone(&computed)));
            answers.rows[row] = Some(computed);
        }
        Ok((hits, missing))
    }
}

impl Drop for RocksStore {
    fn drop(&mut self) {
        self.shards.iter().for_each(|shard| shard.database.close());
    }
}

impl StateReader for RocksStore {
    fn read(
        &self,
        view: ViewId,
        keys: &KeyBuffer,
        at: At<'_>,
        memory: &mut Reservation,
    ) -> PortResult<ViewRows> {
        let views = self.views.load();
        let runtime = views.get(&view).ok_or(OnlineError::UnknownView(view))?;
        self.read_rows(runtime, keys, at, memory)?
            .into_view_rows(&runtime.spec, memory)
    }

    fn applied_at(&self, at: ShardEpoch) -> Option<Arc<Applied>> {
        self.shard(at.shard).ok()?.table.read().history.at(at.epoch)
    }
}

impl StateProgress for RocksStore {
    fn shards(&self) -> u16 {
        ShardId::count(self.shards.len())
    }

    fn applied(&self, shard: u16) -> Arc<Applied> {
        self.shard(shard).map_or_else(
            |_| Arc::default(),
            |shard| Arc::clone(shard.table.read().history.applied()),
        )
    }

    fn marks(&self, shard: u16) -> PortResult<Vec<MarkRecord>> {
        Ok(crate::marks::read(&self.shard(shard)?.database)?)
    }
}

impl EpochWriter for RocksStore {
    fn commit(&self, shard: u16, write: &ShardWrite) -> PortResult<u64> {
        let views = self.views.load_full();
        Ok(self.shard(shard)?.commit(&views, Work::Epoch(write))?)
    }

    fn keep_from(&self, oldest_us: Option<Micros>) {
        self.floor.keep_from(oldest_us);
    }
}

impl FillWriter for RocksStore {
    fn fill(&self, shard: u16, write: &FillWrite) -> PortResult<()> {
        let views = self.views.load_full();
        self.shard(shard)?.commit(&views, Work::Fill(write))?;
        Ok(())
    }

    fn filled(&self, shard: u16, view: ViewId) -> PortResult<Option<FillNote>> {
        Ok(self.shard(shard)?.filled(view)?)
    }

    fn end_fill(&self, view: ViewId) -> PortResult<()> {
        for shard in &self.shards {
            shard.end_fill(view)?;
        }
        Ok(())
    }

    fn sync(&self) -> PortResult<()> {
        for shard in &self.shards {
            shard.database.sync()?;
        }
        Ok(())
    }

    fn is_settled(&self) -> bool {
        self.shards.iter().all(|shard| shard.database.is_well())
    }
}

impl ViewStates for RocksStore {
    fn register_view(&self, view: Arc<ViewSpec>) -> PortResult<()> {
        self.register(view).map_err(PortError::from)
    }

    fn drop_view(&self, view: ViewId) -> PortResult<()> {
        self.unregister(view).map_err(PortError::from)
    }

    fn views(&self) -> PortResult<Vec<ViewId>> {
        let mut views = Vec::new();
        let database = &self.shard(0)?.database;
        let prefix = format::view_meta_prefix();
        database.scan(format::FAMILY_META, prefix, None, |key, _| {
            let view = format::parse_view_meta_key(key);
            views.extend(view);
            Ok(view.is_some())
        })?;
        Ok(views)
    }
}

impl StateHealth for RocksStore {
    fn health(&self) -> StoreHealth {
        let troubles: Vec<&Shard> = self
            .shards
            .iter()
            .filter(|shard| !shard.database.is_well())
            .collect();
        let lost = troubles.iter().find(|shard| shard.database.is_lost());
        let Some(shard) = lost.or_else(|| troubles.first()) else {
            let damage = self.shards.iter().find_map(|s| s.database.read_damage());
            return damage.map_or(StoreHealth::Well, |why| StoreHealth::Troubled { why });
        };
        let why = format!("shard {}: {}", shard.number, shard.database.why());
        match lost {
            Some(_) => StoreHealth::Lost { why },
            None => StoreHealth::Troubled { why },
        }
    }

    fn set_aside(&self) -> Vec<ViewDamage> {
        self.damages()
    }
}

impl ScoreQueue for RocksStore {
    fn score_load(&self, shard: u16) -> PortResult<BTreeMap<String, ScoreLoad>> {
        Ok(self.shard(shard)?.queue.lock().load())
    }

    fn pending(
        &self,
        shard: u16,
        deployment: &str,
        arm: Arm,
        from: u64,
        limit: usize,
    ) -> PortResult<Vec<PendingEntry>> {
        let shard = self.shard(shard)?;
        let queue = shard.queue.lock();
        let of = (deployment, arm);
        Ok(queue.pending(&shard.database, of, from, limit)?)
    }

    fn settle(&self, shard: u16, settled: &[Settled]) -> PortResult<()> {
        let shard = self.shard(shard)?;
        Ok(shard.queue_back()?.settle(&shard.database, settled)?)
    }

    fn outbox(
        &self,
        shard: u16,
        of: (&str, &str),
        from: u64,
        limit: usize,
    ) -> PortResult<Vec<OutboxEntry>> {
        let shard = self.shard(shard)?;
        let queue = shard.queue.lock();
        Ok(queue.outbox(&shard.database, of, from, limit)?)
    }

    fn clear_outbox(&self, shard: u16, published: &[Published<'_>]) -> PortResult<()> {
        let shard = self.shard(shard)?;
        let mut queue = shard.queue_back()?;
        Ok(queue.clear_outbox(&shard.database, published)?)
    }

    fn note(&self, shard: u16, notes: &[Unscored]) -> PortResult<()> {
        let shard = self.shard(shard)?;
        let mut queue = shard.queue_back()?;
        Ok(queue.note(&shard.database, notes)?)
    }

    fn unscored(&self, shard: u16, from: u64, limit: usize) -> PortResult<Vec<UnscoredEntry>> {
        let shard = self.shard(shard)?;
        let queue = shard.queue.lock();
        Ok(queue.unscored(&shard.database, from, limit)?)
    }

    fn clear_unscored(&self, shard: u16, sequence: u64) -> PortResult<()> {
        let shard = self.shard(shard)?;
        let mut queue = shard.queue_back()?;
        Ok(queue.clear_unscored(&shard.database, sequence)?)
    }

    fn number_notes_from(&self, shard: u16, first: u64) -> PortResult<()> {
        let shard = self.shard(shard)?;
        let mut queue = shard.queue_back()?;
        Ok(queue.number_notes_from(&shard.database, first)?)
    }
}
