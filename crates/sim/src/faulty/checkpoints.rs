//! Checkpoints, wrapped. A save that fails has replaced nothing.

use std::sync::Arc;

use forebay_core::PortResult;
use forebay_core::ports::Checkpoints;

use crate::faults::Effect::{None, Write};
use crate::faults::{Faults, Part};

/// Checkpoints under faults.
#[derive(Debug)]
pub struct FaultyCheckpoints<C> {
    inner: C,
    faults: Arc<Faults>,
}

impl<C> FaultyCheckpoints<C> {
    /// `inner` under `faults`.
    pub fn new(inner: C, faults: &Arc<Faults>) -> Self {
        Self {
            inner,
            faults: Arc::clone(faults),
        }
    }
}

impl<C: Checkpoints> Checkpoints for FaultyCheckpoints<C> {
    fn load(&self, name: &str) -> PortResult<Option<Vec<u8>>> {
        let act = || self.inner.load(name);
        self.faults.meet(Part::Checkpoints, None, act)
    }

    fn save(&self, name: &str, blob: &[u8]) -> PortResult<()> {
        let act = || self.inner.save(name, blob);
        self.faults.meet(Part::Checkpoints, Write, act)
    }
}
