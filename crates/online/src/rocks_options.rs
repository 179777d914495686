//! RocksDB's settings for a shard (reference: RocksDB wiki, and the measurements behind the store's
//! design), and what all shards share. Nothing outside this file names an option of RocksDB.
//!
//! The WAL is on and synced only when a memtable is closed: a killed process loses nothing, a power
//! cut loses a suffix, state and offsets together. Two options keep that true with several
//! families. `atomic_flush` moves all families forward together: were they flushed apart, an older
//! WAL would stay needed for the small families while the tables of the large one hold what came
//! after it, and damage in it could no longer be recovered from at a consistent point.
//! `track_and_verify_wals_in_manifest` notes each closed WAL with its size, so that one that is
//! missing or too short is refused; without it RocksDB would replay around the hole. What it costs
//! is a small file of each family at each flush.

use rocksdb::statistics::{StatsLevel, Ticker};
use rocksdb::{
    BlockBasedOptions, Cache, ColumnFamilyDescriptor, DBCompressionType, DBRecoveryMode, Options,
    WriteBufferManager,
};

use crate::format;
use crate::options::OnlineOptions;
use crate::stats::RocksStats;

/// Data block, bytes.
const BLOCK_BYTES: usize = 4 << 10;
/// Version of RocksDB's table format.
const TABLE_FORMAT_VERSION: i32 = 5;
/// Bits per key of the bloom filters.
const BLOOM_BITS: f64 = 10.0;
/// Log files of RocksDB itself that are kept.
const INFO_LOGS_KEPT: usize = 4;
/// Least size of a memtable, bytes.
const MEMTABLE_MIN_BYTES: usize = 1 << 20;
/// Memtables of a family: one that is written, two that wait for their flush.
const MEMTABLES: i32 = 3;
/// How often the limit of background writes gives out its bytes, microseconds.
const RATE_REFILL_US: i64 = 100_000;
/// Share (1 in N) of low-priority requests that the limit lets through first.
const RATE_FAIRNESS: i32 = 10;

/// What all shards share: one cache, to which memtables are charged as well as blocks, indexes and
/// filters, so that its capacity bounds them together; and one set of statistics, which a shard
/// that is opened anew counts on in.
#[derive(Clone)]
pub(crate) struct SharedBuffers {
    cache: Cache,
    write_buffers: WriteBufferManager,
    /// Options of no database; what is made from them counts in their statistics.
    counted: Options,
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
        let capacity = options.cache_bytes + options.write_buffer_bytes;
        let cache = Cache::new_hyper_clock_cache(capacity, 0);
        let mut counted = Options::default();
        counted.enable_statistics();
        // Times of single reads and writes are measured by us, where they mean something.
        counted.set_statistics_level(StatsLevel::ExceptHistogramOrTimers);
        Self {
            // Without stalls: a flush that a full disk holds up would hold up every writer.
            write_buffers: WriteBufferManager::new_write_buffer_manager_with_cache(
                options.write_buffer_bytes,
                false,
                cache.clone(),
            ),
            cache,
            counted,
        }
    }

    /// What RocksDB has counted, over all shards.
    pub(crate) fn stats(&self) -> RocksStats {
        let count = |ticker| self.counted.get_ticker_count(ticker);
        RocksStats {
            wal_bytes: count(Ticker::WalFileBytes),
            wal_syncs: count(Ticker::WalFileSynced),
            flushed_bytes: count(Ticker::FlushWriteBytes),
            compaction_read_bytes: count(Ticker::CompactReadBytes),
            compaction_written_bytes: count(Ticker::CompactWriteBytes),
            stall_us: count(Ticker::StallMicros),
            block_hits: count(Ticker::BlockCacheHit),
            block_misses: count(Ticker::BlockCacheMiss),
            ..RocksStats::default()
        }
    }

    /// What RocksDB holds in the cache, memtables included, bytes.
    pub(crate) fn usage_bytes(&self) -> usize {
        self.cache.get_usage()
    }
}

/// The options of a shard's database and the families in it.
pub(crate) fn database_options(
    options: &OnlineOptions,
    shared: &SharedBuffers,
) -> (Options, Vec<ColumnFamilyDescriptor>) {
    let mut db_options = shared.counted.clone();
    db_options.create_if_missing(true);
    db_options.create_missing_column_families(true);
    db_options.set_wal_recovery_mode(DBRecoveryMode::PointInTime);
    db_options.set_atomic_flush(true);
    db_options.set_track_and_verify_wals_in_manifest(true);
    db_options.set_max_open_files(max_open_files(options));
    db_options.set_keep_log_file_num(INFO_LOGS_KEPT);
    db_options.set_stats_dump_period_sec(0);
    // One for flushes and one for compactions at least.
    db_options.set_max_background_jobs(i32::from(options.background_threads).max(2));
    db_options.set_write_buffer_manager(&shared.write_buffers);
    if let Some(bytes) = options.background_write_bytes_per_second {
        db_options.set_ratelimiter(i64::from(bytes.get()), RATE_REFILL_US, RATE_FAIRNESS);
    }
    let per_shard = options.write_buffer_bytes / usize::from(options.shards);
    let memtable_bytes = per_shard.max(MEMTABLE_MIN_BYTES);
    db_options.set_max_total_wal_size(4 * memtable_bytes as u64);
    let families = format::FAMILIES
        .iter()
        .map(|name| {
            ColumnFamilyDescriptor::new(*name, family_options(name, memtable_bytes, shared))
        })
        .collect();
    (db_options, families)
}

/// RocksDB's own number: -1 keeps all files open.
fn max_open_files(options: &OnlineOptions) -> i32 {
    options
        .open_files_max
        .map_or(-1, |files| i32::from(files.get()))
}

/// Options of a family that a commit writes in the order of its keys: a memtable looks for the
/// place of a record from where the last one with the same first four bytes, those of the view,
/// went, and not from its beginning. The option has no setter in the bindings.
fn ascending_options() -> Options {
    let options = Options::default().get_options_from_string(
        "memtable_insert_with_hint_prefix_extractor=rocksdb.FixedPrefix.4",
    );
    options.expect("RocksDB reads its own option")
}

fn family_options(name: &str, write_buffer_bytes: usize, shared: &SharedBuffers) -> Options {
    let mut block = BlockBasedOptions::default();
    block.set_block_cache(&shared.cache);
    // Else they are kept beside the cache, as many as there are files.
    block.set_cache_index_and_filter_blocks(true);
    block.set_pin_l0_filter_and_index_blocks_in_cache(true);
    block.set_block_size(BLOCK_BYTES);
    block.set_format_version(TABLE_FORMAT_VERSION);
    let mut options = ascending_options();
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
    options.set_max_write_buffer_number(MEMTABLES);
    options.set_write_buffer_size(if large {
        write_buffer_bytes
    } else {
        (write_buffer_bytes / 4).max(MEMTABLE_MIN_BYTES)
    });
    if name == format::FAMILY_PRESENCE {
        options.set_memtable_prefix_bloom_ratio(0.1);
        options.set_memtable_whole_key_filtering(true);
    }
    options
}
