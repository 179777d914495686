//! Scalar expressions, evaluated by ourselves: a row without a value is a value of that row, so
//! that SQL is lazy where it is lazy whatever the cut of the batch, one row fails alone, and the
//! bits are those of our own arithmetic on every machine.
//!
//! `function` is the form of a function, `functions` the table of all, `kernel` what computes one.
#![allow(dead_code, reason = "the evaluator that calls it follows")]

mod function;
mod functions;
mod kernel;
