//! File descriptors of the process. [`raise`] lifts the soft limit to the hard one before anything
//! is opened; [`shares`] divides what may be open among the two listeners, the state's files and
//! all else (broker, archive, logs), so that connections alone cannot take the files from the
//! state. `app` opens the state with its share, `listeners` accept theirs, `forebay doctor` shows
//! both.

use std::num::NonZeroU16;

use anyhow::{Result, ensure};
use forebay_core::limits::{CONNECTIONS_MAX, DESCRIPTORS_MIN};
use forebay_online::OPEN_FILES_MIN;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Descriptors from which on the state keeps all its files open: its share is then more than a
/// state of a terabyte has (64 MiB a file).
const UNBOUNDED_FROM: u32 = 65_536;
/// Each listener, and the state, may have one in this many of the descriptors.
const SHARE: u32 = 4;

/// What each part may have open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Shares {
    /// Connections of each listener.
    pub(crate) connections: usize,
    /// Files of one shard of the state; None: all that it has.
    pub(crate) shard_files: Option<NonZeroU16>,
}

/// Raise the process's limit to what it is allowed, and say how much is in force then. A system
/// that refuses leaves it as it was.
pub(crate) fn raise() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        let raised = Rlimit {
            current: limit.maximum,
            maximum: limit.maximum,
        };
        if let Err(error) = setrlimit(Resource::Nofile, raised) {
            tracing::warn!(%error, "the limit of open files (ulimit -n) cannot be raised");
        }
    }
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// How many descriptors the process may raise its limit to.
pub(crate) fn allowed() -> u64 {
    getrlimit(Resource::Nofile).maximum.unwrap_or(u64::MAX)
}

/// The shares of `limit` descriptors with `shards` shards.
///
/// # Errors
/// The limit is too low to work with; the text says what is needed.
pub(crate) fn shares(limit: u64, shards: u16) -> Result<Shares> {
    let for_shards = u32::from(shards) * u32::from(OPEN_FILES_MIN) * SHARE;
    let needed = DESCRIPTORS_MIN.max(u64::from(for_shards));
    ensure!(
        limit >= needed,
        "the process may have {limit} files and connections open, and {needed} are needed with \
         {shards} shards (DESCRIPTORS_MIN); raise the hard limit (ulimit -Hn, LimitNOFILE= of \
         systemd, --ulimit nofile= of a container)"
    );
    let capped = limit.min(u64::from(UNBOUNDED_FROM));
    let share = u32::try_from(capped).expect("at most UNBOUNDED_FROM") / SHARE;
    let of_a_shard = share / u32::from(shards.max(1));
    let shard_files = u16::try_from(of_a_shard).expect("a quarter of UNBOUNDED_FROM at most");
    Ok(Shares {
        connections: CONNECTIONS_MAX.min(usize::try_from(share).expect("32 bits fit")),
        shard_files: NonZeroU16::new(shard_files).filter(|_| capped < u64::from(UNBOUNDED_FROM)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(shares: &Shares) -> Option<u16> {
        shares.shard_files.map(NonZeroU16::get)
    }

    #[test]
    fn listeners_and_state_leave_a_quarter_to_all_else() {
        for limit in [512, 1_024, 4_096, UNBOUNDED_FROM - 1] {
            let limit = u64::from(limit);
            let shares = shares(limit, 4).expect("enough");
            let state = 4 * u64::from(files(&shares).expect("bounded"));
            let taken = 2 * shares.connections as u64 + state;
            assert!(
                taken <= limit - limit / u64::from(SHARE),
                "{limit}: {shares:?}"
            );
        }
        let few = shares(DESCRIPTORS_MIN, 4).expect("enough");
        assert_eq!((few.connections, files(&few)), (128, Some(OPEN_FILES_MIN)));
        for limit in [u64::from(UNBOUNDED_FROM), u64::MAX] {
            let many = shares(limit, 4).expect("enough");
            assert_eq!((many.connections, files(&many)), (CONNECTIONS_MAX, None));
        }
    }

    #[test]
    fn a_limit_that_is_too_low_is_refused_with_what_is_needed() {
        let words = |limit, shards| match shares(limit, shards) {
            Ok(shares) => format!("{shares:?}"),
            Err(error) => error.to_string(),
        };
        assert!(words(DESCRIPTORS_MIN - 1, 1).contains("and 512 are needed with 1 shards"));
        assert!(words(1_024, 16).contains("and 2048 are needed with 16 shards"));
    }

    #[test]
    fn the_limit_of_this_process_is_raised_to_what_it_is_allowed() {
        assert_eq!(raise(), allowed());
        let limit = getrlimit(Resource::Nofile);
        assert_eq!(limit.current, limit.maximum);
    }
}
