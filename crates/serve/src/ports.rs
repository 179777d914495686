//! What serving asks of the binary beside core's ports: where pushed events go, who carries out
//! administration, who answers the exchanges that are not for features, and what the watermarks
//! are. All are optional but the watermarks.

use std::fmt::Debug;
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_flight::{FlightData, FlightDescriptor};
use async_trait::async_trait;
use forebay_core::PortResult;
use forebay_core::progress::TopicPartition;
use forebay_core::source::SourceDef;
use forebay_core::time::Micros;
use futures::stream::BoxStream;
use tonic::{Status, Streaming};

/// How far event time has come, per source.
pub trait Watermarks: Send + Sync + Debug {
    /// Smallest watermark over the partitions of `source`; None before the first event. Called on
    /// every read: it must not wait.
    fn watermark_us(&self, source: &str) -> Option<Micros>;
}

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

/// Administration, for the command line: `plan`, `apply`, `verify`, `status` and what else the
/// binary offers. Reached by Flight's DoAction, from loopback only.
#[async_trait]
pub trait AdminPort: Send + Sync + Debug {
    /// Names and one-sentence descriptions of the actions, for listings.
    fn actions(&self) -> Vec<(String, String)>;

    /// Carry out `action` with `body` (JSON unless the action says otherwise) and return its
    /// answer.
    ///
    /// # Errors
    /// Unknown action (`NotFound`), a malformed body (`InvalidArgument`), or what the action runs
    /// into.
    async fn call(&self, action: &str, body: &[u8]) -> PortResult<Vec<u8>>;
}

/// Answers of an exchange.
pub type ExchangeAnswers = BoxStream<'static, Result<FlightData, Status>>;

/// A protocol over DoExchange that is not ours, such as that of inference workers.
#[async_trait]
pub trait ExchangeHook: Send + Sync + Debug {
    /// Whether an exchange that opens with this descriptor belongs to the hook.
    fn claims(&self, descriptor: &FlightDescriptor) -> bool;

    /// Take it over: the first message, then the rest.
    ///
    /// # Errors
    /// Why the exchange is refused.
    async fn exchange(
        &self,
        first: FlightData,
        rest: Streaming<FlightData>,
    ) -> Result<ExchangeAnswers, Status>;
}
