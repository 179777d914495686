//! The state machine end to end, its limits, and what replay relies on: reports are a function of
//! the log, by an evaluator that knows the whole of it. And statistics against scipy and
//! scikit-learn.

pub(crate) mod fixtures;
mod flow;
mod golden;
mod limits;
mod properties;
mod replay;
