//! Every port of the server, wrapped: what is inside does the work, [`Faults`] decides whether it
//! is done, when, and what is heard of it. A method that a port gets and a wrapper lacks does not
//! compile.
//!
//! Calls that a process answers from its memory, or that cannot fail, let another thread go first
//! and no more.

#![deny(
    clippy::missing_trait_methods,
    reason = "a method that a port provides by itself would pass by the faults"
)]

mod archive;
mod checkpoints;
mod log;
mod point_in_time;
mod scoring;
mod store;

pub use archive::FaultyArchive;
pub use checkpoints::FaultyCheckpoints;
pub use log::{FaultyInspector, FaultyLog};
pub use point_in_time::FaultyPointInTime;
pub use scoring::{FaultyPublisher, FaultyReader, FaultyScorer};
pub use store::FaultyStore;
