//! How finished records leave: `pipeline` sends predictions through it, and alarms go the same way.
//! `kafka` implements it.

use std::fmt::Debug;

use crate::error::PortResult;
use crate::prediction::OutboxRecord;

/// Publishes finished records.
pub trait Publisher: Send + Sync + Debug {
    /// Send `records` in order and wait until the broker has acknowledged all of them.
    ///
    /// # Errors
    /// At least one was not acknowledged: the outcome of the others is unknown, send all again.
    fn publish(&self, records: &[OutboxRecord]) -> PortResult<()>;
}
