//! What every implementation of a port must do, as functions that panic with the first difference:
//! the real one, the one in memory and the faulty one run the same. Each check begins with a store
//! of its own, made by the caller.
//!
//! [`online_store`] holds views, folds, progress, history and backfill, [`log_notes`] what is
//! remembered of the logs. Values are only
//! as far from trivial as the contract needs (a count and a sum over one window); that they are
//! right in every case is held elsewhere, against a naive evaluator.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_array::{ArrayRef, Float64Array, StringArray, TimestampMicrosecondArray};
use arrow_schema::DataType;
use forebay_core::ErrorKind;
use forebay_core::index::RowIndex;
use forebay_core::key::{KeyBuffer, shard_of};
use forebay_core::ports::{
    AcceptedGap, At, FillNote, LogNotes, OnlineStore, Origin, ShardEpoch, ShardFold, ShardWrite,
    StoreHealth, TopicNote, ViewRows,
};
use forebay_core::progress::{Applied, PartitionProgress, TopicPartition};
use forebay_core::source::SourceDef;
use forebay_core::time::{Micros, timestamp_type};
use forebay_core::view::{FeatureStatus, FoldBatch, ViewSpec, Window};

use crate::memory::unbounded;

use crate::view::{PlainView, column};

const TOPIC: &str = "events";
const WINDOW_US: Micros = 100;
const VIEW: u32 = 1;

/// One event: offset in partition 0, time, key.
type Event = (i64, Micros, &'static str);

/// Makes a new, empty store for one check.
pub type MakeStore<'a> = &'a dyn Fn() -> Arc<dyn OnlineStore>;

/// Everything that an [`OnlineStore`] promises.
///
/// # Panics
/// A promise is not kept.
pub fn online_store(make: MakeStore<'_>) {
    let checks: [fn(&dyn OnlineStore); 9] = [
        a_new_store_is_empty,
        a_view_is_known_by_its_digest,
        what_is_unknown_is_refused_and_nothing_is_applied,
        an_epoch_is_read_with_what_it_applied,
        a_replay_changes_nothing,
        earlier_epochs_resolve_to_what_they_had_applied,
        a_backfill_counts_and_leaves_the_progress,
        a_fill_is_noted_with_its_rows_until_it_is_over,
        a_dropped_view_leaves_nothing,
    ];
    for check in checks {
        check(make().as_ref());
    }
}

fn a_new_store_is_empty(store: &dyn OnlineStore) {
    assert!(store.shards() >= 1);
    assert_eq!(store.health(), StoreHealth::Well);
    for shard in 0..store.shards() {
        assert!(store.applied(shard).0.is_empty());
    }
    register(store);
    let row = read(store, "a", 50);
    assert_eq!(row, (FeatureStatus::NotFound, None, None));
}

fn a_view_is_known_by_its_digest(store: &dyn OnlineStore) {
    register(store);
    store.register_view(spec()).expect("the same again");
    let mut other = ViewSpec::clone(&spec());
    other.digest = "another".to_owned();
    let error = store
        .register_view(Arc::new(other))
        .expect_err("it differs");
    assert_eq!(error.kind(), ErrorKind::AlreadyExists);
}

fn what_is_unknown_is_refused_and_nothing_is_applied(store: &dyn OnlineStore) {
    let error = store
        .read(VIEW, &key("a"), At::Instant(5), &mut unbounded())
        .expect_err("unknown");
    assert_eq!(error.kind(), ErrorKind::NotFound);
    let events = [(0, 10, "a")];
    let shard = shard_of_key(store, "a");
    let error = store
        .commit(shard, &write_of(store, shard, &events))
        .expect_err("unknown");
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(
        store.applied(shard).0.is_empty(),
        "a refused commit applied something"
    );
    let outside = store.commit(store.shards(), &ShardWrite::default());
    assert_eq!(
        outside.expect_err("no such shard").kind(),
        ErrorKind::InvalidArgument
    );
    // The same commit succeeds once the view is there.
    register(store);
    commit_all(store, &events);
    assert_eq!(read(store, "a", 10).1, Some(1));
}

fn an_epoch_is_read_with_what_it_applied(store: &dyn OnlineStore) {
    register(store);
    commit_all(
        store,
        &[(0, 10, "a"), (1, 60, "a"), (3, 110, "a"), (4, 20, "b")],
    );
    // Both ends of the window are in; later events are not seen.
    let cases = [
        ("a", 9, (FeatureStatus::NotFound, None, None)),
        ("a", 10, (FeatureStatus::Present, Some(1), Some(10))),
        ("a", 110, (FeatureStatus::Present, Some(3), Some(110))),
        ("a", 111, (FeatureStatus::Present, Some(2), Some(110))),
        ("a", 500, (FeatureStatus::Present, Some(0), Some(110))),
        ("b", 20, (FeatureStatus::Present, Some(1), Some(20))),
        ("c", 20, (FeatureStatus::NotFound, None, None)),
    ];
    for (key, at, expected) in cases {
        assert_eq!(read(store, key, at), expected, "{key} at {at}");
    }
    let many: ArrayRef = Arc::new(StringArray::from(vec![
        Some("b"),
        None,
        Some("a"),
        Some("b"),
    ]));
    let keys = KeyBuffer::encode(&[many]).expect("text keys");
    let instants = [20, 20, 60, 19];
    let rows = store
        .read(VIEW, &keys, At::PerRow(&instants), &mut unbounded())
        .expect("answered");
    assert_eq!(rows.status.len(), 4);
    let counts: Vec<Option<i64>> = (0..4).map(|row| count(&rows, row)).collect();
    assert_eq!(counts, [Some(1), None, Some(2), None]);
    assert_eq!(rows.applied[1], None, "a NULL key has no shard");
    for row in [0, 2, 3] {
        let at = rows.applied[row].expect("answered by a shard");
        assert_eq!(store.applied_at(at), Some(store.applied(at.shard)));
    }
    for shard in 0..store.shards() {
        let applied = store.applied(shard);
        assert_eq!(
            applied.next_offset(&partition()),
            5,
            "also where no row hashed"
        );
    }
}

fn a_replay_changes_nothing(store: &dyn OnlineStore) {
    register(store);
    commit_all(store, &[(0, 10, "a"), (1, 20, "b")]);
    commit_all(store, &[(0, 10, "a"), (1, 20, "b"), (2, 30, "a")]);
    commit_all(store, &[(0, 10, "a")]);
    assert_eq!(read(store, "a", 40).1, Some(2));
    assert_eq!(read(store, "b", 40).1, Some(1));
    for shard in 0..store.shards() {
        assert_eq!(
            store.applied(shard).next_offset(&partition()),
            3,
            "it never falls"
        );
    }
}

fn earlier_epochs_resolve_to_what_they_had_applied(store: &dyn OnlineStore) {
    register(store);
    let shard = shard_of_key(store, "a");
    let epochs: Vec<u64> = (0..20)
        .map(|offset| {
            let write = write_of(store, shard, &[(offset, 10 * offset, "a")]);
            store.commit(shard, &write).expect("committed")
        })
        .collect();
    assert!(epochs.is_sorted_by(|a, b| a < b), "{epochs:?}");
    for (next_offset, epoch) in (1..).zip(&epochs) {
        let at = ShardEpoch {
            shard,
            epoch: *epoch,
        };
        let applied = store.applied_at(at).expect("kept");
        assert_eq!(applied.next_offset(&partition()), next_offset);
    }
    let unknown = ShardEpoch {
        shard,
        epoch: epochs[19] + 1,
    };
    assert_eq!(store.applied_at(unknown), None);
}

fn a_backfill_counts_and_leaves_the_progress(store: &dyn OnlineStore) {
    register(store);
    let shard = shard_of_key(store, "a");
    let read_up_to = PartitionProgress {
        next_offset: 10,
        max_event_time_us: Some(90),
        last: None,
    };
    let write = ShardWrite {
        progress: vec![(partition(), read_up_to)],
        ..ShardWrite::default()
    };
    store.commit(shard, &write).expect("committed");
    let mut filled = write_of(store, shard, &[(3, 30, "a"), (7, 70, "a")]);
    filled.backfill = true;
    store.commit(shard, &filled).expect("committed");
    assert_eq!(read(store, "a", 80).1, Some(2));
    assert_eq!(store.applied(shard).next_offset(&partition()), 10);
}

fn a_fill_is_noted_with_its_rows_until_it_is_over(store: &dyn OnlineStore) {
    register(store);
    let shard = shard_of_key(store, "a");
    assert_eq!(store.filled(shard, VIEW).expect("readable"), None);
    let note = |next_offset| {
        let at = PartitionProgress {
            next_offset,
            max_event_time_us: Some(90),
            last: None,
        };
        FillNote {
            basis: "t".to_owned(),
            rows: 7,
            at: Applied([(partition(), at)].into()),
        }
    };
    for next_offset in [8, 12] {
        // The second one has no row of this shard.
        let events: &[Event] = if next_offset == 8 {
            &[(7, 70, "a")]
        } else {
            &[]
        };
        let write = ShardWrite {
            backfill: true,
            filled: Some((VIEW, note(next_offset))),
            ..write_of(store, shard, events)
        };
        store.commit(shard, &write).expect("committed");
        let noted = store.filled(shard, VIEW).expect("readable");
        assert_eq!(noted, Some(note(next_offset)));
    }
    assert_eq!(read(store, "a", 80).1, Some(1));
    assert_eq!(store.views().expect("readable"), [VIEW]);
    store.end_fill(VIEW).expect("over");
    store.end_fill(VIEW).expect("over already");
    assert_eq!(store.filled(shard, VIEW).expect("readable"), None);
    assert_eq!(read(store, "a", 80).1, Some(1), "what it has folded stays");
    let write = ShardWrite {
        backfill: true,
        filled: Some((VIEW, note(8))),
        ..ShardWrite::default()
    };
    store.commit(shard, &write).expect("committed");
    store.drop_view(VIEW).expect("dropped");
    assert_eq!(store.filled(shard, VIEW).expect("readable"), None);
    assert!(store.views().expect("readable").is_empty());
}

fn a_dropped_view_leaves_nothing(store: &dyn OnlineStore) {
    register(store);
    commit_all(store, &[(0, 10, "a")]);
    store.drop_view(VIEW).expect("dropped");
    let error = store
        .read(VIEW, &key("a"), At::Instant(10), &mut unbounded())
        .expect_err("unknown");
    assert_eq!(error.kind(), ErrorKind::NotFound);
    register(store);
    assert_eq!(read(store, "a", 10).0, FeatureStatus::NotFound);
    store.drop_view(99).expect("an unknown one is gone already");
}

/// Everything that [`LogNotes`] promise.
///
/// # Panics
/// A promise is not kept.
pub fn log_notes(make: &dyn Fn() -> Arc<dyn LogNotes>) {
    let notes = make();
    assert_eq!(notes.log_identity().expect("readable"), None);
    notes.set_log_identity("one").expect("set");
    notes.set_log_identity("one").expect("the same");
    let error = notes.set_log_identity("two").expect_err("another");
    assert_eq!(error.kind(), ErrorKind::FailedPrecondition);
    assert_eq!(
        notes.log_identity().expect("readable").as_deref(),
        Some("one")
    );

    assert_eq!(notes.topic_note(TOPIC).expect("readable"), None);
    let mut note = TopicNote {
        id: Some("made-once".to_owned()),
        partitions: 2,
        ..TopicNote::default()
    };
    notes.set_topic_note(TOPIC, &note).expect("kept");
    note.gaps.push(AcceptedGap {
        partition: 1,
        from: 3,
        to: 9,
        accepted_us: 5,
    });
    notes.set_topic_note(TOPIC, &note).expect("replaced");
    assert_eq!(notes.topic_note(TOPIC).expect("readable"), Some(note));
    assert_eq!(notes.topic_note("another").expect("readable"), None);
}

// ---- events to writes --------------------------------------------------------------------------

fn spec() -> Arc<ViewSpec> {
    use forebay_core::ports::CompiledView as _;
    let columns = vec![
        column("k", DataType::Utf8, false),
        column("x", DataType::Float64, true),
        column("t", timestamp_type(), false),
    ];
    let source = SourceDef::json(TOPIC, TOPIC, columns, 2);
    let window = Window::Range {
        preceding_us: WINDOW_US,
    };
    let view = PlainView::new(VIEW, &Arc::new(source), "k", "x", window);
    Arc::clone(view.spec())
}

fn register(store: &dyn OnlineStore) {
    store.register_view(spec()).expect("registered");
}

fn partition() -> TopicPartition {
    TopicPartition::new(TOPIC, 0)
}

fn key(key: &str) -> KeyBuffer {
    let column: ArrayRef = Arc::new(StringArray::from(vec![key]));
    KeyBuffer::encode(&[column]).expect("a text key")
}

fn shard_of_key(store: &dyn OnlineStore, name: &str) -> u16 {
    shard_of(key(name).get(0).expect("not NULL"), store.shards())
}

/// What `events` are for one shard: its rows, and progress over all of them.
fn write_of(store: &dyn OnlineStore, shard: u16, events: &[Event]) -> ShardWrite {
    let names: ArrayRef = Arc::new(StringArray::from_iter_values(events.iter().map(|e| e.2)));
    let values: ArrayRef = Arc::new(Float64Array::from_iter_values(events.iter().map(|_| 0.5)));
    let times = TimestampMicrosecondArray::from_iter_values(events.iter().map(|e| e.1));
    let keys = Arc::new(KeyBuffer::encode(std::slice::from_ref(&names)).expect("text keys"));
    let rows = || RowIndex::all(events.len());
    let batch = FoldBatch {
        keys: vec![names],
        times: times.with_timezone("UTC"),
        arguments: vec![values],
        filters: Vec::new(),
        source_rows: rows().map(RowIndex::number).collect(),
    };
    let origin = Origin {
        partitions: vec![partition()],
        partition: vec![0; events.len()],
        offset: events.iter().map(|e| e.0).collect(),
        kafka_time_us: vec![None; events.len()],
        broker_time: Vec::new(),
        watermark_us: vec![None; events.len()],
    };
    let of_shard = |row: &RowIndex| {
        let key = keys.get(row.index()).expect("not NULL");
        shard_of(key, store.shards()) == shard
    };
    let fold = ShardFold {
        view: VIEW,
        rows: rows().filter(of_shard).map(RowIndex::number).collect(),
        batch: Arc::new(batch),
        keys: Arc::clone(&keys),
        origin: Arc::new(origin),
    };
    let read_up_to = PartitionProgress {
        next_offset: events.iter().map(|e| e.0 + 1).max().unwrap_or(0),
        max_event_time_us: events.iter().map(|e| e.1).max(),
        last: None,
    };
    ShardWrite {
        folds: if fold.rows.is_empty() {
            Vec::new()
        } else {
            vec![fold]
        },
        progress: vec![(partition(), read_up_to)],
        ..ShardWrite::default()
    }
}

fn commit_all(store: &dyn OnlineStore, events: &[Event]) {
    for shard in 0..store.shards() {
        store
            .commit(shard, &write_of(store, shard, events))
            .expect("committed");
    }
}

fn count(rows: &ViewRows, row: usize) -> Option<i64> {
    use arrow_array::Array as _;
    let counts = rows.aggregates[0].as_primitive::<Int64Type>();
    counts.is_valid(row).then(|| counts.value(row))
}

/// Status, count and newest event of one key.
fn read(
    store: &dyn OnlineStore,
    name: &str,
    at: Micros,
) -> (FeatureStatus, Option<i64>, Option<Micros>) {
    let rows = store
        .read(VIEW, &key(name), At::Instant(at), &mut unbounded())
        .expect("answered");
    (rows.status[0], count(&rows, 0), rows.newest_us[0])
}

#[cfg(test)]
mod tests {
    use forebay_core::watermark::{Hold, MarkFact, MarkRecord};

    use super::*;
    use crate::MemoryStore;

    #[test]
    fn a_power_cut_takes_no_decision_about_time_and_nothing_that_was_written_before_it() {
        let store = MemoryStore::new(1, 1_000, &Arc::default());
        register(&store);
        let write = |marks: &[MarkRecord]| {
            let write = ShardWrite {
                marks: marks.to_vec(),
                ..ShardWrite::default()
            };
            store.commit(0, &write).expect("commit");
        };
        let hold = MarkRecord {
            partition: partition(),
            fact: MarkFact::Hold(Hold {
                at: 3,
                mark_us: 70,
                watermark_us: 60,
            }),
        };
        write(&[]);
        write(std::slice::from_ref(&hold));
        write(&[]);
        // The decision was written by itself, ahead of what it is about.
        assert_eq!(store.writes(0), 4);
        store.lose_writes(0, 4);
        assert_eq!(store.writes(0), 2);
        assert_eq!(store.marks(0).expect("readable"), [hold]);
    }

    #[test]
    fn the_store_in_memory_keeps_the_promises() {
        for shards in [1, 3] {
            online_store(&|| Arc::new(MemoryStore::new(shards, 1_000, &Arc::default())));
            log_notes(&|| Arc::new(MemoryStore::new(shards, 1_000, &Arc::default())));
        }
    }
}
