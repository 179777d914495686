//! The ports: what `pipeline`, `training`, `serve` and `monitor` ask of the adapters. Batches, not
//! rows, cross them. Reads and writes of the hot path are synchronous (they run on threads of their
//! own); what waits for a network or an object store is async.
//!
//! Each port has a suite of checks in `testkit/src/conformance`, in the file of its own name: what
//! its comments promise, run by every implementation. `xtask` holds that none is missing.

mod archive;
mod checkpoints;
mod compiled;
mod epochs;
mod features;
mod fills;
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
mod state_health;
mod state_progress;
mod state_reader;
mod view_states;

pub use archive::{Archive, Beginnings, LogIdentity, TableSnapshot};
pub use checkpoints::Checkpoints;
pub use compiled::{CompiledLabel, CompiledService, CompiledView};
pub use epochs::{EpochWriter, ShardFold, ShardWrite};
pub use features::{FeatureAnswer, FeatureReader};
pub use fills::{FillNote, FillWrite, FillWriter};
pub use log::{DeadLetter, EventLog, LogFault, LogPosition, Origin, RecordHeader, SourceBatch};
pub use log_inspector::{FirstRecord, LogBounds, LogInspector, TopicFacts};
pub use log_notes::{AcceptedGap, LogNotes, TopicNote};
pub use online::OnlineStore;
pub use point_in_time::{Known, PointInTime, SpineAnswer};
pub use publish::{Publication, Publisher};
pub use runtime::{Body, Runtime, Task};
pub use scan::{ColumnRange, ORIGIN, RowStream, Scan, ScanOrder, TableScan};
pub use scorer::{Scorer, Scores};
pub use scores::{
    OutboxEntry, PendingEntry, PendingLoad, Published, ScoreLoad, ScoreQueue, Settled,
    UnscoredEntry,
};
pub use state_health::{StateHealth, StoreHealth, ViewDamage};
pub use state_progress::StateProgress;
pub use state_reader::{At, ShardEpoch, StateReader, ViewRows};
pub use view_states::ViewStates;
