//! The offline store against a real directory: exactly once whatever fails, fenced, bit for bit,
//! readable by others. What the tables hold is read back with the Parquet reader alone, so that the
//! code under test is not its own judge.

#![allow(clippy::disallowed_methods, reason = "tests run in real time")]

mod append;
mod compact;
mod dead_letters;
mod faults;
mod faulty;
mod growth;
mod log_flips;
mod readers;
mod remedies;
mod scan;
mod support;
mod upkeep;
