//! Golden bytes of the keys, and of the records whose codecs are in `format.rs` itself. The values
//! show byte order and sign: an i64 at its ends, times before 1970, names that are no ASCII. And
//! what becomes of a record that a later build wrote, in whichever family it is.

use std::collections::BTreeMap;
use std::path::Path;

use arrow_schema::DataType;
use forebay_core::aggregate::{AggregateKind, PartialClass, PartialSpec};
use forebay_core::memory::Budget;
use forebay_core::ports::{FillWriter, LogNotes, ScoreQueue, StateProgress, ViewStates};
use forebay_core::source::Column;
use forebay_core::view::{AggregateSpec, ViewSpec, Window};
use forebay_core::{ErrorKind, PortResult};

use super::*;
use crate::options::OnlineOptions;
use crate::store::RocksStore;
use crate::testing::{assert_golden, bytes_of};
use crate::view::ViewRuntime;

const TOPIC: &str = "flüge";

fn place(partition: i32) -> TopicPartition {
    TopicPartition::new(TOPIC, partition)
}

fn bound() -> MarkRecord {
    let fact = MarkFact::Bound(Bound {
        from: -2,
        until: i64::MAX,
        mark_max_us: 1_000,
        watermark_max_us: i64::MIN,
    });
    MarkRecord {
        partition: place(258),
        fact,
    }
}

fn hold() -> MarkRecord {
    let fact = MarkFact::Hold(Hold {
        at: 300,
        mark_us: -1,
        watermark_us: -5,
    });
    MarkRecord {
        partition: place(258),
        fact,
    }
}

#[test]
fn golden_names_of_families_and_of_records_of_one_key() {
    let families = [
        "meta", "tile", "presence", "pending", "outbox", "unscored", "branch",
    ];
    assert_eq!(FAMILIES, families);
    let records = [
        META_STORE,
        META_LOG,
        META_PROGRESS,
        META_OUTBOX,
        META_UNSCORED,
    ];
    let names = ["store", "log", "progress", "outbox", "unscored"];
    assert_eq!(records, names.map(str::as_bytes));
}

#[test]
fn golden_bytes_of_keys_in_meta() {
    let keys = [
        (
            partition_key(&place(258)),
            "706172746974696f6e2f 00000102 666cc3bc6765",
        ),
        (
            partition_key(&place(-1)),
            "706172746974696f6e2f ffffffff 666cc3bc6765",
        ),
        (
            encode_mark(&bound()).0,
            "6d61726b2f 01 00000102 7ffffffffffffffe 666cc3bc6765",
        ),
        (
            encode_mark(&hold()).0,
            "6d61726b2f 02 00000102 666cc3bc6765",
        ),
        (view_meta_key(258), "766965772f 00000102"),
        (horizon_key(258), "686f72697a6f6e2f 00000102"),
    ];
    for (key, golden) in &keys {
        assert_eq!(*key, bytes_of(golden), "{golden}");
    }
    let [of_partition, of_negative, bound, hold, of_view, of_horizon] = keys.map(|(key, _)| key);
    assert_eq!(parse_partition_key(&of_partition), Some(Ok(place(258))));
    assert_eq!(parse_partition_key(&of_negative), Some(Ok(place(-1))));
    assert_eq!(parse_view_meta_key(&of_view), Some(258));
    assert_eq!(parse_horizon_key(&of_horizon), Some(258));
    assert!(of_partition.starts_with(partition_prefix()));
    assert!(of_view.starts_with(view_meta_prefix()));
    assert!(of_horizon.starts_with(horizon_prefix()));
    assert!(bound.starts_with(META_MARK) && hold.starts_with(META_MARK));
}

#[test]
fn golden_bytes_of_keys_of_entities_and_of_the_queue() {
    let entity = bytes_of("40c3a90001");
    let tile = |level, start, sub| TileId { level, start, sub };
    for (view, id, golden) in [
        (
            258,
            tile(5, -2, 3),
            "00000102 40c3a90001 05 7ffffffffffffffe 00000003",
        ),
        (
            258,
            tile(0, i64::MIN, 0),
            "00000102 40c3a90001 00 0000000000000000 00000000",
        ),
        (
            258,
            tile(LEVEL_FOLDED, 0, 0),
            "00000102 40c3a90001 f0 8000000000000000 00000000",
        ),
        (
            ViewId::MAX,
            tile(0xEF, i64::MAX, u32::MAX),
            "ffffffff 40c3a90001 ef ffffffffffffffff ffffffff",
        ),
    ] {
        let mut key = Vec::new();
        key_prefix(&mut key, view, &entity);
        assert_eq!(key.len(), prefix_len(&entity));
        assert_eq!(parse_presence_key(&key), Ok(&*entity));
        push_tile_suffix(&mut key, id);
        assert_eq!(key, bytes_of(golden), "{id:?}");
        assert_eq!(parse_tile_key(&key), Ok((&*entity, id)));
    }
    assert_eq!(key_end(&entity), bytes_of("40c3a90001 ff"));
    let range = |from, to| (bytes_of(from), bytes_of(to));
    assert_eq!(view_range(258), range("00000102", "00000103"));
    assert_eq!(view_range(ViewId::MAX), range("ffffffff", "ffffffffff"));
    assert_eq!(parse_sequence(&bytes_of("0000000000000102")), Ok(258));
}

#[test]
fn golden_bytes_of_the_store_and_of_progress() {
    let store = StoreRecord {
        shards: 258,
        shard: 3,
    };
    assert_golden(
        &store,
        &store.encode(),
        "03 02010000 03000000",
        StoreRecord::decode,
    );
    let progress = ProgressRecord {
        epoch: u64::MAX - 1,
        next_pending: 258,
        applied: Applied::default(),
        watermarks: BTreeMap::new(),
    };
    let encoded = encode_progress(progress.epoch, progress.next_pending);
    let golden = "03 feffffffffffffff 0201000000000000";
    assert_golden(&progress, &encoded, golden, decode_progress);
    let counter = 0x0102_0304_0506_0708;
    let golden = "03 0807060504030201";
    assert_golden(&counter, &encode_counter(counter), golden, decode_counter);
    let last = RecordDigest {
        offset: 300,
        kafka_time_us: Some(-1),
        hash: 0xfedc_ba98_7654_3210,
    };
    let known = PartitionRecord {
        progress: PartitionProgress {
            next_offset: i64::MAX,
            max_event_time_us: Some(-2),
            last: Some(last),
        },
        watermark: Some(i64::MIN),
    };
    let unknown = PartitionRecord {
        progress: PartitionProgress::default(),
        watermark: None,
    };
    for (record, golden) in [
        (
            known,
            "03 ffffffffffffff7f 01 feffffffffffffff 01 2c01000000000000 01 ffffffffffffffff \
             1032547698badcfe 01 0000000000000080",
        ),
        (
            unknown,
            "03 0000000000000000 00 0000000000000000 00 00 0000000000000000",
        ),
    ] {
        assert_golden(&record, &record.encode(), golden, PartitionRecord::decode);
    }
}

#[test]
fn golden_bytes_of_decisions_about_time() {
    for (mark, golden) in [
        (
            bound(),
            "03 01 06000000 666cc3bc6765 02010000 feffffffffffffff ffffffffffffff7f \
             e803000000000000 0000000000000080",
        ),
        (
            hold(),
            "03 02 06000000 666cc3bc6765 02010000 2c01000000000000 2c01000000000000 \
             ffffffffffffffff fbffffffffffffff",
        ),
    ] {
        assert_golden(&mark, &encode_mark(&mark).1, golden, decode_mark);
    }
}

#[test]
fn golden_bytes_of_views_and_of_what_they_no_longer_see() {
    let view = ("verspätung".to_owned(), "d1".to_owned());
    let golden = "03 0b000000 7665727370c3a474756e67 02000000 6431";
    assert_golden(&view, &encode_view(&view.0, &view.1), golden, decode_view);
    let seen = Horizon {
        gone_us: Some(i64::MIN),
        late_rows: 258,
        topics: vec![TOPIC.into(), "w".into()],
        damage: None,
    };
    let damaged = Horizon {
        damage: Some("ü".into()),
        ..seen.clone()
    };
    let fields = "01 0000000000000080 0201000000000000 02000000 06000000 666cc3bc6765 01000000 77";
    let none = "00 0000000000000000 0000000000000000 00000000";
    for (horizon, golden) in [
        (seen, format!("03 {fields}")),
        (damaged, format!("04 {fields} 02000000 c3bc")),
        (Horizon::default(), format!("03 {none}")),
    ] {
        let bytes = bytes_of(&golden);
        assert_eq!(horizon.encode(), bytes, "{horizon:?}");
        assert_eq!(Horizon::decode(&bytes).as_ref(), Ok(&horizon));
        for found in [0, 1, 2, 5, u8::MAX] {
            let other = [&[found], &bytes[1..]].concat();
            let refused = Err(BytesError::Version {
                found,
                supported: 4,
            });
            assert_eq!(Horizon::decode(&other), refused, "{horizon:?}");
        }
    }
    for (presence, golden) in [
        (Some(-2), "03 01 feffffffffffffff"),
        (None, "03 00 0000000000000000"),
    ] {
        assert_golden(
            &presence,
            &encode_presence(presence),
            golden,
            decode_presence,
        );
    }
}

#[test]
fn golden_bytes_of_the_states_of_expired_rows() {
    // The states are one count of 300 rows, as `core::aggregate` writes it.
    let folded = (-2, 258, bytes_of("10ac02"));
    let encoded = encode_folded(folded.0, folded.1, &folded.2);
    let golden = "03 feffffffffffffff 0201000000000000 03000000 10ac02";
    assert_golden(&folded, &encoded, golden, |bytes| {
        decode_folded(bytes).map(|(newest_us, rows, states)| (newest_us, rows, states.to_vec()))
    });
}

/// A lifetime count.
fn view() -> Arc<ViewSpec> {
    let column = Column {
        name: "k".to_owned(),
        data_type: DataType::Int64,
        nullable: false,
    };
    Arc::new(ViewSpec {
        id: 258,
        name: "v".to_owned(),
        version: 1,
        entity: "entity".to_owned(),
        source: "events".to_owned(),
        key: vec![column],
        arguments: vec![],
        filters: 0,
        partials: vec![PartialSpec {
            class: PartialClass::Count,
            arguments: vec![],
            argument_types: vec![],
            filter: None,
            keep: None,
        }],
        aggregates: vec![AggregateSpec {
            name: "n".to_owned(),
            kind: AggregateKind::Count,
            data_type: DataType::Int64,
            partial: 0,
            window: Window::Lifetime,
        }],
        ttl_us: None,
        digest: "d1".to_owned(),
    })
}

fn open(path: &Path) -> PortResult<RocksStore> {
    let options = OnlineOptions {
        shards: 1,
        ..OnlineOptions::default()
    };
    Ok(RocksStore::open(
        path,
        &options,
        &Budget::whole(usize::MAX),
    )?)
}

/// Open the store and read a record of each kind.
fn read_all(path: &Path) -> PortResult<()> {
    let store = open(path)?;
    store.topic_note(TOPIC)?;
    store.register_view(view())?;
    store.filled(0, 258)?;
    store.marks(0)?;
    store.unscored(0, 0, 1)?;
    let runtime = ViewRuntime::new(view())?;
    store.meta_database()?.load_key(&runtime, b"k")?;
    Ok(())
}

#[test]
fn a_record_of_a_later_build_is_refused_with_the_remedy_in_every_family() {
    let mut presence = Vec::new();
    key_prefix(&mut presence, 258, b"k");
    let tile = |level| {
        let mut key = presence.clone();
        let (start, sub) = (0, 0);
        push_tile_suffix(&mut key, TileId { level, start, sub });
        key
    };
    let sequence = 0_u64.to_be_bytes().to_vec();
    // What is there beside it: a key, and a note that is to be read.
    let beside = [
        (FAMILY_PRESENCE, presence.clone(), encode_presence(None)),
        (FAMILY_META, META_UNSCORED.to_vec(), encode_counter(1)),
    ];
    for (family, key, later) in [
        (FAMILY_META, META_STORE.to_vec(), 4),
        (FAMILY_META, topic_key(TOPIC), 4),
        (FAMILY_META, META_PROGRESS.to_vec(), 4),
        (FAMILY_META, partition_key(&place(258)), 4),
        (FAMILY_META, encode_mark(&hold()).0, 4),
        (FAMILY_META, META_OUTBOX.to_vec(), 4),
        (FAMILY_META, META_UNSCORED.to_vec(), 4),
        (FAMILY_META, view_meta_key(258), 4),
        (FAMILY_META, fill_key(258), 4),
        (FAMILY_META, horizon_key(258), 5),
        (FAMILY_TILE, tile(0), 2),
        (FAMILY_TILE, tile(LEVEL_FOLDED), 4),
        (FAMILY_PRESENCE, presence.clone(), 4),
        (FAMILY_PENDING, sequence.clone(), 4),
        (FAMILY_OUTBOX, sequence.clone(), 4),
        (FAMILY_UNSCORED, sequence, 4),
    ] {
        let directory = tempfile::tempdir().expect("temporary directory");
        let store = open(directory.path()).expect("a new one");
        let database = store.meta_database().expect("open");
        let mut batch = database.batch(256).expect("open");
        let record = (family, key, vec![later]);
        for (family, key, value) in beside.iter().chain([&record]) {
            batch.put(family, key, value);
        }
        batch.write_synced().expect("written");
        drop(store);
        let error = read_all(directory.path()).expect_err("of a later build");
        assert_eq!(error.kind(), ErrorKind::FailedPrecondition, "{record:?}");
        let found = format!("format {later} and this build reads {}", later - 1);
        for part in [&*found, "move the state directory away"] {
            assert!(error.message().contains(part), "{record:?}: {error}");
        }
    }
    let directory = tempfile::tempdir().expect("temporary directory");
    read_all(directory.path()).expect("its own format");
}
