//! What damages the state of a view in memory, and the views that are set aside for it.

use std::sync::Arc;

use forebay_core::index::ShardId;
use forebay_core::ports::{StateHealth, StoreHealth, ViewDamage};
use forebay_core::view::ViewId;
use forebay_core::{ErrorKind, PortError};

use super::{MemoryStore, newest};

pub(super) fn damaged(view: ViewId) -> PortError {
    PortError::new(ErrorKind::DataLoss, format!("view {view} is damaged"))
}

impl MemoryStore {
    /// What is stored of `view` in `shard` is damaged: the next write of the view meets it.
    pub fn damage(&self, shard: u16, view: ViewId) {
        let mut contents = self.contents.lock();
        contents.decide(shard);
        let states = &mut contents.shards[usize::from(shard)];
        let newest = states.last_mut().expect("it has a state at least");
        newest.damaged.insert(view);
    }
}

impl StateHealth for MemoryStore {
    fn health(&self) -> StoreHealth {
        match self.undecided_shard() {
            None => StoreHealth::Well,
            Some(shard) => StoreHealth::Troubled {
                why: format!("shard {shard}: its last write is undecided"),
            },
        }
    }

    fn set_aside(&self) -> Vec<ViewDamage> {
        let contents = self.contents.lock();
        let mut found = Vec::new();
        for shard in 0..ShardId::count(contents.shards.len()) {
            let aside = newest(&contents, shard).map(|state| &state.aside);
            found.extend(aside.into_iter().flatten().map(|(view, why)| ViewDamage {
                view: *view,
                shard,
                why: Arc::clone(why),
            }));
        }
        found.sort_unstable();
        found
    }
}
