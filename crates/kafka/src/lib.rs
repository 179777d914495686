//! Kafka, both ways: records are read from given offsets, decoded into Arrow columns and handed on
//! as [`forebay_core::ports::SourceBatch`]es; finished records are published and acknowledged.
//!
//! This crate owns the client library (`rdkafka`); nobody else may name it. It never decides what
//! an event means, never commits offsets (the state keeps them) and never skips a record silently:
//! a record that is no row becomes a dead letter with its reason, and an offset that the log does
//! not hold is refused with the remedy.
//!
//! The way of a record: [`reader::KafkaLog`] polls, [`decode::RecordDecoder`] puts it into column
//! builders (a file of `decode` for each format), `pipeline` takes the batch. The way back:
//! `pipeline`'s outbox, [`publisher::KafkaPublisher`], the broker. [`encode`] is the inverse of
//! `decode`. [`embedded::EmbeddedBroker`] is a broker inside the process, for the demo and the
//! tests.

#![allow(
    clippy::disallowed_methods,
    reason = "librdkafka waits by itself, in real time"
)]

pub mod admin;
mod client;
pub mod connections;
pub mod decode;
mod delivery;
pub mod embedded;
pub mod encode;
pub mod error;
pub mod inspector;
pub mod lookup;
mod native;
pub mod publisher;
pub mod reader;
pub mod replay;
pub mod republish;
pub mod sample;
mod served;
pub mod settings;
pub mod stats;
pub mod survey;

pub use admin::{TopicStatus, Topics};
pub use connections::{Connection, Connections};
pub use decode::{Guess, Record, RecordDecoder, Reject, encode_events};
pub use embedded::EmbeddedBroker;
pub use encode::encode_rows;
pub use error::Error;
pub use inspector::KafkaInspector;
pub use lookup::{LoggedRecord, records_at};
pub use publisher::KafkaPublisher;
pub use reader::KafkaLog;
pub use replay::Replayer;
pub use republish::{RecordAgain, Republisher};
pub use settings::{
    ClientSettings, FETCHED_MIN_BYTES, ProducerSettings, ReaderSettings, UNSENT_MIN_BYTES,
};
pub use stats::ReaderStats;
pub use survey::{Survey, SurveyReport};
