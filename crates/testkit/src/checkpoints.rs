//! Checkpoints in memory. They outlive whoever saves them, as files do; what is saved is there
//! whole.

use std::collections::BTreeMap;
use std::sync::Arc;

use forebay_core::PortResult;
use forebay_core::ports::Checkpoints;
use parking_lot::Mutex;

/// Checkpoints in memory. Clones share what is kept.
#[derive(Debug, Clone, Default)]
pub struct MemoryCheckpoints(Arc<Mutex<BTreeMap<String, Vec<u8>>>>);

impl MemoryCheckpoints {
    /// A copy in which those whose name begins with `prefix` are missing.
    #[must_use]
    pub fn without(&self, prefix: &str) -> Self {
        let mut kept = self.0.lock().clone();
        kept.retain(|name, _| !name.starts_with(prefix));
        Self(Arc::new(Mutex::new(kept)))
    }
}

impl Checkpoints for MemoryCheckpoints {
    fn load(&self, name: &str) -> PortResult<Option<Vec<u8>>> {
        Ok(self.0.lock().get(name).cloned())
    }

    fn save(&self, name: &str, blob: &[u8]) -> PortResult<()> {
        self.0.lock().insert(name.to_owned(), blob.to_vec());
        Ok(())
    }
}
