//! The server's life: how definitions change while events flow, what is undone when a step of that
//! fails, whether ingest moves, and how a stop reaches what waits. Pure decisions, and an executor
//! over a port ([`Parts`]); the binary implements it over RocksDB, Delta and Kafka.
//!
//! # A start, a stop
//!
//! [`begin`], [`begin_again`] and [`end`] carry out the steps that `plan` has for them over the
//! same port as a change.
//!
//! # A change of definitions
//!
//! [`plan_apply`] turns facts into [`Step`]s, [`execute`] carries them out in order. Whatever can
//! be refused is refused before the first step. A step that fails is followed by the steps of
//! `plan_undo`, which bring back the definitions that were in force. A crash between any two steps
//! leaves a server that starts with the definitions that are saved: [`Step::Save`] is the only step
//! that changes those, and everything that a saved definition needs is there before it.
//!
//! # The fill of a new view
//!
//! How far a fill is lies beside the rows that it has folded, so that one which a crash or a stop
//! has cut off goes on when the change is applied again. [`Filler`] waits until the archive has
//! what the state has, folds beside ingest, and the rest while ingest stands. What it asks of the
//! server around it is one port ([`FillHost`]), so that the binary and the simulation run the same
//! fill.
//!
//! # Recovery
//!
//! [`until_ingest_is_lost`] starts ingest again where it has ended by itself, has the tables that
//! are set aside looked at, and says when the process gives up; the server around it is one port
//! ([`RecoveryHost`]). Before ingest uses the archive's tables, [`TableLooks`] tells which of them
//! cannot be used, and [`Aside`] what becomes of these; the simulation runs this code too.
//!
//! # Monitors
//!
//! [`Monitors`] runs them: [`Beginning`] brings them from their checkpoints to where the archive
//! is, [`MonitorObserver`] feeds them with what ingest reads, [`change_scopes`] keeps which events
//! they may wait for, [`AlarmPublisher`] publishes what they raise. A monitor's report is that of
//! its log, whichever of these ways it came.
//!
//! # What never waits
//!
//! A stop ([`Stop`]) is seen by every step that waits. It is asked for without a lock, so that an
//! apply that hangs on a full disk cannot hold it back. A table that hangs in its upkeep holds up
//! no other ([`Turns`]).

mod alarms;
mod archived_tables;
mod aside;
mod begin_error;
mod beginning;
mod executor;
mod fill;
mod health;
mod life;
mod monitoring;
mod plan;
mod recovery;
mod scopes;
mod step;
mod stop;
mod table_looks;
mod turns;

pub use alarms::{AlarmPublisher, alarm_queue};
pub use aside::{Aside, WantedTable, source_tables};
pub use begin_error::BeginError;
pub use beginning::{Beginning, Begun};
pub use executor::{Around, ChangeFailed, Parts, begin, begin_again, end, execute};
pub use fill::{
    Course, FillError, FillHost, Filler, Leftovers, begin_states, delete_leftovers, furthest,
    log_stop, take_over,
};
pub use health::{IngestFacts, IngestHealth, IngestWatch};
pub use life::{Life, Phase};
pub use monitoring::{CHECKPOINT_ROWS, MonitorObserver, MonitorParts, Monitors};
pub use plan::{ApplyFacts, plan_apply};
pub use recovery::{Cause, RecoveryHost, until_ingest_is_lost};
pub use scopes::{change_scopes, touched_topics};
pub use step::{Step, Which};
pub use stop::Stop;
pub use table_looks::{Outcome, TableLooks};
pub use turns::Turns;
