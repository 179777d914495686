//! A simulation of the server over stores in memory, for tests only: one thread at a time, drawn by
//! a seed, a virtual clock, faults at the calls of every port, a crash at any of them and at any
//! task switch, and an oracle that says by one plain walk over the log what must be there in the
//! end.
//!
//! [`runtime`] draws who runs; [`faults`] and [`faulty`] decide what becomes of a call, and
//! [`refusals`] which events never get a prediction; [`world`] is what outlives processes,
//! [`server`] one of these, under [`definitions`] that change; [`deployed`] notes which events each
//! route has got. [`run`] plays one seed, and [`oracle`] and [`recomputed`] judge it. [`monitored`]
//! is the world's monitor; [`evaluator`] says what that must report, and [`drift`] which alarms
//! must be on their topic. The tests of `pipeline` use the world and the oracle with threads of the
//! system.

pub mod definitions;
pub mod deployed;
pub mod drift;
pub mod encoding;
pub mod evaluator;
mod events;
pub mod faults;
pub mod faulty;
pub mod met;
pub mod monitored;
pub mod oracle;
pub mod recomputed;
pub mod refusals;
pub mod run;
pub mod runtime;
pub mod server;
mod setup;
pub mod sources;
pub mod world;
