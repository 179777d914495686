//! How the memory that a server may hold would be shared out here, from the settings and from what
//! the system gives. Takes none.

use super::finding::Finding;
use crate::available::available_bytes;
use crate::exit;
use crate::settings::Settings;
use crate::settings::memory::Shares;

/// One finding.
pub(super) fn examine(settings: &Settings) -> Finding {
    let mib = |bytes: usize| bytes >> 20;
    match Shares::of(settings, available_bytes()) {
        Ok(shares) => Finding::ok(
            "memory",
            format!(
                "{} MiB: RocksDB {} of cache and {} of write buffers, Kafka {} fetched and {} unsent, a pool of {} (keys \
                 in memory: up to {})",
                mib(shares.limit),
                mib(shares.cache),
                mib(shares.write_buffer),
                mib(shares.fetched),
                mib(shares.unsent),
                mib(shares.pool),
                mib(shares.hot_table)
            ),
        ),
        Err(error) => Finding::failed("memory", exit::words(&error)),
    }
}
