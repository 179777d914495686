//! Counters of the online store, for metrics and for people. Counted with relaxed atomics at batch
//! grain; [`StoreStats`] is one reading of them. They decide nothing.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident),+ $(,)?) => {
        /// Running counts, shared by all shards.
        #[derive(Debug, Default)]
        pub(crate) struct Counters {
            $(pub(crate) $name: AtomicU64,)+
        }

        /// What the store has done since it was opened, and how large it is.
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
        pub struct StoreStats {
            $($(#[$doc])* pub $name: u64,)+
            /// Keys in memory, over all views.
            pub keys_in_memory: u64,
            /// Memory of those keys, upper bound, bytes.
            pub table_bytes: u64,
            /// Blocks and memtables that RocksDB holds in memory, bytes.
            pub rocksdb_bytes: u64,
            /// What RocksDB counts by itself.
            pub rocksdb: RocksStats,
            /// Changes of single partitions that the histories of applied offsets keep.
            pub history_changes: u64,
            /// Outbox records that are not cleared.
            pub outbox_records: u64,
            /// Tiles read from disk for keys.
            pub tiles_read: u64,
            /// Records of branches read from disk for keys.
            pub branches_read: u64,
        }

        impl Counters {
            pub(crate) fn read(&self) -> StoreStats {
                StoreStats { $($name: self.$name.load(Ordering::Relaxed),)+ ..StoreStats::default() }
            }
        }
    };
}

/// What RocksDB counts by itself, over all shards: since the store was opened, but for the last
/// two.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RocksStats {
    /// Bytes written to write-ahead logs.
    pub wal_bytes: u64,
    /// Times that a write-ahead log was synced.
    pub wal_syncs: u64,
    /// Bytes of memtables written to files.
    pub flushed_bytes: u64,
    /// Bytes that compactions read.
    pub compaction_read_bytes: u64,
    /// Bytes that compactions wrote.
    pub compaction_written_bytes: u64,
    /// Time for which writes were held up until flushes or compactions had caught up, microseconds.
    pub stall_us: u64,
    /// Blocks found in the cache.
    pub block_hits: u64,
    /// Blocks read from files.
    pub block_misses: u64,
    /// Bytes of all files, now.
    pub file_bytes: u64,
    /// Bytes that compactions have yet to rewrite, now, as RocksDB estimates.
    pub compaction_pending_bytes: u64,
}

/// Running counts of one view, since it was registered.
#[derive(Debug, Default)]
pub(crate) struct ViewCounters {
    pub(crate) late: AtomicU64,
    pub(crate) hits: AtomicU64,
    pub(crate) recomputes: AtomicU64,
    pub(crate) loads: AtomicU64,
}

impl ViewCounters {
    pub(crate) fn read(&self) -> ViewStats {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        ViewStats {
            hits: read(&self.hits),
            recomputes: read(&self.recomputes),
            loads: read(&self.loads),
            late_rows: read(&self.late),
        }
    }
}

/// What was read of a view since it was registered, and what came too late for it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ViewStats {
    /// Rows answered by copying a finished row.
    pub hits: u64,
    /// Rows computed from tiles.
    pub recomputes: u64,
    /// Keys, and parts of a key's history, read from disk, for a write too.
    pub loads: u64,
    /// Rows that were too late for what is kept.
    pub late_rows: u64,
}

counters! {
    /// Epochs committed.
    commits,
    /// Time spent in commits, nanoseconds, summed over shards.
    commit_ns,
    /// Longest commit, nanoseconds.
    commit_max_ns,
    /// Time inside RocksDB writes of commits, nanoseconds.
    write_ns,
    /// Bytes handed to RocksDB by commits.
    written_bytes,
    /// Rows folded.
    rows_folded,
    /// Rows dropped as too late for the retained state.
    rows_late,
    /// Rows below a shard's progress: replayed after a restart.
    rows_replayed,
    /// Rows that a tile held already: a repeated backfill.
    rows_duplicate,
    /// Tiles written.
    tiles_written,
    /// Tiles removed because no permitted read can see them.
    tiles_expired,
    /// Keys first seen.
    keys_created,
    /// Keys forgotten: their TTL, windows and history were long over.
    keys_forgotten,
    /// Keys dropped from memory for the budget.
    keys_evicted,
    /// Keys of which the newest rows alone stayed in memory, for the budget.
    keys_trimmed,
    /// Keys read from disk.
    keys_loaded,
    /// Parts of a key's history read from disk.
    spans_loaded,
    /// Records of branches written: what a key is read in parts by.
    branches_written,
    /// Rows answered by copying a finished row.
    hot_hits,
    /// Rows computed from tiles.
    recomputes,
}

impl Counters {
    pub(crate) fn add(counter: &AtomicU64, value: u64) {
        counter.fetch_add(value, Ordering::Relaxed);
    }

    pub(crate) fn add_commit(&self, took: Duration) {
        let ns = nanos(took);
        Self::add(&self.commits, 1);
        Self::add(&self.commit_ns, ns);
        self.commit_max_ns.fetch_max(ns, Ordering::Relaxed);
    }
}

/// `took` in nanoseconds.
pub(crate) fn nanos(took: Duration) -> u64 {
    u64::try_from(took.as_nanos()).expect("nothing takes 584 years")
}
