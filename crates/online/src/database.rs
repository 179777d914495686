//! One shard's RocksDB: its settings (reference: RocksDB wiki, and the measurements behind the
//! store's design), opening, and reading single records and whole keys. Nothing outside this file
//! names a RocksDB option or a column family handle.
//!
//! The WAL is on and never synced: a killed process loses nothing, a power cut loses a suffix,
//! state and offsets together, and point-in-time recovery keeps what is left consistent. Values are
//! whole; there are no merge operators.

use std::path::Path;

use rocksdb::{
    BlockBasedOptions, Cache, ColumnFamilyDescriptor, DB, DBCompressionType, DBRecoveryMode,
    Options, ReadOptions, WriteBatch, WriteBufferManager, WriteOptions,
};

use crate::error::{OnlineError, OnlineResult};
use crate::format::{self, Decoded, LEVEL_FOLDED};
use crate::key_state::{Folded, KeyState};
use crate::options::OnlineOptions;
use crate::rows::RowView;
use crate::tree::Tile;
use crate::view::ViewRuntime;
use forebay_core::aggregate::Partial;
use forebay_core::bytes::BytesError;
use forebay_core::view::ViewId;

/// Data block, bytes.
const BLOCK_BYTES: usize = 4 << 10;
/// Bits per key of the bloom filters.
const BLOOM_BITS: f64 = 10.0;
/// Log files of RocksDB itself that are kept.
const INFO_LOGS_KEPT: usize = 4;

/// What all shards share: one block cache and one budget for memtables.
#[derive(Clone)]
pub(crate) struct SharedBuffers {
    cache: Cache,
    write_buffers: WriteBufferManager,
}

impl std::fmt::Debug for SharedBuffers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SharedBuffers")
            .field("write_buffer_bytes", &self.write_buffers.get_usage())
            .finish()
    }
}

impl SharedBuffers {
    pub(crate) fn new(options: &OnlineOptions) -> Self {
        Self {
            cache: Cache::new_hyper_clock_cache(options.cache_bytes, 0),
            write_buffers: WriteBufferManager::new_write_buffer_manager(
                options.write_buffer_bytes,
                false,
            ),
        }
    }
}

/// RocksDB gives a lock that another has no code of its own: its words tell.
fn not_opened(path: &Path, shard: u16, source: rocksdb::Error) -> OnlineError {
    let words = source.to_string();
    let is_locked =
        words.contains("While lock file") || words.contains("lock hold by current process");
    if source.kind() == rocksdb::ErrorKind::IOError && is_locked {
        return OnlineError::InUse {
            path: path.to_owned(),
            source,
        };
    }
    OnlineError::Disk {
        shard,
        action: "opened",
        source,
    }
}

/// An open shard directory.
pub(crate) struct Database {
    shard: u16,
    db: DB,
    write_options: WriteOptions,
}

impl std::fmt::Debug for Database {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Database")
            .field("shard", &self.shard)
            .finish_non_exhaustive()
    }
}

impl Database {
    pub(crate) fn open(
        path: &Path,
        shard: u16,
        options: &OnlineOptions,
        shared: &SharedBuffers,
    ) -> OnlineResult<Self> {
        let mut db_options = Options::default();
        db_options.create_if_missing(true);
        db_options.create_missing_column_families(true);
        db_options.set_wal_recovery_mode(DBRecoveryMode::PointInTime);
        db_options.set_max_open_files(-1);
        db_options.set_keep_log_file_num(INFO_LOGS_KEPT);
        db_options.set_stats_dump_period_sec(0);
        let threads = i32::from(options.background_threads);
        db_options.set_max_background_jobs(threads.max(2));
        db_options.set_write_buffer_manager(&shared.write_buffers);
        let per_shard = (options.write_buffer_bytes / usize::from(options.shards)).max(1 << 20);
        db_options.set_max_total_wal_size(4 * per_shard as u64);
        let families = format::FAMILIES.iter().map(|name| {
            ColumnFamilyDescriptor::new(*name, family_options(name, per_shard, shared))
        });
        let db = DB::open_cf_descriptors(&db_options, path, families)
            .map_err(|source| not_opened(path, shard, source))?;
        Ok(Self {
            shard,
            db,
            write_options: WriteOptions::default(),
        })
    }

    fn family(&self, name: &'static str) -> &rocksdb::ColumnFamily {
        self.db.cf_handle(name).expect("all families were opened")
    }

    fn read_error(&self, source: rocksdb::Error) -> OnlineError {
        OnlineError::Disk {
            shard: self.shard,
            action: "read",
            source,
        }
    }

    /// The error of a record that cannot be decoded.
    pub(crate) fn corrupt(&self, what: &'static str, why: impl Into<BytesError>) -> OnlineError {
        OnlineError::Corrupt {
            shard: self.shard,
            what,
            why: why.into(),
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
        let value = self
            .db
            .get_pinned_cf(self.family(family), key)
            .map_err(|e| self.read_error(e))?;
        value
            .map(|bytes| decode(&bytes).map_err(|why| self.corrupt(what, why)))
            .transpose()
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
        let mut iterator = self.db.raw_iterator_cf_opt(self.family(family), options);
        iterator.seek(from);
        while let Some((key, value)) = iterator.item() {
            if !visit(key, value)? {
                return Ok(());
            }
            iterator.next();
        }
        iterator.status().map_err(|e| self.read_error(e))
    }

    /// Everything stored of a key; an unknown key costs one bloom filter.
    pub(crate) fn load_key(&self, view: &ViewRuntime, key: &[u8]) -> OnlineResult<KeyState> {
        let mut prefix = Vec::with_capacity(format::prefix_len(key));
        format::key_prefix(&mut prefix, view.spec.id, key);
        let presence = self.get(
            format::FAMILY_PRESENCE,
            &prefix,
            "a presence record",
            format::decode_presence,
        )?;
        let Some(gone_newest_us) = presence else {
            return Ok(KeyState::default());
        };
        let mut tiles = Vec::new();
        let mut folded = None;
        let end = format::key_end(&prefix);
        self.scan(
            format::FAMILY_TILE,
            &prefix,
            Some(&end),
            |stored_key, value| {
                let (_, id) = format::parse_tile_key(stored_key)
                    .map_err(|why| self.corrupt("a tile key", why))?;
                if id.level == LEVEL_FOLDED {
                    folded = Some(self.decode_folded(view, value)?);
                } else {
                    RowView::check(value, &view.kinds, view.spec.filters)
                        .map_err(|why| self.corrupt("a tile", why))?;
                    let tile = Tile::new(id, value.into());
                    if !tile.is_in_its_span() {
                        return Err(self.corrupt("a tile", "its rows lie outside its span"));
                    }
                    tiles.push(tile);
                }
                Ok(true)
            },
        )?;
        Ok(KeyState::from_tiles(
            tiles,
            view.spec.partials.len(),
            gone_newest_us,
            folded,
        ))
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

    fn decode_folded(&self, view: &ViewRuntime, value: &[u8]) -> OnlineResult<Folded> {
        let (newest_us, rows, mut bytes) =
            format::decode_folded(value).map_err(|why| self.corrupt("a lifetime record", why))?;
        let states = view
            .lifetime_partials
            .iter()
            .map(|&p| Partial::decode(&view.spec.partials[p], &mut bytes))
            .collect::<Result<Box<[_]>, _>>()?;
        Ok(Folded {
            newest_us,
            rows,
            states,
        })
    }

    /// An empty batch for [`Self::write`].
    pub(crate) fn batch(&self, capacity_bytes: usize) -> Batch<'_> {
        Batch {
            database: self,
            batch: WriteBatch::with_capacity_bytes(capacity_bytes),
        }
    }

    /// Open files, memtables and the WAL in one call: what a clean close does beside dropping.
    pub(crate) fn close(&self) {
        if let Err(error) = self.db.flush_wal(true) {
            tracing::warn!(shard = self.shard, %error, "the write-ahead log could not be synced at shutdown");
        }
        self.db.cancel_all_background_work(true);
    }
}

/// One atomic write to a shard.
pub(crate) struct Batch<'a> {
    database: &'a Database,
    batch: WriteBatch,
}

impl<'a> Batch<'a> {
    /// Handle for many puts and deletes in one family.
    pub(crate) fn family(&mut self, name: &'static str) -> FamilyBatch<'_, 'a> {
        let family = self.database.family(name);
        FamilyBatch {
            batch: &mut self.batch,
            family,
        }
    }

    pub(crate) fn put(&mut self, family: &'static str, key: &[u8], value: &[u8]) {
        self.family(family).put(key, value);
    }

    pub(crate) fn delete(&mut self, family: &'static str, key: &[u8]) {
        self.family(family).delete(key);
    }

    pub(crate) fn delete_range(&mut self, family: &'static str, from: &[u8], to: &[u8]) {
        self.batch
            .delete_range_cf(self.database.family(family), from, to);
    }

    /// Whether nothing was put into it.
    pub(crate) fn is_empty(&self) -> bool {
        self.batch.is_empty()
    }

    pub(crate) fn size_bytes(&self) -> usize {
        self.batch.size_in_bytes()
    }

    /// Write all of it, or nothing.
    pub(crate) fn write(self) -> OnlineResult<()> {
        let database = self.database;
        database
            .db
            .write_opt(self.batch, &database.write_options)
            .map_err(|source| OnlineError::Disk {
                shard: database.shard,
                action: "written",
                source,
            })
    }

    /// [`Self::write`], and wait until the disk has it.
    pub(crate) fn write_synced(self) -> OnlineResult<()> {
        let database = self.database;
        let mut options = WriteOptions::default();
        options.set_sync(true);
        database
            .db
            .write_opt(self.batch, &options)
            .map_err(|source| OnlineError::Disk {
                shard: database.shard,
                action: "written",
                source,
            })
    }
}

/// Puts and deletes in one family of a batch.
pub(crate) struct FamilyBatch<'b, 'a> {
    batch: &'b mut WriteBatch,
    family: &'a rocksdb::ColumnFamily,
}

impl FamilyBatch<'_, '_> {
    pub(crate) fn put(&mut self, key: &[u8], value: &[u8]) {
        self.batch.put_cf(self.family, key, value);
    }

    pub(crate) fn delete(&mut self, key: &[u8]) {
        self.batch.delete_cf(self.family, key);
    }
}

fn family_options(name: &str, write_buffer_bytes: usize, shared: &SharedBuffers) -> Options {
    let mut block = BlockBasedOptions::default();
    block.set_block_cache(&shared.cache);
    block.set_block_size(BLOCK_BYTES);
    block.set_format_version(5);
    let mut options = Options::default();
    let large = matches!(name, format::FAMILY_TILE | format::FAMILY_PRESENCE);
    if name == format::FAMILY_PRESENCE {
        // The only family that is asked for single, often absent keys. The second argument asks for
        // the old block-based filter; false is the full one.
        block.set_bloom_filter(BLOOM_BITS, false);
        block.set_whole_key_filtering(true);
    }
    options.set_block_based_table_factory(&block);
    options.set_level_compaction_dynamic_level_bytes(true);
    options.set_compression_type(DBCompressionType::None);
    options.set_bottommost_compression_type(DBCompressionType::Lz4);
    options.set_max_write_buffer_number(3);
    options.set_write_buffer_size(if large {
        write_buffer_bytes
    } else {
        (write_buffer_bytes / 4).max(1 << 20)
    });
    if name == format::FAMILY_PRESENCE {
        options.set_memtable_prefix_bloom_ratio(0.1);
        options.set_memtable_whole_key_filtering(true);
    }
    options
}
