//! Fills, as who brings archived rows into a new view sees them: a write of rows with the note of
//! how far the fill is, so that one that a crash has cut off goes on from there. A fill moves no
//! offset. Calls block, on threads of their own. `online` implements it over RocksDB, `testkit` in
//! memory.

use crate::error::PortResult;
use crate::progress::Applied;
use crate::view::ViewId;

use super::epochs::ShardFold;
use super::state_progress::StateProgress;
use super::view_states::ViewStates;

/// How far the fill of a view from the archive is in one shard, in the write that folds its rows: a
/// fill that a crash has cut off goes on from there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FillNote {
    /// What all its rows have in common (the table that they come from, how they are judged): a
    /// fill on another basis begins anew.
    pub basis: String,
    /// Rows of it that the fill had read.
    pub rows: u64,
    /// Of each partition the next offset, and the mark there.
    pub at: Applied,
}

/// Rows from the archive for one shard, and how far the fill is with them, atomically.
#[derive(Debug, Clone)]
pub struct FillWrite {
    /// The view that is filled.
    pub view: ViewId,
    /// Its rows. They count although they lie below the shard's progress, which stays.
    pub folds: Vec<ShardFold>,
    /// How far the fill is with this write. Replaces what an earlier write said.
    pub note: FillNote,
}

/// Fills views. Who fills one makes its state, and deletes that of one which cannot go on.
pub trait FillWriter: StateProgress + ViewStates {
    /// Fold, in ONE atomic write with the note, then publish to readers.
    ///
    /// # Errors
    /// The disk fails, or what is stored of the view is damaged (`DataLoss`): nothing was applied.
    fn fill(&self, shard: u16, write: &FillWrite) -> PortResult<()>;

    /// How far the fill of `view` was in `shard`; None where none was begun, or it is over.
    ///
    /// # Errors
    /// The disk fails, or the note cannot be decoded.
    fn filled(&self, shard: u16, view: ViewId) -> PortResult<Option<FillNote>>;

    /// The fill of `view` is over: its rows come from the log alone from now on. To be called
    /// before the first of them is folded.
    ///
    /// # Errors
    /// The disk fails.
    fn end_fill(&self, view: ViewId) -> PortResult<()>;

    /// Wait until the disk has all that was written. An epoch needs no such wait: the log brings it
    /// again, as long as the definitions are the same. What is folded from the archive comes once.
    ///
    /// # Errors
    /// The disk fails.
    fn sync(&self) -> PortResult<()>;

    /// Whether of each shard the last write is decided: after one that has failed, a shard may have
    /// more than its progress says until it is opened anew.
    fn is_settled(&self) -> bool;
}
