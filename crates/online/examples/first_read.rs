//! How long the first read of a key of many events takes after a restart, and what it reads: a
//! million events of one key over 30 days, seven functions over an hour, a day, 30 days and all.
//! One line to standard output for each step:
//!
//!     cargo run --release -p forebay-online --example first_read [EVENTS]

#![allow(clippy::disallowed_methods, reason = "it measures real time")]
#![expect(clippy::print_stdout, reason = "it prints what it measured")]

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use arrow_array::{ArrayRef, Float64Array, StringArray, TimestampMicrosecondArray};
use arrow_schema::DataType;
use forebay_core::aggregate::{AggregateKind, PartialClass, PartialSpec};
use forebay_core::key::KeyBuffer;
use forebay_core::ports::{
    At, EpochWriter, Origin, ShardFold, ShardWrite, StateReader, ViewStates,
};
use forebay_core::progress::{PartitionProgress, TopicPartition};
use forebay_core::source::Column;
use forebay_core::time::{DAY_US, HOUR_US};
use forebay_core::view::{AggregateSpec, FoldBatch, ViewSpec, Window};
use forebay_online::{OnlineOptions, RocksStore};
use forebay_testkit::{Random, unbounded, unbounded_budget};

const TOPIC: &str = "events";
const START_US: i64 = 1_357_000_000_000_000;
/// Events of an epoch.
const EPOCH: usize = 1_000;

fn view() -> Arc<ViewSpec> {
    use AggregateKind as K;
    use PartialClass as P;
    let classes = [
        P::Count,
        P::FloatSum,
        P::FloatMoments,
        P::Min,
        P::Max,
        P::Last,
    ];
    let partial = |class: &PartialClass| {
        let arguments: Vec<usize> = (*class != P::Count).then_some(0).into_iter().collect();
        PartialSpec {
            class: *class,
            argument_types: arguments.iter().map(|_| DataType::Float64).collect(),
            arguments,
            filter: None,
            keep: None,
        }
    };
    let kinds = [
        (K::Count, 0),
        (K::Sum, 1),
        (K::Avg, 1),
        (K::StddevSamp, 2),
        (K::Min, 3),
        (K::Max, 4),
        (K::Last, 5),
    ];
    let range = |preceding_us| Window::Range { preceding_us };
    let windows = [
        range(HOUR_US),
        range(DAY_US),
        range(30 * DAY_US),
        Window::Lifetime,
    ];
    let aggregate = |number: usize, window: Window, (kind, partial): (K, usize)| AggregateSpec {
        name: format!("{}_{number}", kind.name()),
        kind,
        data_type: match kind {
            K::Count => DataType::Int64,
            _ => DataType::Float64,
        },
        partial,
        window,
    };
    let aggregates = windows.into_iter().enumerate();
    Arc::new(ViewSpec {
        id: 1,
        name: "view".into(),
        version: 1,
        entity: "e".into(),
        source: "s".into(),
        key: vec![Column {
            name: "k".into(),
            data_type: DataType::Utf8,
            nullable: false,
        }],
        arguments: vec![DataType::Float64],
        filters: 0,
        partials: classes.iter().map(partial).collect(),
        aggregates: aggregates
            .flat_map(|(number, window)| kinds.map(|kind| aggregate(number, window, kind)))
            .collect(),
        ttl_us: None,
        digest: "digest".into(),
    })
}

fn keys(rows: usize) -> ArrayRef {
    Arc::new(StringArray::from_iter_values((0..rows).map(|_| "key")))
}

/// The epoch of the events from number `first` on, at `times`.
fn write(first: usize, times: &[i64], random: &mut Random) -> ShardWrite {
    let rows = times.len();
    let values = (0..rows).map(|_| random.below(20_000) as f64 / 7.0);
    let batch = FoldBatch {
        keys: vec![keys(rows)],
        times: TimestampMicrosecondArray::from(times.to_vec()).with_timezone("UTC"),
        arguments: vec![Arc::new(Float64Array::from_iter_values(values))],
        filters: vec![],
        source_rows: (0..rows as u32).collect(),
        left_out: Vec::new(),
    };
    let progress = PartitionProgress {
        next_offset: (first + rows) as i64,
        max_event_time_us: times.last().copied(),
        last: None,
    };
    ShardWrite {
        folds: vec![ShardFold {
            view: 1,
            batch: Arc::new(batch),
            keys: Arc::new(KeyBuffer::encode(&[keys(rows)]).expect("text")),
            origin: Arc::new(Origin {
                partitions: vec![TopicPartition::new(TOPIC, 0)],
                partition: vec![0; rows],
                offset: (first..first + rows).map(|n| n as i64).collect(),
                kafka_time_us: vec![None; rows],
                broker_time: Vec::new(),
                watermark_us: vec![None; rows],
            }),
            rows: (0..rows as u32).collect(),
        }],
        progress: vec![(TopicPartition::new(TOPIC, 0), progress)],
        ..ShardWrite::default()
    }
}

fn open(path: &Path) -> RocksStore {
    let options = OnlineOptions {
        shards: 1,
        ..OnlineOptions::default()
    };
    let store = RocksStore::open(path, &options, &unbounded_budget()).expect("opens");
    store.register_view(view()).expect("registers");
    store
}

/// Do `act` and say how long it took and what was read for it.
fn step(what: &str, store: &RocksStore, act: impl FnOnce()) {
    let (before, started) = (store.stats(), Instant::now());
    act();
    let took = started.elapsed();
    let after = store.stats();
    println!(
        "{what}: {:.2} ms, {} tiles and {} records of branches read, {} records written, {} KiB in memory",
        took.as_secs_f64() * 1e3,
        after.tiles_read - before.tiles_read,
        after.branches_read - before.branches_read,
        after.branches_written - before.branches_written,
        after.table_bytes >> 10,
    );
}

fn main() {
    let events = std::env::args().nth(1).map_or(1_000_000, |number| {
        number.parse().expect("a number of events")
    });
    let random = &mut Random::new(1);
    let mut now = START_US;
    let mean_us = usize::try_from(30 * DAY_US).expect("positive") / events;
    let times: Vec<i64> = (0..events + 2)
        .map(|_| {
            now += random.below(2 * mean_us) as i64;
            now
        })
        .collect();
    let directory = tempfile::tempdir().expect("temporary directory");
    let read = |store: &RocksStore, at_us: i64| {
        let key = KeyBuffer::encode(&[keys(1)]).expect("text");
        let at = At::Instant(at_us);
        store.read(1, &key, at, &mut unbounded()).expect("reads")
    };
    let store = open(directory.path());
    step(&format!("ingest of {events} events"), &store, || {
        for (number, epoch) in times[..events].chunks(EPOCH).enumerate() {
            let write = write(number * EPOCH, epoch, random);
            store.commit(0, &write).expect("commits");
        }
    });
    drop(store);
    let store = open(directory.path());
    let at = times[events - 1] + 1;
    step("first read", &store, || drop(read(&store, at)));
    step("second read", &store, || drop(read(&store, at + 1)));
    let middle = times[events / 2];
    step("read at half of the time", &store, || {
        drop(read(&store, middle));
    });
    drop(store);
    let store = open(directory.path());
    step("first write", &store, || {
        let write = write(events, &times[events..=events], random);
        store.commit(0, &write).expect("commits");
    });
    step("read after it", &store, || drop(read(&store, at + 2)));
}
