//! State is canonical: the same events in any order, in any cuts, leave the same bytes on disk.

use std::sync::Arc;

use std::collections::BTreeMap;
use std::path::Path;

use forebay_core::ports::StateProgress;
use forebay_core::view::Window;
use proptest::prelude::*;

use crate::model::*;

/// Every record of family `tile` of every shard.
fn tiles(root: &Path, shards: u16) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let families = rocksdb::DB::list_cf(&rocksdb::Options::default(), root.join("shard-0000"))
        .expect("families");
    let mut records = BTreeMap::new();
    for shard in 0..shards {
        let path = root.join(format!("shard-{shard:04}"));
        let db = rocksdb::DB::open_cf_for_read_only(
            &rocksdb::Options::default(),
            path,
            &families,
            false,
        )
        .expect("open read-only");
        let family = db.cf_handle("tile").expect("family");
        for record in db.iterator_cf(family, rocksdb::IteratorMode::Start) {
            let (key, value) = record.expect("record");
            assert!(
                records.insert(key.into_vec(), value.into_vec()).is_none(),
                "shards do not share keys"
            );
        }
    }
    records
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn the_same_events_in_any_order_leave_the_same_tiles(seed: u64) {
        let random = &mut Random(seed);
        let views = [wide_view(1, &[Window::Range { preceding_us: 100 }, Window::Lifetime], None)];
        let shape = LogShape {
            events: random.between(1, 800) as usize,
            partitions: 3,
            keys: 1 + random.below(4),
            // A step of 0 puts very many events on one microsecond.
            step_us: [0, 3, 1_000_000][random.below(3) as usize],
            jitter_us: [0, 50][random.below(2) as usize],
            start_us: -1_000,
        };
        let mut log = generate_log(random, shape);
        let mut found = Vec::new();
        for _ in 0..2 {
            let directory = tempfile::tempdir().expect("temporary directory");
            let store = open(directory.path(), &options(2, 0), &views);
            let mut rest = &log[..];
            while !rest.is_empty() {
                let (epoch, tail) = rest.split_at(1 + random.below(rest.len().min(200) as u64) as usize);
                for shard in 0..2 {
                    // A fill takes rows in any order of offsets.
                    fill(&store, &views, epoch, (shard, 2));
                }
                rest = tail;
            }
            drop(store);
            found.push(tiles(directory.path(), 2));
            for at in (1..log.len()).rev() {
                log.swap(at, random.below(at as u64 + 1) as usize);
            }
        }
        prop_assert!(found[0] == found[1]);
    }
}

/// A fill that is done twice, or that meets rows which the stream brought already, changes
/// nothing.
#[test]
fn a_repeated_fill_counts_once() {
    let random = &mut Random(3);
    let view = wide_view(
        1,
        &[Window::Range {
            preceding_us: 1_000,
        }],
        None,
    );
    let views = [Arc::clone(&view)];
    let shape = LogShape {
        events: 500,
        partitions: 2,
        keys: 3,
        step_us: 2,
        jitter_us: 5,
        start_us: 0,
    };
    let log = generate_log(random, shape);
    let directory = tempfile::tempdir().expect("temporary directory");
    let store = open(directory.path(), &options(1, 1_000_000), &views);
    commit_all(&store, &views, &log[..200]);
    for part in log[..300].chunks(70).chain(log[..300].chunks(90)) {
        fill(&store, &views, part, (0, 1));
    }
    assert_eq!(
        store.applied(0).0,
        progress_of(&log[..200]).into_iter().collect(),
        "a fill moves no offset"
    );
    commit_all(&store, &views, &log[200..]);
    for at in (0..1_200).step_by(37) {
        let found = read_one(&store, &view, "key-1", at).expect("kept");
        assert_same(&evaluate(&view, log.iter(), "key-1", at), &found, || {
            format!("t {at}")
        });
    }
    assert!(store.stats().rows_duplicate > 0);
}
