//! Integration tests of the monitor: statistics against scipy and scikit-learn. The state machine
//! is tested in `src/tests`, where its parts can be reached; nothing else uses them from outside.

#![allow(clippy::disallowed_methods, reason = "tests run in real time")]

mod golden;
