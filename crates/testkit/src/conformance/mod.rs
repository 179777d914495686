//! What every implementation of a port must do, as functions that panic with the first difference:
//! the real one, the one in memory and the faulty one run the same. Each check begins with a store
//! of its own, made by the caller.
//!
//! [`online_store`] runs the checks of every role of a store, one file each, [`log_notes`] what is
//! remembered of the logs. Values are only as far from trivial as the contract needs (a count over
//! one window); that they are right in every case is held elsewhere, against a naive evaluator.

mod epochs;
mod fills;
mod log_notes;
mod scores;
mod state_progress;
mod state_reader;
mod view_states;

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_array::{ArrayRef, Float64Array, StringArray, TimestampMicrosecondArray};
use arrow_schema::DataType;
use forebay_core::index::RowIndex;
use forebay_core::key::{KeyBuffer, shard_of};
use forebay_core::ports::{At, OnlineStore, Origin, ShardFold, ShardWrite, StoreHealth, ViewRows};
use forebay_core::progress::{PartitionProgress, TopicPartition};
use forebay_core::source::SourceDef;
use forebay_core::time::{Micros, timestamp_type};
use forebay_core::view::{FeatureStatus, FoldBatch, ViewSpec, Window};

use crate::memory::unbounded;

use crate::view::{PlainView, column};

pub use log_notes::log_notes;

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
    let ports: [&[Check]; 6] = [
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
    use forebay_core::ports::{EpochWriter, StateProgress};
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
