//! Which views have state: made known before the first row or read, deleted with all that is
//! theirs. A change of definitions is its user. Calls block, on threads of their own. `online`
//! implements it over RocksDB, `testkit` in memory.

use std::fmt::Debug;
use std::sync::Arc;

use crate::error::PortResult;
use crate::view::{ViewId, ViewSpec};

/// The views of a store.
pub trait ViewStates: Send + Sync + Debug {
    /// Make a view known before its first fold or read. The same id with another digest is refused.
    ///
    /// # Errors
    /// As said.
    fn register_view(&self, view: Arc<ViewSpec>) -> PortResult<()>;

    /// Forget a view and delete its state, and how far its fill was.
    ///
    /// # Errors
    /// The disk fails.
    fn drop_view(&self, view: ViewId) -> PortResult<()>;

    /// The views that have state here, also those that were not registered by this process.
    ///
    /// # Errors
    /// The disk fails.
    fn views(&self) -> PortResult<Vec<ViewId>>;
}
