//! State is canonical: the same events in any order, in any cuts, leave the same bytes on disk, in
//! the tiles into which a naive division of each key's rows parts them.

use std::sync::Arc;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use forebay_core::ports::StateProgress;
use forebay_core::view::Window;
use proptest::prelude::*;

use crate::model::*;
use crate::trimmed::open_within;

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

/// Bytes of a tile's key behind the entity key: level, start, hash.
const SUFFIX_BYTES: usize = 1 + 8 + 4;
/// As the layout says (the head of `src/tree.rs`): most rows of a tile, level of a root, level of
/// one microsecond.
const MOST_ROWS: usize = 32;
const ROOT: u32 = 37;
const INSTANT: u32 = 16;

/// Level, first instant and least hash of a span.
type Span = (u32, i64, u32);

/// The hash that parts the rows of one microsecond: the upper half of a splitmix64 step.
fn hash_of(event: &Event) -> u32 {
    let mut start = Random((event.offset as u64) ^ (event.partition as u64).rotate_left(40));
    (start.next() >> 32) as u32
}

/// The span of `level` that holds an event.
fn span(level: u32, event: &Event) -> Span {
    if level >= INSTANT {
        let width = 4_i64.pow(level - INSTANT);
        (level, event.time.div_euclid(width) * width, 0)
    } else {
        let width = 4_u64.pow(level);
        let hash = u64::from(hash_of(event));
        (level, event.time, (hash / width * width) as u32)
    }
}

/// Part `events`, all of one span of `level`, until each part is small enough for a tile.
fn divide(level: u32, events: &[&Event], tiles: &mut BTreeSet<Span>) {
    if events.len() <= MOST_ROWS || level == 0 {
        tiles.extend(events.first().map(|event| span(level, event)));
        return;
    }
    for part in parts(level - 1, events).values() {
        divide(level - 1, part, tiles);
    }
}

fn parts<'a>(level: u32, events: &[&'a Event]) -> BTreeMap<Span, Vec<&'a Event>> {
    let mut parts: BTreeMap<Span, Vec<&Event>> = BTreeMap::new();
    for event in events {
        parts.entry(span(level, event)).or_default().push(event);
    }
    parts
}

/// The tiles that `log` leaves, of each entity key.
fn divided(log: &[Event]) -> BTreeMap<Vec<u8>, BTreeSet<Span>> {
    let mut of_key: BTreeMap<&str, Vec<&Event>> = BTreeMap::new();
    for event in log {
        if let Some(key) = &event.key {
            of_key.entry(key).or_default().push(event);
        }
    }
    let mut expected = BTreeMap::new();
    for (key, events) in of_key {
        let mut tiles = BTreeSet::new();
        for root in parts(ROOT, &events).values() {
            divide(ROOT, root, &mut tiles);
        }
        let key = encode_key(key);
        expected.insert(key.get(0).expect("one key").to_vec(), tiles);
    }
    expected
}

/// The tiles of each entity key that the records name.
fn named(records: &BTreeMap<Vec<u8>, Vec<u8>>) -> BTreeMap<Vec<u8>, BTreeSet<Span>> {
    let mut found: BTreeMap<Vec<u8>, BTreeSet<Span>> = BTreeMap::new();
    for record in records.keys() {
        let (prefix, suffix) = record.split_at(record.len() - SUFFIX_BYTES);
        let start = u64::from_be_bytes(suffix[1..9].try_into().expect("eight bytes"));
        let start = (start ^ (1 << 63)) as i64;
        let hash = u32::from_be_bytes(suffix[9..].try_into().expect("four bytes"));
        let key = prefix[size_of::<u32>()..].to_vec();
        let tiles = found.entry(key).or_default();
        assert!(
            tiles.insert((u32::from(suffix[0]), start, hash)),
            "named once"
        );
    }
    found
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn the_same_events_in_any_order_leave_the_tiles_of_a_naive_division(seed: u64) {
        let random = &mut Random(seed);
        let views = [wide_view(1, &[Window::Range { preceding_us: 100 }, Window::Lifetime], None)];
        let shape = LogShape {
            events: random.between(1, 800) as usize,
            partitions: 3,
            keys: 1 + random.below(4),
            // A step of 0 puts very many events on one microsecond.
            step_us: [0, 3, 1_000_000, 40_000_000_000][random.below(4) as usize],
            jitter_us: [0, 50][random.below(2) as usize],
            start_us: -1_000,
        };
        let mut log = generate_log(random, shape);
        let mut found = Vec::new();
        for _ in 0..2 {
            let directory = tempfile::tempdir().expect("temporary directory");
            // Also where most of a history is on disk alone when rows come for it.
            let pool_bytes = [20_000, 1_000_000_000][random.below(2) as usize];
            let store = open_within(directory.path(), &options(2, 0), &views, pool_bytes);
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
        prop_assert_eq!(named(&found[0]), divided(&log));
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
