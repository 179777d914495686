//! `[memory]`: from the limit to its parts. What has a fixed size is taken off first: the process
//! itself, RocksDB, the Kafka clients; the rest is the pool that everything else draws on
//! (`core/memory`). Owns no key (those are in [`super`], from which the pages are written) and
//! reads nothing of the system: what there is comes in as an argument (`crate::available`).

use anyhow::{Result, ensure};
use forebay_core::memory::{Budget, Part};
use forebay_kafka::{FETCHED_MIN_BYTES, UNSENT_MIN_BYTES};

use super::{Settings, within};

/// Largest `memory.limit_mib`: 64 TiB.
const LIMIT_MAX_MIB: usize = 64 << 20;
/// Largest of the fixed parts, MiB: 256 GiB.
const FIXED_MAX_MIB: usize = 262_144;
/// The process itself: code (some 100 MiB of a build without optimisation), threads, definitions,
/// models, offsets, what the allocator keeps.
const PROCESS_BYTES: usize = 128 << 20;
/// Least pool that a server works with.
const POOL_MIN_BYTES: usize = 32 << 20;
/// Least cache and least write buffers of RocksDB.
const ROCKSDB_MIN_BYTES: usize = 4 << 20;
/// Most that RocksDB's cache, its write buffers, and fetched records get where nobody says how
/// much: more of it makes nothing faster that was measured.
const DERIVED_MAX_BYTES: usize = 64 << 20;

/// What each part gets, bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Shares {
    /// All of it.
    pub(crate) limit: usize,
    /// RocksDB's blocks, indexes and filters.
    pub(crate) cache: usize,
    /// RocksDB's memtables.
    pub(crate) write_buffer: usize,
    /// Records that were fetched and not read.
    pub(crate) fetched: usize,
    /// Records that were not sent.
    pub(crate) unsent: usize,
    /// What all else draws on.
    pub(crate) pool: usize,
    /// The most that keys in memory hold of the pool.
    pub(crate) hot_table: usize,
}

impl Shares {
    /// The shares of a server that may use `available_bytes` where no limit is set.
    ///
    /// # Errors
    /// The limit is too small for what is fixed, or the hot table too large for the pool; the text
    /// says what works.
    pub(crate) fn of(settings: &Settings, available_bytes: usize) -> Result<Self> {
        let limit = limit_bytes(settings, available_bytes);
        let shares = Self::under(settings, limit);
        ensure!(
            shares.pool >= POOL_MIN_BYTES,
            "{} leaves too little beside what is fixed; the smallest that works here is {}",
            named(settings, limit),
            smallest_mib(settings)
        );
        let most = Budget::shared(shares.pool).most_bytes(Part::HotTable);
        ensure!(
            shares.hot_table <= most,
            "state.hot_table_mib = {} is more than the {} MiB that {} leaves for it; lower it, or raise the limit",
            settings.state.hot_table_mib,
            most >> 20,
            named(settings, limit)
        );
        Ok(shares)
    }

    fn under(settings: &Settings, limit: usize) -> Self {
        let (state, kafka) = (&settings.state, &settings.kafka);
        let derived = |parts: usize, least: usize| (limit / parts).clamp(least, DERIVED_MAX_BYTES);
        let or = |set_mib: usize, derived: usize| match set_mib {
            0 => derived,
            mib => mib << 20,
        };
        let cache = or(state.cache_mib, derived(16, ROCKSDB_MIN_BYTES));
        let write_buffer = or(state.write_buffer_mib, derived(16, ROCKSDB_MIN_BYTES));
        let fetched = or(kafka.fetched_mib, derived(16, FETCHED_MIN_BYTES));
        let unsent = or(kafka.unsent_mib, derived(32, UNSENT_MIN_BYTES));
        let fixed = PROCESS_BYTES + cache + write_buffer + fetched + unsent;
        let pool = limit.saturating_sub(fixed);
        let most = Budget::shared(pool).most_bytes(Part::HotTable);
        Self {
            limit,
            cache,
            write_buffer,
            fetched,
            unsent,
            pool,
            hot_table: or(state.hot_table_mib, most),
        }
    }
}

/// The pool of a command that does one thing, in a process of its own.
pub(crate) fn command_pool_bytes(settings: &Settings, available_bytes: usize) -> Result<usize> {
    let limit = limit_bytes(settings, available_bytes);
    let pool = limit.saturating_sub(PROCESS_BYTES);
    ensure!(
        pool >= POOL_MIN_BYTES,
        "{} is too little for a command; the smallest that works is {}",
        named(settings, limit),
        (PROCESS_BYTES + POOL_MIN_BYTES) >> 20
    );
    Ok(pool)
}

/// `memory.limit_mib`, or half of what there is: the rest is for the pages of files that the system
/// keeps, and for the processes beside this one.
fn limit_bytes(settings: &Settings, available_bytes: usize) -> usize {
    match settings.memory.limit_mib {
        0 => available_bytes / 2,
        mib => mib << 20,
    }
}

/// `limit` in words that say whether somebody has set it.
fn named(settings: &Settings, limit: usize) -> String {
    let mib = limit >> 20;
    match settings.memory.limit_mib {
        0 => format!(
            "a limit of {mib} MiB, which is half of what there is since memory.limit_mib is not set,"
        ),
        _ => format!("memory.limit_mib = {mib}"),
    }
}

/// A larger limit leaves a larger pool, so the first that works is the smallest.
fn smallest_mib(settings: &Settings) -> usize {
    let works = |mib: &usize| {
        let shares = Shares::under(settings, mib << 20);
        let most = Budget::shared(shares.pool).most_bytes(Part::HotTable);
        shares.pool >= POOL_MIN_BYTES && shares.hot_table <= most
    };
    let (mut too_small, mut enough) = (0, LIMIT_MAX_MIB);
    while enough - too_small > 1 {
        let middle = too_small + (enough - too_small) / 2;
        if works(&middle) {
            enough = middle;
        } else {
            too_small = middle;
        }
    }
    enough
}

impl Settings {
    /// Refuse sizes outside their bounds.
    pub(super) fn validate_memory(&self) -> Result<()> {
        let (state, kafka) = (&self.state, &self.kafka);
        within("memory.limit_mib", self.memory.limit_mib, 0, LIMIT_MAX_MIB)?;
        for (key, mib, least_bytes) in [
            ("state.cache_mib", state.cache_mib, ROCKSDB_MIN_BYTES),
            (
                "state.write_buffer_mib",
                state.write_buffer_mib,
                ROCKSDB_MIN_BYTES,
            ),
            ("state.hot_table_mib", state.hot_table_mib, 1 << 20),
            ("kafka.fetched_mib", kafka.fetched_mib, FETCHED_MIN_BYTES),
            ("kafka.unsent_mib", kafka.unsent_mib, UNSENT_MIN_BYTES),
        ] {
            if mib > 0 {
                within(key, mib, least_bytes >> 20, FIXED_MAX_MIB)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: usize = 1 << 30;

    fn with_limit(limit_mib: usize) -> Settings {
        let mut settings = Settings::default();
        settings.memory.limit_mib = limit_mib;
        settings
    }

    #[test]
    fn the_shares_are_the_limit() {
        for limit_mib in [256, 384, 1_024, 16_384] {
            let shares = Shares::of(&with_limit(limit_mib), GIB).expect("enough");
            let fixed = shares.cache + shares.write_buffer + shares.fetched + shares.unsent;
            assert_eq!(PROCESS_BYTES + fixed + shares.pool, limit_mib << 20);
            assert!(shares.hot_table < shares.pool);
        }
    }

    #[test]
    fn without_a_limit_it_is_half_of_what_there_is() {
        let shares = Shares::of(&Settings::default(), 8 * GIB).expect("enough");
        assert_eq!(shares.limit, 4 * GIB);
        assert_eq!(shares.cache, DERIVED_MAX_BYTES);
    }

    #[test]
    fn a_limit_that_is_too_small_is_refused_with_the_smallest_that_works() {
        for (set, hot) in [(0, 0), (100, 0), (0, 300)] {
            let mut settings = with_limit(64);
            settings.state.cache_mib = set;
            settings.state.hot_table_mib = hot;
            let error = Shares::of(&settings, GIB)
                .expect_err("too small")
                .to_string();
            let (_, smallest) = error.rsplit_once(' ').expect("a number at its end");
            let smallest: usize = smallest.parse().expect("a number at its end");
            settings.memory.limit_mib = smallest;
            assert!(Shares::of(&settings, GIB).is_ok(), "{error}");
            settings.memory.limit_mib = smallest - 1;
            assert!(Shares::of(&settings, GIB).is_err(), "{error}");
        }
        for (settings, available, said) in [
            (with_limit(64), GIB, "memory.limit_mib = 64 leaves"),
            (
                Settings::default(),
                128 << 20,
                "a limit of 64 MiB, which is half of what there is since memory.limit_mib is not set, leaves",
            ),
        ] {
            let error = Shares::of(&settings, available).expect_err("too small");
            assert!(error.to_string().starts_with(said), "{error}");
        }
        let command = command_pool_bytes(&with_limit(159), GIB).expect_err("too small");
        assert!(command.to_string().ends_with("160"), "{command}");
        assert!(command_pool_bytes(&with_limit(160), GIB).is_ok());
    }

    #[test]
    fn what_is_set_is_taken_as_it_is() {
        let mut settings = with_limit(1_024);
        settings.state.cache_mib = 10;
        settings.state.write_buffer_mib = 20;
        settings.state.hot_table_mib = 30;
        settings.kafka.fetched_mib = 40;
        settings.kafka.unsent_mib = 50;
        let shares = Shares::of(&settings, GIB).expect("enough");
        let set = [
            shares.cache,
            shares.write_buffer,
            shares.hot_table,
            shares.fetched,
            shares.unsent,
        ];
        assert_eq!(set, [10, 20, 30, 40, 50].map(|mib: usize| mib << 20));
        settings.state.hot_table_mib = 1_000;
        let error = Shares::of(&settings, GIB).expect_err("more than the pool");
        assert!(error.to_string().contains("state.hot_table_mib"), "{error}");
    }

    #[test]
    fn sizes_outside_their_bounds_are_refused_by_name() {
        type Case = (fn(&mut Settings), &'static str);
        let cases: [Case; 5] = [
            (|s| s.memory.limit_mib = usize::MAX, "memory.limit_mib"),
            (|s| s.state.cache_mib = usize::MAX, "state.cache_mib"),
            (
                |s| s.state.write_buffer_mib = 3,
                "state.write_buffer_mib = 3",
            ),
            (|s| s.kafka.fetched_mib = 3, "kafka.fetched_mib = 3"),
            (|s| s.kafka.unsent_mib = 3, "kafka.unsent_mib = 3"),
        ];
        for (set, named) in cases {
            let mut settings = Settings::default();
            set(&mut settings);
            let error = settings.validate().expect_err("refused").to_string();
            assert!(error.contains(named), "{error}");
        }
    }
}
