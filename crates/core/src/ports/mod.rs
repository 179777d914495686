//! The ports: what `pipeline`, `training`, `serve` and `monitor` ask of the adapters. Batches, not
//! rows, cross them. Reads and writes of the hot path are synchronous (they run on threads of their
//! own); what waits for a network or an object store is async.

mod archive;
mod checkpoints;
mod compiled;
mod features;
mod log;
mod log_inspector;
mod log_notes;
mod online;
mod point_in_time;
mod publish;
mod runtime;
mod scan;
mod scorer;
mod scores;
mod state_reader;

pub use archive::{Archive, Beginnings, TableSnapshot};
pub use checkpoints::Checkpoints;
pub use compiled::{CompiledLabel, CompiledService, CompiledView};
pub use features::{FeatureAnswer, FeatureReader};
pub use log::{DeadLetter, EventLog, LogFault, LogPosition, Origin, SourceBatch};
pub use log_inspector::{FirstRecord, LogBounds, LogInspector, TopicFacts};
pub use log_notes::{AcceptedGap, LogNotes, TopicNote};
pub use online::{FillNote, OnlineStore, ShardFold, ShardWrite, StoreHealth};
pub use point_in_time::{Known, PointInTime};
pub use publish::{Publication, Publisher};
pub use runtime::{Body, Runtime, Task};
pub use scan::{ColumnRange, ORIGIN, RowStream, Scan, ScanOrder, TableScan};
pub use scorer::{Scorer, Scores};
pub use scores::{
    OutboxEntry, PendingEntry, Published, ScoreLoad, ScoreQueue, Settled, UnscoredEntry,
};
pub use state_reader::{At, ShardEpoch, StateReader, ViewRows};
