//! State as who reads it sees it: values of a view for keys as of an instant, and what an answer
//! had applied. `serve`, scoring and verification need no more of a store. Reads block, on threads
//! of their own. `online` implements it over RocksDB, `testkit` in memory.

use std::fmt::Debug;
use std::sync::Arc;

use crate::cells::Cells;
use crate::error::PortResult;
use crate::key::KeyBuffer;
use crate::memory::Reservation;
use crate::progress::Applied;
use crate::time::Micros;
use crate::view::{FeatureStatus, ViewId};

/// The instant of a read.
#[derive(Debug, Clone, Copy)]
pub enum At<'a> {
    /// One for all rows.
    Instant(Micros),
    /// One for each row.
    PerRow(&'a [Micros]),
}

impl At<'_> {
    /// The instant of `row`.
    #[must_use]
    pub fn of(&self, row: usize) -> Micros {
        match self {
            Self::Instant(at) => *at,
            Self::PerRow(at) => at[row],
        }
    }
}

/// A shard as of an epoch: what an answer has applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ShardEpoch {
    /// Shard number.
    pub shard: u16,
    /// Epoch of that shard.
    pub epoch: u64,
}

/// What a view answers for a list of keys.
#[derive(Debug, Clone)]
pub struct ViewRows {
    /// Arrays as [`ViewSpec::aggregates`]; rows whose status is not `Present` are NULL
    /// and no faults.
    pub aggregates: Cells,
    /// One for each key.
    pub status: Vec<FeatureStatus>,
    /// Newest event time at or before the read's instant, one for each key.
    pub newest_us: Vec<Option<Micros>>,
    /// For each key the shard and the epoch that answered; None for a NULL key.
    pub applied: Vec<Option<ShardEpoch>>,
}

/// Reads views from shards; any number of readers beside each shard's writer.
pub trait StateReader: Send + Sync + Debug {
    /// Values of `view` for `keys` at `at`. `memory` grows by what the answer takes, before it is
    /// built.
    ///
    /// # Errors
    /// Unknown view; an instant older than what is kept (`OutOfRange`); an answer that is too large
    /// or for which there is no memory (`ResourceExhausted`); what is stored of the view is damaged
    /// (`DataLoss`), always where the view is set aside ([`super::ViewDamage`]).
    fn read(
        &self,
        view: ViewId,
        keys: &KeyBuffer,
        at: At<'_>,
        memory: &mut Reservation,
    ) -> PortResult<ViewRows>;

    /// Progress that `epoch` of `shard` had; None when it is older than what is kept.
    fn applied_at(&self, at: ShardEpoch) -> Option<Arc<Applied>>;
}
