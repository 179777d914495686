//! One shard: its RocksDB, its published table and its one writer. This file holds the parts
//! together and opens them; `commit` writes, `find` reads, `expiry` removes, `queue` keeps scores
//! and outbox.
//!
//! Locks, always taken in this order: `writer` (one commit at a time), `gate`, `table` or `queue`,
//! `memory`.
//! A commit holds `gate` from the RocksDB write to the publication, and a reader that must look on
//! disk holds it shared: so what such a reader loads belongs to the published epoch. Readers that
//! find all keys in memory never touch `gate`.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use forebay_core::index::ShardId;
use forebay_core::invariant;
use forebay_core::limits::APPLIED_HISTORY_MAX_CHANGES;
use forebay_core::memory::{Budget, Part, Reservation};
use forebay_core::ports::FillNote;
use forebay_core::time::Micros;
use forebay_core::view::ViewId;
use parking_lot::{Mutex, MutexGuard, RwLock};

use crate::database::Database;
use crate::draft::Publication;
use crate::error::{OnlineError, OnlineResult};
use crate::fold::key_hash_of;
use crate::format::{self, Horizon, PartitionRecord, ProgressRecord, StoreRecord};
use crate::heal::{Step, next_step};
use crate::history::{AppliedHistory, HistoryLimits};
use crate::key_state::KeyState;
use crate::load::KeyOpener;
use crate::marks::{self, Holds};
use crate::options::OnlineOptions;
use crate::queue::{PendingFloor, Queue};
use crate::rocks_options::SharedBuffers;
use crate::stats::Counters;
use crate::table::{Evicted, Table};
use crate::writer::Writer;

/// Capacity for a record or two in a batch, bytes.
pub(crate) const RECORD_BYTES: usize = 256;

/// One shard: its RocksDB, its published keys, its one writer.
#[derive(Debug)]
pub(crate) struct Shard {
    pub(crate) number: u16,
    shards: u16,
    pub(crate) database: Database,
    pub(crate) writer: Mutex<Writer>,
    pub(crate) gate: RwLock<()>,
    pub(crate) table: RwLock<Table>,
    /// What the table holds of the process's memory. Locked after `table`.
    memory: Mutex<Reservation>,
    pub(crate) queue: Mutex<Queue>,
    pub(crate) floor: PendingFloor,
    pub(crate) counters: Arc<Counters>,
    pub(crate) history_us: Micros,
    table_bytes: usize,
    history_limits: HistoryLimits,
}

impl Shard {
    /// Open or make shard `number` under `root`.
    pub(crate) fn open(
        root: &Path,
        number: u16,
        options: &OnlineOptions,
        shared: &SharedBuffers,
        floor: &PendingFloor,
        counters: &Arc<Counters>,
        budget: &Arc<Budget>,
    ) -> OnlineResult<Self> {
        let database = Database::open(
            &root.join(format!("shard-{number:04}")),
            number,
            options,
            shared,
        )?;
        check_store_record(&database, number, options.shards)?;
        let loaded = Loaded::of(&database, number, floor)?;
        let limits = HistoryLimits {
            epochs: options.applied_kept_epochs,
            changes: APPLIED_HISTORY_MAX_CHANGES,
        };
        let table = loaded.table(limits);
        Ok(Self {
            number,
            shards: options.shards,
            database,
            writer: Mutex::new(Writer {
                progress: loaded.progress,
                horizons: loaded.horizons,
                holds: loaded.holds,
                ..Writer::default()
            }),
            gate: RwLock::new(()),
            table: RwLock::new(table),
            memory: Mutex::new(budget.empty(Part::HotTable)),
            queue: Mutex::new(loaded.queue),
            floor: floor.clone(),
            counters: Arc::clone(counters),
            history_us: options.history_us,
            table_bytes: options.table_bytes / usize::from(options.shards),
            history_limits: limits,
        })
    }

    /// The shard that a key with this hash in the table belongs to.
    pub(crate) fn shard_of_hash(&self, view: ViewId, table_hash: u64) -> u16 {
        ShardId::of_hash(key_hash_of(view, table_hash), self.shards).number()
    }

    /// Count what a write has read of keys that were in memory in part.
    pub(crate) fn count_opened(&self, opener: &KeyOpener<'_>) {
        if opener.opened > 0 {
            Counters::add(&self.counters.spans_loaded, opener.opened);
            Counters::add(&opener.view.counters.loads, opener.opened);
        }
    }

    pub(crate) fn count_evicted(&self, evicted: &Evicted) {
        Counters::add(&self.counters.keys_evicted, evicted.keys);
        Counters::add(&self.counters.keys_trimmed, evicted.trimmed);
    }

    /// Drop what is above the table's budget, or above what there is of the process's memory. Comes
    /// after the entries that it makes room for: they were on disk before, so nothing waits for
    /// it, and what is over the budget for a moment is one epoch, or one read.
    pub(crate) fn evict(&self, table: &mut Table) -> Evicted {
        let mut memory = self.memory.lock();
        let wanted = table.memory_bytes().min(self.table_bytes);
        let evicted = table.evict(memory.resize_up_to(wanted));
        memory.shrink_to(table.memory_bytes());
        evicted
    }

    /// Publish an epoch whose batch RocksDB has: the caller holds `gate`. Returns what is to be
    /// freed.
    pub(crate) fn publish(&self, publication: &Publication<'_>) -> Vec<Arc<KeyState>> {
        let mut table = self.table.write();
        invariant!(
            EpochsAscend,
            publication.epoch == table.epoch() + 1,
            "shard {}: {} after {}",
            self.number,
            publication.epoch,
            table.epoch()
        );
        let mut freed = Vec::new();
        for c in publication.changed {
            if !c.enters && table.peek(c.view, c.hash, &c.key).is_none() {
                continue;
            }
            freed.extend(table.publish(c.view, c.hash, &c.key, Arc::clone(&c.state)));
        }
        for gone in publication.forgotten {
            freed.extend(table.forget(gone.view, gone.hash, &gone.key));
        }
        for (view, horizon) in publication.horizons {
            table
                .gone_us
                .extend(horizon.gone_us.map(|gone| (*view, gone)));
            if let Some(why) = &horizon.damage {
                freed.extend(table.set_aside(*view, why));
            }
        }
        let moved = publication
            .moved
            .iter()
            .map(|(p, record)| (p, record.progress));
        table.history.advance(publication.epoch, moved);
        let evicted = self.evict(&mut table);
        drop(table);
        self.count_evicted(&evicted);
        freed.extend(evicted.states);
        freed
    }

    /// Before a write: bring the database back when the last one failed and RocksDB has not come
    /// back by itself.
    pub(crate) fn bring_back(&self, writer: &mut Writer) -> OnlineResult<()> {
        let Some(trouble) = self.database.trouble() else {
            return Ok(());
        };
        let (shard, why) = (self.number, self.database.why());
        match next_step(trouble) {
            Step::Write => Ok(()),
            Step::Wait => Err(OnlineError::Closed { shard, why }),
            Step::GiveUp => Err(OnlineError::Lost { shard, why }),
            Step::Reopen => self.reopen(writer),
        }
    }

    /// The queue, for a write that takes no part in a commit, after [`Self::bring_back`].
    pub(crate) fn queue_back(&self) -> OnlineResult<MutexGuard<'_, Queue>> {
        if !self.database.is_well() {
            self.bring_back(&mut self.writer.lock())?;
        }
        Ok(self.queue.lock())
    }

    /// Open the database anew and go on from what it holds.
    fn reopen(&self, writer: &mut Writer) -> OnlineResult<()> {
        let _stable = self.gate.write();
        let outcome = match self.database.reopen() {
            Err(error) if !self.database.is_open() => Err(error),
            // Readers go on from this disk, whether it takes writes or not.
            reopened => self.take_up(writer).and(reopened),
        };
        match &outcome {
            Ok(()) => {
                self.database.note_success();
                let (shard, epoch) = (self.number, writer.progress.epoch);
                tracing::info!(shard, epoch, "the state was opened anew");
            }
            Err(error) => self.database.note_failed_reopen(error),
        }
        outcome
    }

    /// Take up what the database that was opened anew holds. That may be more than was published:
    /// the write that failed may have reached the WAL. The caller holds `gate`.
    fn take_up(&self, writer: &mut Writer) -> OnlineResult<()> {
        let mut queue = self.queue.lock();
        // What readers know may be behind this disk: they must not see it before the table.
        let loaded = Loaded::of(&self.database, self.number, &self.floor)
            .inspect_err(|_| self.database.close_unread())?;
        let (before, now) = (writer.progress.epoch, loaded.progress.epoch);
        invariant!(
            DiskNotBehindReaders,
            now >= before,
            "shard {}: epoch {now} on disk, {before} published",
            self.number
        );
        if now < before {
            let why = format!("epoch {now} is on disk and {before} was published");
            return Err(OnlineError::Lost {
                shard: self.number,
                why,
            });
        }
        let mut anew = loaded.table(self.history_limits);
        let mut table = self.table.write();
        if now == before {
            // The keys go all the same: the write that failed may have dropped a view, which makes
            // no epoch. Answers that were given go on naming what they had applied.
            std::mem::swap(&mut anew.history, &mut table.history);
        }
        let freed = std::mem::replace(&mut *table, anew);
        drop(table);
        drop(freed);
        writer.progress = loaded.progress;
        writer.horizons = loaded.horizons;
        writer.holds = loaded.holds;
        *queue = loaded.queue;
        Ok(())
    }

    /// How far the fill of `view` is.
    pub(crate) fn filled(&self, view: ViewId) -> OnlineResult<Option<FillNote>> {
        self.database.get(
            format::FAMILY_META,
            &format::fill_key(view),
            "the note of a fill",
            format::decode_fill,
        )
    }

    /// The fill of `view` is over.
    pub(crate) fn end_fill(&self, view: ViewId) -> OnlineResult<()> {
        // Whatever it says: it goes.
        let (meta, key) = (format::FAMILY_META, format::fill_key(view));
        let what = "the note of a fill";
        if self.database.get(meta, &key, what, |_| Ok(()))?.is_none() {
            return Ok(());
        }
        let _one = self.writer.lock();
        let mut batch = self.database.batch(RECORD_BYTES)?;
        batch.delete(meta, &key);
        batch.write_synced()
    }

    /// Delete all state of a view.
    pub(crate) fn drop_view(&self, view: ViewId) -> OnlineResult<()> {
        let mut writer = self.writer.lock();
        let _stable = self.gate.write();
        let (from, to) = format::view_range(view);
        let mut batch = self.database.batch(RECORD_BYTES)?;
        batch.delete_range(format::FAMILY_TILE, &from, &to);
        batch.delete_range(format::FAMILY_BRANCH, &from, &to);
        batch.delete_range(format::FAMILY_PRESENCE, &from, &to);
        batch.delete(format::FAMILY_META, &format::horizon_key(view));
        batch.delete(format::FAMILY_META, &format::fill_key(view));
        // Before the view's own record goes: without it nobody would find the rest again.
        batch.write_synced()?;
        writer.horizons.remove(&view);
        writer.sweeper.forget(view);
        writer.presence_sweeper.forget(view);
        let freed = self.table.write().remove_view(view);
        drop(freed);
        Ok(())
    }
}

/// What a shard knows from its disk.
struct Loaded {
    progress: ProgressRecord,
    horizons: HashMap<ViewId, Horizon>,
    holds: Holds,
    queue: Queue,
    is_empty: bool,
}

impl Loaded {
    fn of(database: &Database, number: u16, floor: &PendingFloor) -> OnlineResult<Self> {
        let mut is_empty = true;
        database.scan(format::FAMILY_PRESENCE, &[], None, |_, _| {
            is_empty = false;
            Ok(false)
        })?;
        Ok(Self {
            progress: read_progress(database)?,
            horizons: read_horizons(database)?,
            holds: Holds::of(&marks::read(database)?),
            queue: Queue::recover(database, number, floor.clone())?,
            is_empty,
        })
    }

    /// A table without keys: they are read when they are asked for.
    fn table(&self, limits: HistoryLimits) -> Table {
        let applied = Arc::new(self.progress.applied.clone());
        let history = AppliedHistory::new(self.progress.epoch, applied, limits);
        let gone_us = self
            .horizons
            .iter()
            .filter_map(|(view, horizon)| Some((*view, horizon.gone_us?)))
            .collect();
        let mut table = Table::new(history, gone_us, self.is_empty);
        for (view, horizon) in &self.horizons {
            if let Some(why) = &horizon.damage {
                table.set_aside(*view, why);
            }
        }
        table
    }
}

/// Write who this shard is, or check it.
fn check_store_record(database: &Database, number: u16, shards: u16) -> OnlineResult<()> {
    let stored = database.get(
        format::FAMILY_META,
        format::META_STORE,
        "the store record",
        StoreRecord::decode,
    )?;
    let asked = StoreRecord {
        shards: u32::from(shards),
        shard: u32::from(number),
    };
    match stored {
        Some(stored) if stored == asked => Ok(()),
        Some(stored) if stored.shard != asked.shard => Err(database.corrupt(
            "the store record",
            format!("the directory belongs to shard {}", stored.shard),
        )),
        Some(stored) => Err(OnlineError::ShardCount {
            stored: stored.shards,
            asked: shards,
        }),
        None => {
            let mut batch = database.batch(RECORD_BYTES)?;
            batch.put(format::FAMILY_META, format::META_STORE, &asked.encode());
            batch.write_synced()
        }
    }
}

/// How far the shard is on disk: its own record and one for each partition.
fn read_progress(database: &Database) -> OnlineResult<ProgressRecord> {
    let mut progress = database
        .get(
            format::FAMILY_META,
            format::META_PROGRESS,
            "the progress record",
            format::decode_progress,
        )?
        .unwrap_or_default();
    database.scan(
        format::FAMILY_META,
        format::partition_prefix(),
        None,
        |key, value| {
            let Some(partition) = format::parse_partition_key(key) else {
                return Ok(false);
            };
            let what = "the progress of a partition";
            let partition = partition.map_err(|why| database.corrupt(what, why))?;
            let record =
                PartitionRecord::decode(value).map_err(|why| database.corrupt(what, why))?;
            progress.set(&partition, record);
            Ok(true)
        },
    )?;
    Ok(progress)
}

fn read_horizons(database: &Database) -> OnlineResult<HashMap<ViewId, Horizon>> {
    let mut horizons = HashMap::new();
    database.scan(
        format::FAMILY_META,
        format::horizon_prefix(),
        None,
        |key, value| {
            let Some(view) = format::parse_horizon_key(key) else {
                return Ok(false);
            };
            let decoded =
                Horizon::decode(value).map_err(|why| database.corrupt("a horizon record", why));
            let horizon = decoded.or_else(|error| match error.damage() {
                Some(why) => {
                    tracing::error!(%error, view, "a view is set aside");
                    Ok(Horizon {
                        damage: Some(why.into()),
                        ..Horizon::default()
                    })
                }
                None => Err(error),
            })?;
            horizons.insert(view, horizon);
            Ok(true)
        },
    )?;
    Ok(horizons)
}

#[cfg(test)]
mod tests {
    use forebay_core::ErrorKind;

    use super::*;
    use crate::heal::REOPENS_MAX;

    fn open(root: &Path) -> OnlineResult<Shard> {
        let options = OnlineOptions {
            shards: 1,
            ..OnlineOptions::default()
        };
        let shared = SharedBuffers::new(&options);
        let floor = PendingFloor::new(1);
        let budget = Budget::whole(usize::MAX);
        Shard::open(root, 0, &options, &shared, &floor, &Arc::default(), &budget)
    }

    #[test]
    fn another_format_is_refused_with_the_remedy_and_never_misread() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let own = {
            let shard = open(directory.path()).expect("a new one");
            let record = shard.database.get(
                format::FAMILY_META,
                format::META_STORE,
                "the store record",
                |bytes| Ok(bytes.to_vec()),
            );
            record
                .expect("readable")
                .expect("written at the first open")
        };
        for version in [own[0] - 1, own[0] + 1] {
            {
                let shard = open(directory.path());
                let shard = shard.expect("its own format");
                let mut other = own.clone();
                other[0] = version;
                let mut batch = shard.database.batch(RECORD_BYTES).expect("open");
                batch.put(format::FAMILY_META, format::META_STORE, &other);
                batch.write().expect("written");
            }
            let error = open(directory.path()).expect_err("another format");
            assert_eq!(error.kind(), ErrorKind::FailedPrecondition);
            let words = error.to_string();
            for part in [
                "shard-0000",
                &format!("format {version}"),
                "move the state directory away",
            ] {
                assert!(words.contains(part), "{words}");
            }
            let options = OnlineOptions {
                shards: 1,
                ..OnlineOptions::default()
            };
            let shared = SharedBuffers::new(&options);
            let path = directory.path().join("shard-0000");
            let database =
                Database::open(&path, 0, &options, &shared).expect("RocksDB's own format");
            let mut batch = database.batch(RECORD_BYTES).expect("open");
            batch.put(format::FAMILY_META, format::META_STORE, &own);
            batch.write().expect("written");
        }
    }

    #[test]
    fn a_shard_that_cannot_be_opened_for_writes_is_read_until_it_can() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let shard = open(directory.path()).expect("a new one");
        let stored = || {
            let (meta, key, what) = (format::FAMILY_META, b"kept".as_slice(), "a test's record");
            shard
                .database
                .get(meta, key, what, |bytes| Ok(bytes.to_vec()))
        };
        let write = |value: &[u8]| {
            shard.bring_back(&mut shard.writer.lock())?;
            let mut batch = shard.database.batch(RECORD_BYTES)?;
            batch.put(format::FAMILY_META, b"kept", value);
            batch.write()
        };
        write(b"first").expect("written");
        let unwritten = OnlineError::Closed {
            shard: 0,
            why: "a disk of a test is full".to_owned(),
        };
        // As two writes that RocksDB refused.
        shard.database.note_failed_reopen(&unwritten);
        shard.database.note_failed_reopen(&unwritten);
        // A folder of its name: RocksDB locks what it opens for writes, and not what it only reads.
        let lock = directory.path().join("shard-0000/LOCK");
        std::fs::remove_file(&lock).expect("the lock of an open database");
        std::fs::create_dir(&lock).expect("a folder");
        for _ in 3..REOPENS_MAX {
            let error = write(b"second").expect_err("it cannot be locked");
            assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
            assert_eq!(stored().expect("reads go on"), Some(b"first".to_vec()));
        }
        std::fs::remove_dir(&lock).expect("an empty folder");
        write(b"second").expect("it can be opened for writes again");
        assert_eq!(stored().expect("readable"), Some(b"second".to_vec()));
    }
}
