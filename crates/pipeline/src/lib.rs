//! The ingest loop: from the log to shards, archive, scores and observers, exactly once. Written
//! only against `core`'s ports; it knows no Kafka, RocksDB, Delta or DataFusion.
//!
//! The path of an event, file by file: `ingest` polls a micro-batch -> [`repeats`] drops
//! predictions that were sent twice -> [`admit`] runs the views and turns what they refuse into
//! dead letters -> [`watermark`] dates each row -> [`step`] cuts the rows by shard -> `shards`
//! commits one atomic write a shard -> [`archive`] appends to Delta beside it. Behind that, by
//! deployment and in nobody's way, `score` reads features as of the event, asks a model, writes
//! result and outbox, and sends; `settlements` archives why an event has no prediction. `pipeline`
//! starts and stops all of them. `watch` looks at the log on a thread of its own and lets
//! [`recovery`] decide for each source whether and from where it is read; `reads` turns decisions
//! into assignments; [`halt`] has the reasons against, [`gaps`] the way past some of them, `lag`
//! what waits. [`backfill`](mod@backfill) fills a new view from the archive, `pace` slows the loop
//! where that does not catch up with it, [`left_out`] tells which archived rows a view leaves out,
//! `retry` waits for what does not answer, `contain` keeps a panic to its row.

pub mod admit;
pub mod archive;
pub mod backfill;
mod beginnings;
mod board;
mod contain;
pub mod deployment;
mod error;
pub mod gaps;
pub mod halt;
mod idle;
mod ingest;
mod lag;
pub mod left_out;
mod log_throttle;
mod lost;
mod observer;
mod own_cluster;
mod pace;
pub mod pending;
mod pipeline;
pub mod prediction;
mod prefix;
mod reads;
pub mod recovery;
pub mod repeats;
mod retry;
mod room;
pub mod runtime;
mod score;
mod settings;
pub mod settlements;
mod shards;
pub mod status;
pub mod step;
mod watch;
pub mod watermark;

pub use beginnings::not_begun;
pub use contain::contain;
pub use deployment::Deployment;
pub use error::PipelineError;
pub use halt::{Halt, HaltReason};
pub use lost::Awaited;
pub use observer::{BatchObserver, Look};
pub use own_cluster::OwnTopics;
pub use pipeline::{Pipeline, PipelineParts, Stopped};
pub use recovery::check_topics;
pub use retry::Outage;
pub use runtime::SystemRuntime;
pub use score::{ScoringLimits, ScoringLook, Waiting};
pub use settings::PipelineSettings;
pub use status::{
    Counters, DeploymentState, DeploymentStatus, PartitionStatus, PipelineStatus, SourceState,
    SourceStatus,
};
pub use watermark::PublishedWatermarks;
