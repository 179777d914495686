//! The state machine end to end, its limits, and what replay relies on: reports are a function of
//! the log, by an evaluator that knows the whole of it. Statistics against scipy and scikit-learn
//! are in `tests/it`.

mod fixtures;
mod flow;
mod limits;
mod properties;
mod replay;
