//! What the state remembers of the logs that it follows, beside the offsets that each epoch writes:
//! identities, where reading began, and the gaps that a person accepted. Written rarely, and synced
//! before anything is read on their account. `online` implements it beside the state, `testkit` in
//! memory.

use std::collections::BTreeMap;
use std::fmt::Debug;

use crate::error::PortResult;
use crate::time::Micros;

/// Offsets of one partition that will never be read, because a person said so.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct AcceptedGap {
    /// The partition.
    pub partition: i32,
    /// First offset that is missing.
    pub from: i64,
    /// One past the last.
    pub to: i64,
    /// Below it every shard had applied the records when the gap was accepted, and the archive
    /// alone lacks them: views that were there have them. `from` where the state lacks all.
    pub applied_to: i64,
    /// When it was accepted.
    pub accepted_us: Micros,
}

/// What is remembered of one topic.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TopicNote {
    /// Its id when it was first read; None where nobody could tell.
    pub id: Option<String>,
    /// How many partitions it had when it was first read, and those that it has got since, once
    /// something is recorded of them. They never become fewer.
    pub partitions: i32,
    /// By partition the offset at which it was first read: state and archive are complete from
    /// there on. One that was read before this was remembered is absent.
    pub begins: BTreeMap<i32, i64>,
    /// In the order in which they were accepted.
    pub gaps: Vec<AcceptedGap>,
}

/// Keeps the identity of the cluster and [`TopicNote`]s.
pub trait LogNotes: Send + Sync + Debug {
    /// Identity of the log that the state follows; None in a new store.
    ///
    /// # Errors
    /// The disk fails.
    fn log_identity(&self) -> PortResult<Option<String>>;

    /// Set the identity, once.
    ///
    /// # Errors
    /// It is set to another one.
    fn set_log_identity(&self, identity: &str) -> PortResult<()>;

    /// The note of `topic`; None where there is none.
    ///
    /// # Errors
    /// The disk fails, or the note is damaged.
    fn topic_note(&self, topic: &str) -> PortResult<Option<TopicNote>>;

    /// Replace the note of `topic`; it is on disk when this returns.
    ///
    /// # Errors
    /// The disk fails: the note before stays.
    fn set_topic_note(&self, topic: &str, note: &TopicNote) -> PortResult<()>;
}
