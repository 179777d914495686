//! Verification and training sets against a small world whose values are counted by brute force: an
//! online side that answers from the events that a shard had applied, and an engine that reads the
//! archive's Parquet files.

#![allow(clippy::disallowed_methods, reason = "tests run in real time")]

mod engine;
mod predictions;
mod serving;
mod sets;
mod verify;
mod witness;
mod world;
