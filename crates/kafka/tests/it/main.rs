//! The Kafka adapter against real sockets: always against the broker embedded in the process, and
//! against Apache Kafka where `FOREBAY_TEST_KAFKA` names one (`scripts/kafka run -- cargo test -p
//! forebay-kafka` starts it). Without it those tests say that they were skipped; under CI they fail
//! instead.

#![allow(clippy::disallowed_methods, reason = "tests run in real time")]

mod apache;
mod conformance;
mod faults;
mod formats;
mod publishing;
mod reading;
mod republishing;
mod support;
