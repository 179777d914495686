//! One shard's RocksDB: opening it, reading records (`load`: whole keys), writing batches, and
//! noticing when it no longer takes them. Nothing outside this file and `rocks_options` names a
//! column family handle or an option.
//!
//! Values are whole; there are no merge operators. Errors are told apart in `damage`; what is done
//! about a database that no longer writes is decided in `heal` and carried out by `shard`.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use forebay_core::ErrorKind;
use forebay_core::error::with_causes;
use parking_lot::{MappedRwLockReadGuard, Mutex, RwLock, RwLockReadGuard};
use rocksdb::{DB, ReadOptions, WriteBatch, WriteOptions};

use crate::damage::disk_error;
use crate::error::{OnlineError, OnlineResult};
use crate::format::{self, Decoded};
use crate::heal::{REOPENS_MAX, Trouble};
use crate::options::OnlineOptions;
use crate::rocks_options::{SharedBuffers, database_options};
use crate::room;
use crate::stats::RocksStats;
use forebay_core::bytes::BytesError;
use forebay_core::view::ViewId;

/// Property of RocksDB that changes whenever a memtable is closed or a flush is done.
const SUPER_VERSION: &str = "rocksdb.current-super-version-number";
/// Property of RocksDB: closed memtables that wait for their flush.
const CLOSED_MEMTABLES: &str = "rocksdb.num-immutable-mem-table";
/// Properties of a family: bytes of its files, and of what its compactions have yet to rewrite.
const FILE_BYTES: &str = "rocksdb.total-sst-files-size";
const COMPACTION_PENDING_BYTES: &str = "rocksdb.estimate-pending-compaction-bytes";

/// Which record a walk goes on with.
#[derive(Debug)]
pub(crate) enum Step {
    Next,
    /// The first one that is not below this key.
    Seek(Vec<u8>),
}

/// An open shard directory. After an error that RocksDB does not come back from it may be open for
/// reads alone, or closed, until it could be opened anew.
pub(crate) struct Database {
    shard: u16,
    path: PathBuf,
    options: OnlineOptions,
    shared: SharedBuffers,
    db: RwLock<Option<Opened>>,
    /// What has failed since the last write that did not.
    failure: Mutex<Failure>,
    /// Whether `failure` holds anything: looked at before each write.
    is_troubled: AtomicBool,
    /// The first damage that a read met.
    read_damage: Mutex<Option<String>>,
    /// [`SUPER_VERSION`] when the WALs were last looked at.
    seen_version: AtomicU64,
    /// Tiles, and records of branches, that were read for keys.
    pub(crate) tiles_read: AtomicU64,
    pub(crate) branches_read: AtomicU64,
}

struct Opened {
    db: DB,
    is_writable: bool,
}

#[derive(Debug, Default)]
struct Failure {
    failures: u32,
    failed_reopens: u32,
    is_damaged: bool,
    why: String,
}

/// The open database; held while it is used, so that it is not closed meanwhile.
type OpenDb<'a> = MappedRwLockReadGuard<'a, DB>;

impl std::fmt::Debug for Database {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Database")
            .field("shard", &self.shard)
            .finish_non_exhaustive()
    }
}

fn open_db(
    path: &Path,
    options: &OnlineOptions,
    shared: &SharedBuffers,
) -> Result<DB, rocksdb::Error> {
    let (db_options, families) = database_options(options, shared);
    DB::open_cf_descriptors(&db_options, path, families)
}

/// Open for reads alone, which writes no file: what the WAL holds is read into memory.
fn open_to_read(
    path: &Path,
    options: &OnlineOptions,
    shared: &SharedBuffers,
) -> Result<DB, rocksdb::Error> {
    let (db_options, families) = database_options(options, shared);
    DB::open_cf_descriptors_read_only(&db_options, path, families, false)
}

/// The handle of a family.
fn family<'a>(db: &'a DB, name: &'static str) -> &'a rocksdb::ColumnFamily {
    db.cf_handle(name).expect("all families were opened")
}

impl Database {
    pub(crate) fn open(
        path: &Path,
        shard: u16,
        options: &OnlineOptions,
        shared: &SharedBuffers,
    ) -> OnlineResult<Self> {
        let db = open_db(path, options, shared)
            .map_err(|source| disk_error(path, shard, "opened", source))?;
        Ok(Self {
            shard,
            path: path.to_owned(),
            options: options.clone(),
            shared: shared.clone(),
            db: RwLock::new(Some(Opened {
                db,
                is_writable: true,
            })),
            failure: Mutex::default(),
            is_troubled: AtomicBool::new(false),
            read_damage: Mutex::default(),
            seen_version: AtomicU64::new(0),
            tiles_read: AtomicU64::new(0),
            branches_read: AtomicU64::new(0),
        })
    }

    /// Close the database, which releases the directory, and open it anew. What RocksDB was handed
    /// is in the WAL and comes back with it. Where that fails, as on a disk without room for what
    /// the WAL holds, it is opened for reads, if it can be. The trouble is over once the caller has
    /// read from it what it knows ([`Self::note_success`]).
    pub(crate) fn reopen(&self) -> OnlineResult<()> {
        let mut opened = self.db.write();
        *opened = None;
        match open_db(&self.path, &self.options, &self.shared) {
            Ok(db) => {
                let is_writable = true;
                *opened = Some(Opened { db, is_writable });
                Ok(())
            }
            Err(source) => {
                let db = open_to_read(&self.path, &self.options, &self.shared).ok();
                let is_writable = false;
                *opened = db.map(|db| Opened { db, is_writable });
                Err(disk_error(&self.path, self.shard, "opened", source))
            }
        }
    }

    /// Whether it can be read.
    pub(crate) fn is_open(&self) -> bool {
        self.db.read_recursive().is_some()
    }

    /// What was opened anew cannot be read: it is closed until the next attempt.
    pub(crate) fn close_unread(&self) {
        *self.db.write() = None;
    }

    /// An attempt to open the database anew has failed.
    pub(crate) fn note_failed_reopen(&self, error: &OnlineError) {
        self.note_failure(error);
        self.failure.lock().failed_reopens += 1;
    }

    /// The facts of a failure that is not over; None when the last write went through.
    pub(crate) fn trouble(&self) -> Option<Trouble> {
        if !self.is_troubled.load(Ordering::Acquire) {
            return None;
        }
        let is_writable = self.is_writable();
        let failure = self.failure.lock();
        Some(Trouble {
            is_damaged: failure.is_damaged,
            failures: failure.failures,
            failed_reopens: failure.failed_reopens,
            is_writable,
            takes_files: room::takes_files(&self.path),
            has_descriptors: self.has_descriptors(),
        })
    }

    /// Whether the last write went through and nothing was found damaged.
    pub(crate) fn is_well(&self) -> bool {
        !self.is_troubled.load(Ordering::Acquire)
    }

    /// What failed last.
    pub(crate) fn why(&self) -> String {
        self.failure.lock().why.clone()
    }

    /// Whether stored bytes were found damaged, or the attempts to come back are used up.
    pub(crate) fn is_lost(&self) -> bool {
        let failure = self.failure.lock();
        failure.is_damaged || failure.failed_reopens >= REOPENS_MAX
    }

    /// Whether the process may open as many files as opening the shard anew keeps open. A shard
    /// that still is open gives its own back first.
    fn has_descriptors(&self) -> bool {
        let files = match self.is_open() {
            true => 0,
            false => std::fs::read_dir(&self.path).map_or(0, Iterator::count),
        };
        let most = self.options.open_files_max;
        room::has_descriptors(
            &self.path,
            most.map_or(files, |most| files.min(usize::from(most.get()))),
        )
    }

    /// A write went through, or the database was opened anew and read.
    pub(crate) fn note_success(&self) {
        if self.is_troubled.load(Ordering::Acquire) {
            *self.failure.lock() = Failure::default();
            self.is_troubled.store(false, Ordering::Release);
            tracing::info!(shard = self.shard, "the state can be written again");
        }
    }

    fn note_failure(&self, error: &OnlineError) {
        let mut failure = self.failure.lock();
        failure.failures = failure.failures.saturating_add(1);
        failure.is_damaged |= error.kind() == ErrorKind::DataLoss;
        failure.why =
            std::error::Error::source(error).map_or_else(|| error.to_string(), ToString::to_string);
        if !self.is_troubled.swap(true, Ordering::AcqRel) {
            tracing::warn!(
                shard = self.shard,
                cause = failure.why,
                "the state cannot be written; reads go on, writes are tried again"
            );
        }
    }

    fn db(&self) -> OnlineResult<OpenDb<'_>> {
        // Recursive: a commit reads while it holds its batch, also when a reopen waits.
        self.opened(|opened| Some(&opened.db))
    }

    /// The database where it takes writes.
    fn writable_db(&self) -> OnlineResult<OpenDb<'_>> {
        self.opened(|opened| opened.is_writable.then_some(&opened.db))
    }

    fn is_writable(&self) -> bool {
        self.writable_db().is_ok()
    }

    fn opened(&self, choose: impl Fn(&Opened) -> Option<&DB>) -> OnlineResult<OpenDb<'_>> {
        let opened = self.db.read_recursive();
        RwLockReadGuard::try_map(opened, |opened| opened.as_ref().and_then(choose)).map_err(|_| {
            OnlineError::Closed {
                shard: self.shard,
                why: self.why(),
            }
        })
    }

    fn read_error(&self, source: rocksdb::Error) -> OnlineError {
        let error = disk_error(&self.path, self.shard, "read", source);
        if error.kind() == ErrorKind::DataLoss {
            // Intact records are still read and written: the damage is logged once and fails only
            // the reads that meet it.
            let mut damage = self.read_damage.lock();
            if damage.is_none() {
                tracing::error!(
                    shard = self.shard,
                    error = with_causes(&error),
                    "a read met damage"
                );
                *damage = Some(error.to_string());
            }
        }
        error
    }

    /// The first damage that a read met.
    pub(crate) fn read_damage(&self) -> Option<String> {
        self.read_damage.lock().clone()
    }

    /// Sync the WALs of memtables that were closed since the last look, which notes them in the
    /// manifest. Between the close and this, RocksDB could not tell that such a WAL is missing.
    fn sync_closed_wals(&self, db: &DB) {
        let meta = family(db, format::FAMILY_META);
        let number = |property| db.property_int_value_cf(meta, property).ok().flatten();
        // Every commit writes to `meta`, so its memtable is closed whenever any is.
        let Some(version) = number(SUPER_VERSION) else {
            return;
        };
        if self.seen_version.swap(version, Ordering::Relaxed) == version
            || number(CLOSED_MEMTABLES).is_none_or(|closed| closed == 0)
        {
            return;
        }
        if let Err(source) = db.flush_wal(true) {
            // The batch itself is written; the next write meets what RocksDB makes of this.
            self.note_failure(&disk_error(&self.path, self.shard, "synced", source));
        }
    }

    /// Add what the files of this shard take; nothing while it is closed.
    pub(crate) fn add_sizes(&self, stats: &mut RocksStats) {
        let Ok(db) = self.db() else {
            return;
        };
        for name in format::FAMILIES {
            let family = family(&db, name);
            let number = |property| {
                let read = db.property_int_value_cf(family, property).ok().flatten();
                read.unwrap_or_default()
            };
            stats.file_bytes += number(FILE_BYTES);
            stats.compaction_pending_bytes += number(COMPACTION_PENDING_BYTES);
        }
    }

    /// The error of a record that cannot be decoded.
    pub(crate) fn corrupt(&self, what: &'static str, why: impl Into<BytesError>) -> OnlineError {
        match why.into() {
            BytesError::Version { found, supported } => OnlineError::Format {
                path: self.path.clone(),
                what,
                found,
                supported,
            },
            why => OnlineError::Corrupt {
                shard: self.shard,
                what,
                why,
            },
        }
    }

    /// A record, decoded.
    pub(crate) fn get<T>(
        &self,
        family: &'static str,
        key: &[u8],
        what: &'static str,
        decode: impl FnOnce(&[u8]) -> Decoded<T>,
    ) -> OnlineResult<Option<T>> {
        let db = self.db()?;
        let value = db
            .get_pinned_cf(self::family(&db, family), key)
            .map_err(|e| self.read_error(e))?;
        value
            .map(|bytes| decode(&bytes).map_err(|why| self.corrupt(what, why)))
            .transpose()
    }

    /// Call `visit` for records from `from` to below `to`, each time with the one that it has asked
    /// for.
    pub(crate) fn walk(
        &self,
        family: &'static str,
        from: &[u8],
        to: &[u8],
        mut visit: impl FnMut(&[u8], &[u8]) -> OnlineResult<Step>,
    ) -> OnlineResult<()> {
        let mut options = ReadOptions::default();
        options.set_iterate_upper_bound(to);
        let db = self.db()?;
        let mut iterator = db.raw_iterator_cf_opt(self::family(&db, family), options);
        iterator.seek(from);
        while let Some((key, value)) = iterator.item() {
            match visit(key, value)? {
                Step::Next => iterator.next(),
                Step::Seek(key) => iterator.seek(key),
            }
        }
        iterator.status().map_err(|e| self.read_error(e))
    }

    /// Call `visit` for each record from `from` to below `to` until it returns false.
    pub(crate) fn scan(
        &self,
        family: &'static str,
        from: &[u8],
        to: Option<&[u8]>,
        mut visit: impl FnMut(&[u8], &[u8]) -> OnlineResult<bool>,
    ) -> OnlineResult<()> {
        let mut options = ReadOptions::default();
        if let Some(to) = to {
            options.set_iterate_upper_bound(to);
        }
        let db = self.db()?;
        let mut iterator = db.raw_iterator_cf_opt(self::family(&db, family), options);
        iterator.seek(from);
        while let Some((key, value)) = iterator.item() {
            if !visit(key, value)? {
                return Ok(());
            }
            iterator.next();
        }
        iterator.status().map_err(|e| self.read_error(e))
    }

    /// Whether no record of the key is in `tile`.
    pub(crate) fn has_no_tiles(&self, view: ViewId, key: &[u8]) -> OnlineResult<bool> {
        let mut prefix = Vec::with_capacity(format::prefix_len(key));
        format::key_prefix(&mut prefix, view, key);
        let end = format::key_end(&prefix);
        let mut empty = true;
        self.scan(format::FAMILY_TILE, &prefix, Some(&end), |_, _| {
            empty = false;
            Ok(false)
        })?;
        Ok(empty)
    }

    /// An empty batch. While it is held the database stays open.
    pub(crate) fn batch(&self, capacity_bytes: usize) -> OnlineResult<Batch<'_>> {
        Ok(Batch {
            database: self,
            db: self.writable_db()?,
            batch: WriteBatch::with_capacity_bytes(capacity_bytes),
        })
    }

    /// Wait until the disk has all that was written.
    pub(crate) fn sync(&self) -> OnlineResult<()> {
        let outcome = self.writable_db()?.flush_wal(true);
        outcome.map_err(|source| {
            let error = disk_error(&self.path, self.shard, "synced", source);
            self.note_failure(&error);
            error
        })
    }

    /// Sync the WAL and stop background work: what a clean close does beside dropping.
    pub(crate) fn close(&self) {
        let Ok(db) = self.writable_db() else {
            return;
        };
        if let Err(error) = db.flush_wal(true) {
            tracing::warn!(
                shard = self.shard,
                error = with_causes(&error),
                "the write-ahead log could not be synced at shutdown"
            );
        }
        db.cancel_all_background_work(true);
    }
}

/// One atomic write to a shard.
pub(crate) struct Batch<'a> {
    database: &'a Database,
    db: OpenDb<'a>,
    batch: WriteBatch,
}

impl Batch<'_> {
    /// Handle for many puts and deletes in one family.
    pub(crate) fn family(&mut self, name: &'static str) -> FamilyBatch<'_> {
        FamilyBatch {
            batch: &mut self.batch,
            family: family(&self.db, name),
        }
    }

    /// Handles for many puts and deletes in the families that hold the histories of keys.
    pub(crate) fn histories(&mut self) -> HistoryBatch<'_> {
        HistoryBatch {
            tiles: family(&self.db, format::FAMILY_TILE),
            branches: family(&self.db, format::FAMILY_BRANCH),
            batch: &mut self.batch,
        }
    }

    pub(crate) fn put(&mut self, family: &'static str, key: &[u8], value: &[u8]) {
        self.family(family).put(key, value);
    }

    pub(crate) fn delete(&mut self, family: &'static str, key: &[u8]) {
        self.family(family).delete(key);
    }

    pub(crate) fn delete_range(&mut self, name: &'static str, from: &[u8], to: &[u8]) {
        let family = family(&self.db, name);
        self.batch.delete_range_cf(family, from, to);
    }

    /// Whether nothing was put into it.
    pub(crate) fn is_empty(&self) -> bool {
        self.batch.is_empty()
    }

    pub(crate) fn size_bytes(&self) -> usize {
        self.batch.size_in_bytes()
    }

    /// Write all of it, or nothing; after an error that RocksDB does not come back from, which of
    /// the two shows only when the shard is opened anew.
    pub(crate) fn write(self) -> OnlineResult<()> {
        self.write_with(&WriteOptions::default())
    }

    /// [`Self::write`], and wait until the disk has it.
    pub(crate) fn write_synced(self) -> OnlineResult<()> {
        let mut options = WriteOptions::default();
        options.set_sync(true);
        self.write_with(&options)
    }

    fn write_with(self, options: &WriteOptions) -> OnlineResult<()> {
        let database = self.database;
        match self.db.write_opt(self.batch, options) {
            Ok(()) => {
                database.note_success();
                database.sync_closed_wals(&self.db);
                Ok(())
            }
            Err(source) => {
                let error = disk_error(&database.path, database.shard, "written", source);
                database.note_failure(&error);
                Err(error)
            }
        }
    }
}

/// Puts and deletes in the families that hold the histories of keys.
pub(crate) struct HistoryBatch<'b> {
    batch: &'b mut WriteBatch,
    tiles: &'b rocksdb::ColumnFamily,
    branches: &'b rocksdb::ColumnFamily,
}

impl HistoryBatch<'_> {
    pub(crate) fn tiles(&mut self) -> FamilyBatch<'_> {
        FamilyBatch {
            batch: self.batch,
            family: self.tiles,
        }
    }

    pub(crate) fn branches(&mut self) -> FamilyBatch<'_> {
        FamilyBatch {
            batch: self.batch,
            family: self.branches,
        }
    }
}

/// Puts and deletes in one family of a batch.
pub(crate) struct FamilyBatch<'b> {
    batch: &'b mut WriteBatch,
    family: &'b rocksdb::ColumnFamily,
}

impl FamilyBatch<'_> {
    pub(crate) fn put(&mut self, key: &[u8], value: &[u8]) {
        self.batch.put_cf(self.family, key, value);
    }

    pub(crate) fn delete(&mut self, key: &[u8]) {
        self.batch.delete_cf(self.family, key);
    }
}
