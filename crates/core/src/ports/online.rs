//! State in shards, whole: every role that a store has. For who opens a store and hands its roles
//! out; who needs one of them asks for that one alone.

use super::epochs::EpochWriter;
use super::fills::FillWriter;
use super::scores::ScoreQueue;
use super::state_health::StateHealth;
use super::state_reader::StateReader;

/// Tiles, rows and offsets in shards; each shard has one writer at a time, any number of readers.
pub trait OnlineStore: StateReader + EpochWriter + FillWriter + ScoreQueue + StateHealth {}

impl<S: StateReader + EpochWriter + FillWriter + ScoreQueue + StateHealth> OnlineStore for S {}
