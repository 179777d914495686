//! A write that was done and reported as failed, as a disk leaves one that fails meanwhile: readers
//! see nothing of it, and the shard's progress says less than is there, until the next write of the
//! shard, or an opening anew, finds it.

use std::sync::Arc;

use forebay_core::index::ShardId;
use forebay_core::progress::Applied;
use forebay_core::{ErrorKind, PortError};

use super::{Contents, MemoryStore, State};

/// Of one shard.
#[derive(Debug, Clone, Default)]
pub(super) struct Undecided {
    /// What was written and is not shown.
    pub(super) state: Option<State>,
    /// With what the next write is reported as failed.
    pub(super) next_is_lost: Option<ErrorKind>,
}

pub(super) fn undecided(kind: ErrorKind) -> PortError {
    PortError::new(kind, "the disk failed, and nobody knows what it has")
}

impl Contents {
    /// What was written to `shard` and not shown is shown.
    pub(super) fn decide(&mut self, shard: u16) {
        let number = usize::from(shard);
        let written = self.undecided.get_mut(number).and_then(|u| u.state.take());
        let Some(mut state) = written else {
            return;
        };
        let before = self.shards[number].last();
        let known = before.map(|state| state.filled.clone()).unwrap_or_default();
        let filled = state.filled.iter();
        let views: Vec<_> = filled
            .filter(|(view, note)| known.get(view) != Some(note))
            .map(|(view, _)| *view)
            .collect();
        state.filled_again.extend(views);
        self.shards[number].push(state);
    }
}

impl MemoryStore {
    /// The next write of `shard` is done, and its caller hears that it failed with `kind`.
    pub fn lose_reply(&self, shard: u16, kind: ErrorKind) {
        let mut contents = self.contents.lock();
        contents.undecided[usize::from(shard)].next_is_lost = Some(kind);
    }

    /// What `shard` has of the log, shown or not.
    #[must_use]
    pub fn written(&self, shard: u16) -> Arc<Applied> {
        let contents = self.contents.lock();
        let hidden = contents.undecided.get(usize::from(shard));
        let hidden = hidden.and_then(|undecided| undecided.state.as_ref());
        let shown = contents.shards.get(usize::from(shard));
        let newest = hidden.or_else(|| shown.and_then(|states| states.last()));
        newest
            .map(|state| Arc::clone(&state.applied))
            .unwrap_or_default()
    }

    /// Every shard is opened anew: what was undecided is there.
    pub fn reopen(&self) {
        let mut contents = self.contents.lock();
        for shard in 0..ShardId::count(contents.shards.len()) {
            contents.undecided[usize::from(shard)].next_is_lost = None;
            contents.decide(shard);
        }
    }

    /// The first shard whose last write is undecided.
    pub(super) fn undecided_shard(&self) -> Option<usize> {
        let contents = self.contents.lock();
        contents.undecided.iter().position(|u| u.state.is_some())
    }
}
