//! How finished records leave: `pipeline` sends predictions through it, and alarms go the same way.
//! It says of each record what became of it, and leaves to the caller what follows from that.
//! `kafka` implements it, `testkit` in memory.

use std::fmt::Debug;
use std::sync::atomic::AtomicBool;

use crate::error::{ErrorKind, PortError};
use crate::prediction::OutboxRecord;

/// What became of one record.
#[derive(Debug)]
pub enum Publication {
    /// The broker has it.
    Acknowledged,
    /// The topic refuses this very record, now and later, in the broker's words: too large,
    /// invalid. Others may pass.
    Refused(String),
    /// It was not acknowledged, and may or may not be there: send it again. The error says why: the
    /// broker does not answer, or the place is at fault (topic missing, not permitted).
    Unknown(PortError),
}

impl Publication {
    /// The same record, not sent because `error` befell the call as a whole.
    #[must_use]
    pub fn unknown(kind: ErrorKind, words: &str) -> Self {
        Self::Unknown(PortError::new(kind, words))
    }
}

/// Publishes finished records.
pub trait Publisher: Send + Sync + Debug {
    /// Send `records` in order and wait until each of them has its outcome: one for each record, in
    /// the same order. Waiting ends within a second of `abandoned` being set; what has no outcome
    /// by then is [`Publication::Unknown`].
    fn publish(&self, records: &[&OutboxRecord], abandoned: &AtomicBool) -> Vec<Publication>;
}
