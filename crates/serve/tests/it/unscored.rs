//! The half of the store that serving never asks: queues of scores. Every call fails, so that a
//! test would notice one.

use std::collections::BTreeMap;

use forebay_core::PortResult;
use forebay_core::ports::{
    OutboxEntry, PendingEntry, Published, ScoreLoad, ScoreQueue, Settled, UnscoredEntry,
};

use crate::world::{FakeStore, absent};

impl ScoreQueue for FakeStore {
    fn score_load(&self, _: u16) -> PortResult<BTreeMap<String, ScoreLoad>> {
        absent()
    }

    fn pending(&self, _: u16, _: &str, _: u64, _: usize) -> PortResult<Vec<PendingEntry>> {
        absent()
    }

    fn settle(&self, _: u16, _: &[Settled]) -> PortResult<()> {
        absent()
    }

    fn outbox(&self, _: u16, _: &str, _: u64, _: usize) -> PortResult<Vec<OutboxEntry>> {
        absent()
    }

    fn clear_outbox(&self, _: u16, _: &[Published<'_>]) -> PortResult<()> {
        absent()
    }

    fn unscored(&self, _: u16, _: u64, _: usize) -> PortResult<Vec<UnscoredEntry>> {
        absent()
    }

    fn clear_unscored(&self, _: u16, _: u64) -> PortResult<()> {
        absent()
    }

    fn number_notes_from(&self, _: u16, _: u64) -> PortResult<()> {
        absent()
    }
}
