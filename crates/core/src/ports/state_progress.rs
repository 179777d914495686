//! How far the shards of a store are, as everyone sees it who starts from there or compares with
//! it: recovery, the watch over the logs, fills, verification. Changes nothing. `online` implements
//! it over RocksDB, `testkit` in memory.

use std::fmt::Debug;
use std::sync::Arc;

use crate::error::PortResult;
use crate::progress::Applied;
use crate::watermark::MarkRecord;

/// Shards, their offsets, and what they have recorded about time.
pub trait StateProgress: Send + Sync + Debug {
    /// S, fixed when the store was made.
    fn shards(&self) -> u16;

    /// Progress of `shard`, as recovered or last committed.
    fn applied(&self, shard: u16) -> Arc<Applied>;

    /// The decisions about time that `shard` has recorded ([`super::ShardWrite::marks`]), in no
    /// order.
    ///
    /// # Errors
    /// The disk fails, or a record cannot be decoded.
    fn marks(&self, shard: u16) -> PortResult<Vec<MarkRecord>>;
}
