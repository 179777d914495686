//! The vocabulary of Forebay: what a source, an entity key, a feature view, an epoch and a
//! prediction are, the partial states that tiles hold, the limits, the error kinds, and the ports
//! through which the crates meet.
//!
//! Nothing here does I/O, reads a clock or owns a thread. Every other crate depends on this one; it
//! depends on none. Follow an event: [`source`] (what is decoded) -> [`ports::SourceBatch`] ->
//! [`view::FoldBatch`] -> [`aggregate`] in tiles -> [`ports::FeatureAnswer`] -> [`prediction`].

pub mod aggregate;
pub mod answered;
pub mod applied;
pub mod bytes;
pub mod calendar;
pub mod cast;
pub mod cells;
pub mod checkpoint;
pub mod data_type;
pub mod date;
pub mod dead_letter;
pub mod definition;
pub mod digest;
pub mod domain;
pub mod error;
pub mod exact;
pub mod fault;
pub mod format;
pub mod growth;
pub mod index;
pub mod invariant;
pub mod key;
pub mod limits;
pub mod memory;
pub mod offsets;
pub mod ports;
pub mod prediction;
pub mod progress;
pub mod scope;
pub mod settlement;
pub mod source;
pub mod tables;
pub mod time;
pub mod time_text;
pub mod value;
pub mod view;
pub mod watermark;

pub use error::{ErrorKind, PortError, PortResult};
