//! How many verifications may be under way at once. `verify` asks before it begins; `app` keeps the
//! permits. Nothing here verifies.
//!
//! Each verification holds a thread of the runtime's pool and waits for others of the pool, which
//! read the archive. As many as the pool has threads would hold all of them and wait for ever, and
//! so would whatever else needs one: `status`, a change of definitions, an append to the archive.

use forebay_core::limits::VERIFICATIONS_MAX;
use forebay_core::{ErrorKind, PortError, PortResult};
use tokio::sync::{Semaphore, SemaphorePermit};

/// The permits.
#[derive(Debug)]
pub(super) struct Verifications(Semaphore);

impl Default for Verifications {
    fn default() -> Self {
        Self(Semaphore::new(VERIFICATIONS_MAX))
    }
}

impl Verifications {
    /// One more is under way, until its permit is dropped.
    ///
    /// # Errors
    /// As many as may be are under way.
    pub(super) fn begin(&self) -> PortResult<SemaphorePermit<'_>> {
        self.0.try_acquire().map_err(|_| {
            let words = format!(
                "{VERIFICATIONS_MAX} verifications are under way (VERIFICATIONS_MAX); verify again \
                 when one of them has ended"
            );
            PortError::new(ErrorKind::ResourceExhausted, words)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_verification_more_than_may_be_under_way_is_refused_until_one_has_ended() {
        let verifications = Verifications::default();
        let begun: PortResult<Vec<_>> = (0..VERIFICATIONS_MAX)
            .map(|_| verifications.begin())
            .collect();
        let mut begun = begun.expect("as many as may be");
        let error = verifications.begin().expect_err("one more");
        assert_eq!(error.kind(), ErrorKind::ResourceExhausted);
        assert!(error.message().contains("VERIFICATIONS_MAX"), "{error}");
        begun.pop();
        assert!(verifications.begin().is_ok(), "one has ended");
    }
}
