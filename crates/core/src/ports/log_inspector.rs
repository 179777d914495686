//! What is asked about the log itself: is it the one that the state follows, where does it begin
//! and end, which record stands at an offset. The questions wait for the broker, so they have a
//! port and a thread of their own: what one partition does not answer holds up no reading. `kafka`
//! implements it; `testkit` has one in memory.

use std::collections::BTreeMap;
use std::fmt::Debug;

use crate::error::PortResult;
use crate::progress::{RecordDigest, TopicPartition};

/// A topic as it is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicFacts {
    /// Its id, which a topic made anew does not share; None where the broker or the client cannot
    /// tell.
    pub id: Option<String>,
    /// Its partitions, ascending.
    pub partitions: Vec<i32>,
}

/// Where one partition's log begins and ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogBounds {
    /// Oldest offset that it holds: 0, or more where its head was deleted.
    pub begin: i64,
    /// Last stable offset: one past the newest record that may be read.
    pub last_stable: i64,
}

/// What stands at or above an offset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FirstRecord {
    /// This record is the first.
    Record(RecordDigest),
    /// None is there.
    End,
    /// Something that cannot be read, in the client's words.
    Unreadable(String),
}

/// Answers about the log. One owner thread.
pub trait LogInspector: Send + Debug {
    /// Identity of the cluster.
    ///
    /// # Errors
    /// The broker does not answer.
    fn cluster_id(&mut self) -> PortResult<String>;

    /// `topic` as it is now; None where it is not there.
    ///
    /// # Errors
    /// The broker does not answer, or refuses.
    fn topic(&mut self, topic: &str) -> PortResult<Option<TopicFacts>>;

    /// Where each of `partitions` begins and ends. Those of which nobody answers are left out.
    ///
    /// # Errors
    /// No broker answers at all.
    fn bounds(
        &mut self,
        partitions: &[TopicPartition],
    ) -> PortResult<BTreeMap<TopicPartition, LogBounds>>;

    /// Of each partition the first record at or above an offset. Those of which nobody answers are
    /// left out.
    ///
    /// # Errors
    /// No broker answers at all.
    fn first_records(
        &mut self,
        from: &BTreeMap<TopicPartition, i64>,
    ) -> PortResult<BTreeMap<TopicPartition, FirstRecord>>;
}
