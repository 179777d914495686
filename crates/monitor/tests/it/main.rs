//! Integration tests of the monitor: statistics against scipy and scikit-learn, the state machine
//! end to end, and the properties that replay relies on.

mod fixtures;
mod flow;
mod golden;
mod limits;
mod properties;
