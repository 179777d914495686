//! The ingest loop: from the log to shards, archive, scores and observers, exactly once. Written
//! only against `core`'s ports; it knows no Kafka, RocksDB, Delta or DataFusion.
//!
//! The path of an event, file by file: `ingest` polls a micro-batch -> [`repeats`] drops
//! predictions that were sent twice -> [`admit`] runs the views and turns what they refuse into
//! dead letters -> [`watermark`] dates each row -> [`step`] cuts the rows by shard -> `shards`
//! commits one atomic write a shard -> [`archive`] appends to Delta beside it. Behind that, by
//! deployment and in nobody's way, `score` reads features as of the event, asks a model, writes
//! result and outbox, and sends; `settlements` archives why an event has no prediction.
//! `pipeline` starts and stops all of them, [`recovery`] decides where a restart begins,
//! [`backfill`](mod@backfill) fills a new view from the archive, `retry` waits for what does not
//! answer, `contain` keeps a panic to its row.

pub mod admit;
pub mod archive;
pub mod backfill;
mod contain;
pub mod deployment;
mod error;
mod ingest;
pub mod pending;
mod pipeline;
pub mod prediction;
pub mod recovery;
pub mod repeats;
mod retry;
mod score;
pub mod settlements;
mod shards;
pub mod status;
pub mod step;
pub mod watermark;

pub use contain::contain;
pub use deployment::Deployment;
pub use error::PipelineError;
pub use pipeline::{BatchObserver, Pipeline, PipelineParts, PipelineSettings};
pub use recovery::check_topics;
pub use score::ScoringLimits;
pub use status::{Counters, DeploymentState, DeploymentStatus, PipelineStatus, SourceStatus};
pub use watermark::PublishedWatermarks;
