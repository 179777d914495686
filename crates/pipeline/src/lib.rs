//! The ingest loop: from the log to shards, archive, scores and observers, exactly once. Written only against `core`'s
//! ports; it knows no Kafka, RocksDB, Delta or DataFusion.
//!
//! The path of an event, file by file: [`ingest`] polls a micro-batch -> [`watermark`] dates each row -> [`step`] runs the
//! views and cuts the rows by shard -> [`shards`] commits one atomic write a shard -> [`archive`] appends to Delta beside
//! it -> [`score`] reads features as of the event, asks a model, and writes result and outbox -> the publisher sends.
//! [`recovery`] decides where a restart begins; [`repeats`] drops predictions that were sent twice;
//! [`backfill`] fills a new view from the archive.

pub mod archive;
pub mod backfill;
pub mod deployment;
mod error;
pub mod ingest;
pub mod pending;
pub mod prediction;
pub mod recovery;
pub mod repeats;
pub mod score;
pub mod shards;
pub mod status;
pub mod step;
pub mod watermark;

pub use deployment::Deployment;
pub use error::PipelineError;
pub use ingest::{BatchObserver, Pipeline, PipelineParts, PipelineSettings};
pub use status::{PipelineStatus, SourceStatus};
pub use watermark::PublishedWatermarks;
