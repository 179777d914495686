//! Reads of tables that are set aside because a row of theirs could not be read. [`super::mend`]
//! begins them and hears what came of them; [`super::resume`] forgets those that have ended.

use std::collections::BTreeMap;

use parking_lot::Mutex;
use tokio::task::JoinHandle;

/// By table. One that hangs keeps its read, and with it a thread for blocking work: it is not read
/// a second time beside it.
pub(super) type Reads = Mutex<BTreeMap<String, JoinHandle<bool>>>;
