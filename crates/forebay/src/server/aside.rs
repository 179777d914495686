//! Tables of the archive that ingest goes on without, because they are damaged or have not answered
//! in time: each with its reason. Decides nothing: [`super::tables`] does.

use std::collections::{BTreeMap, BTreeSet};

use forebay_core::PortError;
use forebay_core::error::with_causes;
use parking_lot::Mutex;
use tokio::task::JoinHandle;

/// Reads of tables whose rows could not be read. One that hangs keeps its read, and with it a
/// thread for blocking work: it is not read a second time beside it.
pub(super) type Reads = Mutex<BTreeMap<String, JoinHandle<bool>>>;

/// Tables that cannot be used.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Aside {
    /// Each with the reason.
    pub(super) why: BTreeMap<String, String>,
    /// Those of them that are open, and whose rows cannot be read.
    pub(super) unread: BTreeSet<String>,
}

impl Aside {
    /// Those that do not open.
    pub(super) fn of(unusable: BTreeMap<String, PortError>) -> Self {
        let reason = |(table, error): (String, PortError)| (table, with_causes(&error));
        Self {
            why: unusable.into_iter().map(reason).collect(),
            unread: BTreeSet::new(),
        }
    }
}
