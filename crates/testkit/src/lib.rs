//! Stand-ins for what the pipeline runs on, in memory: a log that is read in any order and any
//! cuts, an archive, a store that is its own oracle, an engine over it, a publisher, a model. They
//! keep their contents over restarts, and a [`Fate`] that they share takes them away for a while
//! or kills the process at any write. `conformance` holds what every implementation of a port must
//! do, as functions that the real one and the stand-in both run.
//!
//! For tests only: nothing but dev-dependencies points here.

#![allow(
    clippy::disallowed_methods,
    reason = "tests wait for threads of the system"
)]

mod archive;
mod checkpoints;
mod clock;
pub mod conformance;
mod fate;
mod log;
mod memory;
mod model;
mod point_in_time;
mod publisher;
mod random;
mod reader;
pub mod sparse;
mod store;
mod tables;
mod view;
mod wait;

pub use archive::{ArchivedRow, MemoryArchive};
pub use checkpoints::MemoryCheckpoints;
pub use clock::{FakeClock, PassingRuntime};
pub use fate::{Fate, Point, TableFault};
pub use log::{MemoryInspector, MemoryLog, MemoryReader, Record};
pub use memory::{unbounded, unbounded_budget};
pub use model::FakeScorer;
pub use point_in_time::PlainEngine;
pub use publisher::MemoryPublisher;
pub use random::Random;
pub use reader::StoreReader;
pub use store::{MemoryStore, StoredRow};
pub use tables::MemoryTables;
pub use view::{PlainLabel, PlainService, PlainView, column};
pub use wait::wait_until;
