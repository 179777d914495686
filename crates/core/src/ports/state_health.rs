//! Whether a store can go on: what probes, metrics and the end of the process ask. `online`
//! implements it over RocksDB, `testkit` in memory.

use std::fmt::Debug;

/// Whether a store can go on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoreHealth {
    /// Everything was written and read.
    Well,
    /// Something failed and may be over by itself: the store tries again with each write. Or a read
    /// met damage, which stops nothing else.
    Troubled {
        /// Which part, and what failed.
        why: String,
    },
    /// A part will not be written again by this process: it should end with the reason.
    Lost {
        /// Which part, and what failed.
        why: String,
    },
}

/// Says how it is.
pub trait StateHealth: Send + Sync + Debug {
    /// Whether the store can go on, from what its last calls met. Cheap: for probes and metrics.
    fn health(&self) -> StoreHealth;
}
