//! What keys of few rows take in memory, by the store's own account: sizes of what it holds,
//! rounded to those of the allocator, with the table's places and index.

use forebay_core::ports::{At, EpochWriter, StateReader};
use forebay_online::RocksStore;
use forebay_testkit::sparse::{sparse_view, sparse_write};
use forebay_testkit::unbounded;

use crate::model::*;

const KEYS: usize = 100_000;
/// Of a key with up to four rows, under a name of twelve letters.
const KEY_MAX_BYTES: u64 = 250;

/// A store of [`KEYS`] keys with so many rows each.
fn store_of(directory: &std::path::Path, rounds: usize) -> RocksStore {
    let mut settings = options(1, 1_000_000_000_000);
    settings.table_bytes = 1 << 30;
    let store = open(directory, &settings, &[sparse_view()]);
    for round in 0..rounds {
        for first in (0..KEYS).step_by(10_000) {
            let write = sparse_write(KEYS, first..first + 10_000, round);
            store.commit(0, &write).expect("commit");
        }
    }
    store
}

#[test]
fn a_key_of_few_rows_takes_at_most_250_bytes() {
    for rounds in [1, 4] {
        let directory = tempfile::tempdir().expect("temporary directory");
        let store = store_of(directory.path(), rounds);
        let stats = store.stats();
        assert_eq!(stats.keys_in_memory, KEYS as u64);
        let bytes = stats.table_bytes / KEYS as u64;
        assert!(
            bytes <= KEY_MAX_BYTES,
            "{bytes} bytes a key of {rounds} rows"
        );
        assert_eq!(store.tiles_in_memory(), KEYS, "each has its rows");
        let keys = encode_keys(&[Some("guest-000007"), Some("guest-099999"), Some("nobody")]);
        let at = At::Instant(1_357_000_000_000_000 + 1_000_000_000);
        let answer = store.read(1, &keys, at, &mut unbounded()).expect("kept");
        let found: Vec<bool> = answer.newest_us.iter().map(Option::is_some).collect();
        assert_eq!(found, [true, true, false]);
    }
}
