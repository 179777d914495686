//! Tests of the online store through its port: values against a naive evaluator over the plain
//! rows, restarts and kills, expiry, scores and outbox. The rows come from a generated log with
//! ties, disorder, NULLs and odd floats.

#![allow(clippy::disallowed_methods, reason = "tests run in real time")]

mod canonical;
mod conformance;
mod crash;
mod damaged;
mod edges;
mod expiry;
mod forgotten;
mod growth;
mod memory;
mod model;
mod parts;
mod pending;
mod power;
mod queue;
mod restart;
mod sparse;
mod trimmed;
mod values;
