//! Fills of views from the archive: rows below the progress, with the note of how far the fill is.

use forebay_core::PortResult;
use forebay_core::ports::{FillNote, FillWrite, FillWriter};
use forebay_core::view::ViewId;

use super::health::damaged;
use super::{MemoryStore, State, newest};
use crate::fate::Point;

impl FillWriter for MemoryStore {
    fn fill(&self, shard: u16, write: &FillWrite) -> PortResult<()> {
        self.write(Point::Commit, shard, |contents, state| {
            if state.damaged.contains(&write.view) {
                return Err(damaged(write.view));
            }
            for fold in &write.folds {
                self.fold(contents, state, fold, true)?;
            }
            state.filled.insert(write.view, write.note.clone());
            state.epoch += 1;
            Ok(())
        })
    }

    fn filled(&self, shard: u16, view: ViewId) -> PortResult<Option<FillNote>> {
        let contents = self.contents.lock();
        Ok(newest(&contents, shard)?.filled.get(&view).cloned())
    }

    fn end_fill(&self, view: ViewId) -> PortResult<()> {
        self.reopen();
        let mut contents = self.contents.lock();
        let states = contents.shards.iter_mut();
        let newest = states.filter_map(|states| states.last_mut());
        let end = |state: &mut State| {
            state.filled_again.remove(&view);
            state.filled.remove(&view)
        };
        let ended: Vec<_> = newest.filter_map(end).collect();
        if !ended.is_empty() {
            contents.sync();
        }
        Ok(())
    }

    fn sync(&self) -> PortResult<()> {
        self.contents.lock().sync();
        Ok(())
    }

    fn is_settled(&self) -> bool {
        self.undecided_shard().is_none()
    }
}
