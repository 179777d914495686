//! What every implementation of a port must do, as functions that panic with the first difference:
//! the real one, the one in memory and the faulty one run the same. Each check begins with a store
//! of its own, made by the caller.
//!
//! A port and its suite have files of one name; `xtask` holds that each port has one.
//! [`online_store`] runs the checks of every role of a store, one file each, [`archive`] those of
//! scans too. Values are only as far from trivial as the contract needs (a count over one window);
//! that they are right in every case is held elsewhere, against a naive evaluator.
//!
//! Suites whose module is public have inputs of their own.

mod archive;
pub mod checkpoints;
pub mod compiled;
mod epochs;
pub mod features;
mod fills;
pub mod log;
pub mod log_inspector;
mod log_notes;
pub mod point_in_time;
pub mod publish;
mod runtime;
pub mod scan;
pub mod scorer;
mod scores;
pub mod state_health;
mod state_progress;
mod state_reader;
mod view_states;

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_array::{ArrayRef, Float64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow_schema::DataType;
use forebay_core::index::RowIndex;
use forebay_core::key::{KeyBuffer, shard_of};
use forebay_core::ports::{
    At, CompiledService, CompiledView, OnlineStore, Origin, ShardFold, ShardWrite, StoreHealth,
    ViewRows,
};
use forebay_core::progress::{PartitionProgress, TopicPartition};
use forebay_core::source::SourceDef;
use forebay_core::time::{Micros, timestamp_type};
use forebay_core::view::{FeatureStatus, FoldBatch, ViewSpec, Window};

use crate::memory::unbounded;
use crate::reader::StoreReader;
use crate::view::{PlainService, PlainView, column};
use features::AskedService;

pub use archive::archive;
pub use log_notes::log_notes;
pub use runtime::runtime;

const TOPIC: &str = "events";
const WINDOW_US: Micros = 100;
const VIEW: u32 = 1;

/// One event: offset in partition 0, time, key.
type Event = (i64, Micros, &'static str);

/// Makes a new, empty store for one check.
pub type MakeStore<'a> = &'a dyn Fn() -> Arc<dyn OnlineStore>;

/// A promise of one port. It takes the whole store: what is read was written by another role.
type Check = fn(&dyn OnlineStore);

/// Everything that the roles of an [`OnlineStore`] promise.
///
/// # Panics
/// A promise is not kept.
pub fn online_store(make: MakeStore<'_>) {
    let ports: [&[Check]; 7] = [
        state_health::CHECKS,
        state_reader::CHECKS,
        state_progress::CHECKS,
        epochs::CHECKS,
        fills::CHECKS,
        view_states::CHECKS,
        scores::CHECKS,
    ];
    for check in ports.into_iter().flatten() {
        let store = make();
        assert_eq!(store.health(), StoreHealth::Well, "a new store");
        check(store.as_ref());
        assert_eq!(store.health(), StoreHealth::Well, "nothing failed");
    }
}

// ---- events to writes --------------------------------------------------------------------------

fn plain_source() -> Arc<SourceDef> {
    let columns = vec![
        column("k", DataType::Utf8, false),
        column("x", DataType::Float64, true),
        column("t", timestamp_type(), false),
    ];
    Arc::new(SourceDef::json(TOPIC, TOPIC, columns, 2))
}

fn plain_view() -> PlainView {
    let window = Window::Range {
        preceding_us: WINDOW_US,
    };
    PlainView::new(VIEW, &plain_source(), "k", "x", window)
}

fn spec() -> Arc<ViewSpec> {
    Arc::clone(plain_view().spec())
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
        left_out: Vec::new(),
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
    let counts = rows.aggregates.columns[0].as_primitive::<Int64Type>();
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

/// A reader of features over `store`, and what to ask of it.
///
/// # Panics
/// The store takes no rows.
pub fn asked_reader(store: Arc<dyn OnlineStore>) -> (StoreReader, AskedService<'static>) {
    register(store.as_ref());
    commit_all(store.as_ref(), &[(0, 10, "a"), (1, 20, "b"), (2, 30, "a")]);
    let view = Arc::new(plain_view());
    let service: Arc<dyn CompiledService> = Arc::new(PlainService::new("counts", view));
    let keys: ArrayRef = Arc::new(StringArray::from(vec![
        Some("a"),
        None,
        Some("b"),
        Some("x"),
    ]));
    let asked = AskedService {
        name: "counts",
        request: RecordBatch::try_from_iter([("k", keys)]).expect("one column"),
        at_us: 40,
    };
    (StoreReader::new(store, vec![service]), asked)
}

#[cfg(test)]
mod tests {
    use arrow_array::BooleanArray;
    use forebay_core::ErrorKind;
    use forebay_core::limits::EVENT_MAX_BYTES;
    use forebay_core::ports::{EpochWriter, StateProgress};
    use forebay_core::prediction::OutboxRecord;
    use forebay_core::watermark::{Hold, MarkFact, MarkRecord};
    use futures::executor::block_on;

    use super::state_health::{
        a_damaged_view_is_set_aside_alone, a_failed_write_leaves_its_shard_undecided,
    };
    use super::*;
    use crate::{
        FakeScorer, MemoryCheckpoints, MemoryLog, MemoryPublisher, MemoryStore, PlainLabel,
    };

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
            let make = || MemoryStore::new(shards, 1_000, &Arc::default());
            online_store(&|| Arc::new(make()));
            let made = make();
            a_damaged_view_is_set_aside_alone(&|| Arc::new(made.clone()), &|store, view| {
                (0..shards).for_each(|shard| made.damage(shard, view));
                store
            });
            let made = make();
            a_failed_write_leaves_its_shard_undecided(&|| Arc::new(made.clone()), &|_, shard| {
                made.lose_reply(shard, ErrorKind::Unavailable);
            });
            log_notes(&|| Arc::new(MemoryStore::new(shards, 1_000, &Arc::default())));
        }
    }

    #[test]
    fn the_log_in_memory_keeps_the_promises() {
        let in_memory = MemoryLog::new("cluster");
        log::event_log(&in_memory);
        log_inspector::log_inspector(&in_memory);
        in_memory.hide_ids();
        log_inspector::log_inspector(&in_memory);
    }

    #[test]
    fn the_publisher_in_memory_keeps_the_promises() {
        let refuses = |record: &OutboxRecord| {
            let is_long = record.payload.len() > EVENT_MAX_BYTES;
            is_long.then(|| "too large".to_owned())
        };
        let publisher = MemoryPublisher::new(&Arc::default(), |_| {}).refusing(refuses);
        publish::publisher(&publisher);
    }

    #[test]
    fn the_fake_model_keeps_the_promises() {
        let columns: [(&str, ArrayRef); 2] = [
            ("a", Arc::new(Float64Array::from(vec![0.5, -1.0, 7.25]))),
            (
                "b",
                Arc::new(Float64Array::from(vec![None, Some(2.0), Some(3.0)])),
            ),
        ];
        let model = scorer::ScoredModel {
            known: ("any", 1),
            unknown: &[("any", 9)],
            features: RecordBatch::try_from_iter(columns).expect("one length"),
        };
        let fake = FakeScorer::new(&Arc::default(), None).lacking(Some(9));
        block_on(scorer::scorer(&fake, &model));
    }

    #[test]
    fn checkpoints_in_memory_keep_the_promises() {
        let kept = MemoryCheckpoints::default();
        checkpoints::checkpoints(&|| Box::new(kept.clone()));
    }

    #[test]
    fn the_plain_view_service_and_label_keep_the_promises_and_so_does_their_reader() {
        let columns: [(&str, ArrayRef); 3] = [
            (
                "k",
                Arc::new(StringArray::from(vec![Some("a"), None, Some("b")])),
            ),
            (
                "x",
                Arc::new(Float64Array::from(vec![Some(1.0), Some(2.0), None])),
            ),
            (
                "t",
                Arc::new(TimestampMicrosecondArray::from(vec![1, 2, 3]).with_timezone("UTC")),
            ),
        ];
        let rows = RecordBatch::try_from_iter(columns).expect("one length");
        let view = plain_view();
        compiled::compiled_view(&view, &plain_source(), &rows);
        let service = PlainService::new("counts", Arc::new(view));
        let request = rows.project(&[0]).expect("one column");
        compiled::compiled_service(&service, &request);
        let label: ArrayRef = Arc::new(BooleanArray::from(vec![Some(true), None, Some(false)]));
        let labels = RecordBatch::try_from_iter([("y", label)]).expect("one column");
        compiled::compiled_label(&PlainLabel::new("y"), &labels);
        let store = MemoryStore::new(3, 1_000, &Arc::default());
        let (reader, asked) = asked_reader(Arc::new(store));
        features::feature_reader(&reader, &asked);
    }
}
