//! Whether a store can go on, and which views it has set aside alone: what probes, metrics,
//! `status` and the end of the process ask. `online` implements it over RocksDB, `testkit` in
//! memory.

use std::fmt::Debug;
use std::sync::Arc;

use crate::view::ViewId;

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

/// A view that is set aside in one shard: what is stored of it there was found damaged, or its SQL
/// has failed, so that rows are lacking. Its rows are not folded there and its reads are refused,
/// until it is dropped; nothing else is held up.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ViewDamage {
    /// Which view.
    pub view: ViewId,
    /// Shard number.
    pub shard: u16,
    /// What is damaged, or has failed.
    pub why: Arc<str>,
}

/// Says how it is.
pub trait StateHealth: Send + Sync + Debug {
    /// Whether the store can go on, from what its last calls met. Cheap: for probes and metrics.
    fn health(&self) -> StoreHealth;

    /// The views that are set aside, by view and shard. Cheap: for status and metrics.
    fn set_aside(&self) -> Vec<ViewDamage>;
}
