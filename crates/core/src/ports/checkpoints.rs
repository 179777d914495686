//! Where checkpoints lie: small named blobs beside the state. The binary keeps them as files,
//! `testkit` and tests in memory.

use std::fmt::Debug;

use crate::error::PortResult;

/// Named blobs, each replaced as a whole.
pub trait Checkpoints: Send + Sync + Debug {
    /// The blob of `name` as it was saved last; None where there is none.
    ///
    /// # Errors
    /// The disk fails.
    fn load(&self, name: &str) -> PortResult<Option<Vec<u8>>>;

    /// Replace the blob of `name`: after a crash the one before or this one is there, whole.
    ///
    /// # Errors
    /// The disk fails: the one before is still there.
    fn save(&self, name: &str, blob: &[u8]) -> PortResult<()>;
}
