//! How fast one core folds rows and reads keys, with a year of events at the flights' density: time
//! and bytes of a folded row for long and short epochs, then reads of keys that are computed, that
//! are copied, and at instants that move on. One line to standard output for each:
//!
//!     cargo bench -p forebay-online --bench fold_speed

#![allow(clippy::disallowed_methods, reason = "it measures real time")]
#![expect(clippy::print_stdout, reason = "a benchmark prints what it measured")]

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use arrow_array::{ArrayRef, Float64Array, StringArray, TimestampMicrosecondArray};
use arrow_schema::DataType;
use forebay_core::aggregate::{AggregateKind, PartialClass, PartialSpec};
use forebay_core::key::{KeyBuffer, shard_of};
use forebay_core::ports::{
    At, EpochWriter, Origin, ShardFold, ShardWrite, StateReader, ViewStates,
};
use forebay_core::progress::{PartitionProgress, TopicPartition};
use forebay_core::source::Column;
use forebay_core::time::{DAY_US, HOUR_US, MINUTE_US};
use forebay_core::view::{AggregateSpec, FoldBatch, ViewSpec, Window};
use forebay_online::{OnlineOptions, RocksStore};
use forebay_testkit::{Random, unbounded, unbounded_budget};

const TOPIC: &str = "events";

/// Flights of 2013 from New York.
const EVENTS: usize = 336_776;
const SHARDS: u16 = 4;

/// count, sum, avg, max and stddev of one argument over an hour and a day: the shape of the
/// flights' views.
fn view(id: u32) -> Arc<ViewSpec> {
    use AggregateKind as K;
    use PartialClass as P;
    let spec = |class, argument: Option<usize>| PartialSpec {
        class,
        arguments: argument.into_iter().collect(),
        argument_types: argument.map(|_| DataType::Float64).into_iter().collect(),
        filter: None,
        keep: None,
    };
    let partials = vec![
        spec(P::Count, None),
        spec(P::FloatSum, Some(0)),
        spec(P::Max, Some(0)),
        spec(P::FloatMoments, Some(0)),
    ];
    let mut aggregates = Vec::new();
    for preceding_us in [HOUR_US, DAY_US] {
        for (kind, partial) in [
            (K::Count, 0),
            (K::Sum, 1),
            (K::Avg, 1),
            (K::Max, 2),
            (K::StddevSamp, 3),
        ] {
            aggregates.push(AggregateSpec {
                name: format!("{}_{preceding_us}", kind.name()),
                kind,
                data_type: if kind == K::Count {
                    DataType::Int64
                } else {
                    DataType::Float64
                },
                partial,
                window: Window::Range { preceding_us },
            });
        }
    }
    Arc::new(ViewSpec {
        id,
        name: format!("view_{id}"),
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
        partials,
        aggregates,
        ttl_us: Some(DAY_US),
        digest: format!("digest-{id}"),
    })
}

/// Events as (time, keys of five views, value); a year of them at the flights' density.
struct Year {
    times: Vec<i64>,
    keys: Vec<Vec<String>>,
    values: Vec<Option<f64>>,
}

fn year() -> Year {
    let random = &mut Random::new(1);
    // As many keys as the flights have airports, carriers, routes, aircraft and (origin, hour)
    // pairs.
    let sizes = [3_usize, 16, 224, 4_000, 60];
    let mut time = 1_357_000_000_000_000_i64;
    let mut year = Year {
        times: vec![],
        keys: vec![vec![]; sizes.len()],
        values: vec![],
    };
    for _ in 0..EVENTS {
        time += random.below(2 * 93_000_000) as i64;
        year.times.push(time - time % MINUTE_US);
        year.values
            .push((random.below(40) > 0).then(|| random.below(201) as f64 - 20.0));
        for (keys, size) in year.keys.iter_mut().zip(sizes) {
            keys.push(format!("key-{}", random.below(size)));
        }
    }
    year
}

fn epoch_writes(year: &Year, views: &[Arc<ViewSpec>], from: usize, to: usize) -> Vec<ShardWrite> {
    let rows = to - from;
    let origin = Arc::new(Origin {
        partitions: (0..4).map(|p| TopicPartition::new(TOPIC, p)).collect(),
        partition: (from..to).map(|i| (i % 4) as u32).collect(),
        offset: (from..to).map(|i| i as i64 / 4).collect(),
        kafka_time_us: vec![None; rows],
        broker_time: Vec::new(),
        watermark_us: (from..to)
            .map(|i| Some(year.times[i] - 30 * MINUTE_US))
            .collect(),
    });
    let progress = |p: i32| {
        let read = PartitionProgress {
            next_offset: to as i64 / 4 + 1,
            max_event_time_us: Some(year.times[to - 1]),
            last: None,
        };
        (TopicPartition::new(TOPIC, p), read)
    };
    let mut writes: Vec<ShardWrite> = (0..SHARDS)
        .map(|_| ShardWrite {
            progress: (0..4).map(progress).collect(),
            ..ShardWrite::default()
        })
        .collect();
    for (number, view) in views.iter().enumerate() {
        let keys: ArrayRef = Arc::new(StringArray::from_iter_values(&year.keys[number][from..to]));
        let encoded = Arc::new(KeyBuffer::encode(&[Arc::clone(&keys)]).expect("text"));
        let batch = Arc::new(FoldBatch {
            keys: vec![keys],
            times: TimestampMicrosecondArray::from(year.times[from..to].to_vec())
                .with_timezone("UTC"),
            arguments: vec![Arc::new(Float64Array::from(year.values[from..to].to_vec()))],
            filters: vec![],
            source_rows: (0..rows as u32).collect(),
            left_out: Vec::new(),
        });
        let mut routed = vec![Vec::new(); usize::from(SHARDS)];
        for row in 0..rows {
            let shard = shard_of(encoded.get(row).expect("not null"), SHARDS);
            routed[usize::from(shard)].push(row as u32);
        }
        for (write, rows) in writes.iter_mut().zip(routed) {
            write.folds.push(ShardFold {
                view: view.id,
                batch: Arc::clone(&batch),
                keys: Arc::clone(&encoded),
                origin: Arc::clone(&origin),
                rows,
            });
        }
    }
    writes
}

fn open(path: &Path, views: &[Arc<ViewSpec>]) -> RocksStore {
    let options = OnlineOptions {
        shards: SHARDS,
        history_us: HOUR_US,
        table_bytes: 64 << 20,
        cache_bytes: 4 << 20,
        write_buffer_bytes: 8 << 20,
        ..OnlineOptions::default()
    };
    let store = RocksStore::open(path, &options, &unbounded_budget()).expect("opens");
    for view in views {
        store.register_view(Arc::clone(view)).expect("registers");
    }
    store
}

fn main() {
    let year = year();
    let views: Vec<_> = (1..=5).map(view).collect();
    for epoch_rows in [8_192, 512] {
        let directory = tempfile::tempdir().expect("temporary directory");
        let store = open(directory.path(), &views);
        let writes: Vec<_> = (0..EVENTS)
            .step_by(epoch_rows)
            .map(|from| epoch_writes(&year, &views, from, (from + epoch_rows).min(EVENTS)))
            .collect();
        let started = Instant::now();
        for epoch in writes {
            for (shard, write) in epoch.into_iter().enumerate() {
                store.commit(shard as u16, &write).expect("commit");
            }
        }
        let took = started.elapsed();
        let stats = store.stats();
        let rows = EVENTS as f64 * 5.0;
        println!(
            "epochs of {epoch_rows}: {:.2} us a folded row, {:.0} rows/s on one core; RocksDB {:.2} us a row, {} tiles, {:.0} B a row, {} expired; {} keys {:.1} MB",
            took.as_secs_f64() * 1e6 / rows,
            rows / took.as_secs_f64(),
            stats.write_ns as f64 / 1e3 / rows,
            stats.tiles_written,
            stats.written_bytes as f64 / rows,
            stats.tiles_expired,
            stats.keys_in_memory,
            stats.table_bytes as f64 / 1e6,
        );
        read_speed(&store, &year, &views);
    }
}

fn read_speed(store: &RocksStore, year: &Year, views: &[Arc<ViewSpec>]) {
    let last = *year.times.last().expect("events");
    for (number, view) in views.iter().enumerate() {
        let names: Vec<&str> = year.keys[number][EVENTS - 512..]
            .iter()
            .map(String::as_str)
            .collect();
        let column: ArrayRef = Arc::new(StringArray::from_iter_values(&names));
        let keys = KeyBuffer::encode(&[column]).expect("text");
        let mut line = format!("view {number}:");
        for (label, step) in [("first", 0), ("copied", 0), ("moving", 7_000_000_i64)] {
            let rounds = if label == "first" { 1 } else { 20 };
            let started = Instant::now();
            for round in 0..rounds {
                store
                    .read(
                        view.id,
                        &keys,
                        At::Instant(last + round * step),
                        &mut unbounded(),
                    )
                    .expect("read");
            }
            line += &format!(
                " {label} {:.2} us a key",
                started.elapsed().as_secs_f64() * 1e6 / (rounds * 512) as f64
            );
        }
        let one = KeyBuffer::encode(&[Arc::new(StringArray::from(vec![names[0]])) as ArrayRef])
            .expect("text");
        let started = Instant::now();
        for _ in 0..1_000 {
            store
                .read(view.id, &one, At::Instant(last), &mut unbounded())
                .expect("read");
        }
        println!(
            "{line}; one key {:.2} us",
            started.elapsed().as_secs_f64() * 1e3
        );
    }
}
