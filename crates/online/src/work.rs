//! What one atomic write of a shard brings: an epoch of the log, or a part of a view's fill from
//! the archive. Both fold rows in the same way; an epoch moves offsets, scores and decisions about
//! time beside them, a fill the note of how far it is.

use forebay_core::ports::{FillWrite, ShardFold, ShardWrite};
use forebay_core::view::ViewId;

/// What a commit brings to a shard.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Work<'a> {
    /// Rows below the shard's progress are dropped.
    Epoch(&'a ShardWrite),
    /// Rows count although they lie below the progress, which stays.
    Fill(&'a FillWrite),
}

impl<'a> Work<'a> {
    /// The rows to fold.
    pub(crate) fn folds(self) -> &'a [ShardFold] {
        match self {
            Self::Epoch(write) => &write.folds,
            Self::Fill(write) => &write.folds,
        }
    }

    /// The epoch; None for a fill.
    pub(crate) fn epoch(self) -> Option<&'a ShardWrite> {
        match self {
            Self::Epoch(write) => Some(write),
            Self::Fill(_) => None,
        }
    }

    /// The view of which it is a part of the fill.
    pub(crate) fn fill(self) -> Option<ViewId> {
        match self {
            Self::Epoch(_) => None,
            Self::Fill(write) => Some(write.view),
        }
    }

    /// Whether it is a part of a fill.
    pub(crate) fn is_fill(self) -> bool {
        self.fill().is_some()
    }
}
