//! The two lowerings that answer for any instant, the probe and the batch, against each other and
//! against a naive evaluator that shares nothing with them; on generated events, on the flights,
//! and on input that must be refused.

#![allow(clippy::disallowed_methods, reason = "tests run in real time")]

mod applied;
mod bounded;
mod conformance;
mod exact;
mod flights;
mod guards;
mod inputs;
mod lowerings;
mod memory;
mod oracle;
mod places;
mod shapes;
mod world;
