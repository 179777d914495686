//! The executor over a server in memory: faults at every step, a crash between any two, a stop.
//! What holds afterwards is checked against what a user was told.

mod apply;
mod world;
