//! Where pushed events go. A push ends in the topic of its source and not in the state: the
//! pipeline reads it back like any other event, so that there is one way in.

use std::fmt::Debug;
use std::sync::Arc;

use arrow_array::RecordBatch;
use async_trait::async_trait;
use forebay_core::PortResult;
use forebay_core::progress::TopicPartition;
use forebay_core::source::SourceDef;

/// Rows that the broker has.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PushReceipt {
    /// For each partition written to: one past the last record produced.
    pub next_offsets: Vec<(TopicPartition, i64)>,
}

/// Where pushed events go: the topic of their source, so that there is one way in.
#[async_trait]
pub trait EventSink: Send + Sync + Debug {
    /// The source `name`.
    ///
    /// # Errors
    /// Unknown name: the text lists the known ones.
    fn source(&self, name: &str) -> PortResult<Arc<SourceDef>>;

    /// Produce `rows` (the source's own columns, in its schema, NOT NULL checked) and wait until
    /// the broker has acknowledged all of them.
    ///
    /// # Errors
    /// The broker does not answer (`Unavailable`), or the outcome is unknown (`MaybeWritten`).
    async fn push(&self, source: &SourceDef, rows: RecordBatch) -> PortResult<PushReceipt>;
}
