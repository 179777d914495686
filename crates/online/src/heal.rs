//! What to do about a shard that RocksDB no longer writes. A full disk heals by itself once there
//! is room; most other errors leave RocksDB read-only until it is opened anew, and damage never
//! heals. [`next_step`] decides that from the facts, purely; `shard` carries it out before the next
//! write, under the writer's lock.
//!
//! Reads go on meanwhile from memory and from the open files; where opening the shard anew fails,
//! it is opened for reads. Nothing here waits: the pipeline's
//! retry paces the attempts.

/// Failed writes in a row after which the shard is opened anew: the first may have been the
/// disk's, the second says that RocksDB has not come back by itself.
const FAILURES_BEFORE_REOPEN: u32 = 2;
/// Attempts to open a shard anew after which the process is to end: what a restart cannot mend
/// either is not worth staying half alive for.
pub(crate) const REOPENS_MAX: u32 = 20;

/// What is known when a write is due after one that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Trouble {
    /// Stored bytes contradict themselves: checksum, missing file.
    pub(crate) is_damaged: bool,
    /// Failed writes in a row.
    pub(crate) failures: u32,
    /// Failed attempts in a row to open the shard anew.
    pub(crate) failed_reopens: u32,
    /// Whether the database is open for writes.
    pub(crate) is_writable: bool,
    /// Whether the directory takes new files and has room for what opening the shard writes.
    pub(crate) takes_files: bool,
    /// Whether the process may open as many files more as the shard has.
    pub(crate) has_descriptors: bool,
}

/// See [`next_step`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// Write: RocksDB may have recovered by itself.
    Write,
    /// Refuse until the disk takes files again and the process may open them.
    Wait,
    /// Close the database and open it anew, then write.
    Reopen,
    /// Refuse for good: a person must act, or a restart.
    GiveUp,
}

/// The step that `trouble` asks for.
pub(crate) fn next_step(trouble: Trouble) -> Step {
    if trouble.is_damaged || trouble.failed_reopens >= REOPENS_MAX {
        return Step::GiveUp;
    }
    if trouble.is_writable && trouble.failures < FAILURES_BEFORE_REOPEN {
        return Step::Write;
    }
    // Opening writes files and keeps all of the shard's open: where that cannot work it would only
    // cost the reads, and use up the attempts.
    if !trouble.takes_files || !trouble.has_descriptors {
        return Step::Wait;
    }
    Step::Reopen
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_step_follows_from_the_facts() {
        // Writable, takes files, has descriptors, damaged, failures, failed reopens.
        let cases = [
            ((true, true, true, false, 0, 0), Step::Write),
            ((true, true, true, false, 1, 0), Step::Write),
            ((true, false, true, false, 1, 0), Step::Write),
            ((true, true, false, false, 1, 0), Step::Write),
            ((true, true, true, false, 2, 0), Step::Reopen),
            ((true, false, true, false, 2, 0), Step::Wait),
            ((true, false, true, false, 900, 0), Step::Wait),
            ((true, true, false, false, 900, 0), Step::Wait),
            ((false, true, true, false, 1, 1), Step::Reopen),
            ((false, false, true, false, 1, 1), Step::Wait),
            ((false, true, false, false, 1, 1), Step::Wait),
            ((false, true, true, false, 1, REOPENS_MAX), Step::GiveUp),
            ((true, true, true, true, 1, 0), Step::GiveUp),
        ];
        for (facts, expected) in cases {
            let (is_writable, takes_files, has_descriptors, is_damaged, failures, failed_reopens) =
                facts;
            let trouble = Trouble {
                is_damaged,
                failures,
                failed_reopens,
                is_writable,
                takes_files,
                has_descriptors,
            };
            assert_eq!(next_step(trouble), expected, "{trouble:?}");
        }
    }
}
