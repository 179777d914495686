//! Workers over loopback: real services on runtimes of their own that are cut off without
//! a word, workers that take batches and never answer, and a pool that must lose none of
//! it.

#![allow(clippy::disallowed_methods, reason = "tests run in real time")]

mod claims;
mod conformance;
mod exchange;
mod fixture;
mod hostile;
mod loss;
mod registration;
