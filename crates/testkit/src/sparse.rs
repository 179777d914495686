//! Keys of few rows: a view of `count`, `sum` and `avg` over three windows, as most views are, and
//! the commits that bring each of many keys some rows: what such keys take in memory is measured
//! with it.

use std::ops::Range;
use std::sync::Arc;

use arrow_array::{ArrayRef, Float64Array, StringArray, TimestampMicrosecondArray};
use arrow_schema::DataType;
use forebay_core::aggregate::{AggregateKind, PartialClass, PartialSpec};
use forebay_core::key::KeyBuffer;
use forebay_core::ports::{Origin, ShardFold, ShardWrite};
use forebay_core::progress::{PartitionProgress, TopicPartition};
use forebay_core::source::Column;
use forebay_core::time::{DAY_US, HOUR_US};
use forebay_core::view::{AggregateSpec, FoldBatch, ViewSpec, Window};

const TOPIC: &str = "visits";
const START_US: i64 = 1_357_000_000_000_000;

/// `count(*)`, `sum(x)` and `avg(x)` over an hour, a day and a week.
#[must_use]
pub fn sparse_view() -> Arc<ViewSpec> {
    use AggregateKind as K;
    let partial = |class, arguments: Vec<usize>| PartialSpec {
        class,
        argument_types: arguments.iter().map(|_| DataType::Float64).collect(),
        arguments,
        filter: None,
        keep: None,
    };
    let functions = [
        (K::Count, 0, DataType::Int64),
        (K::Sum, 1, DataType::Float64),
        (K::Avg, 1, DataType::Float64),
    ];
    let mut aggregates = Vec::new();
    for preceding_us in [HOUR_US, DAY_US, 7 * DAY_US] {
        for (kind, partial, data_type) in &functions {
            aggregates.push(AggregateSpec {
                name: format!("{}_{preceding_us}", kind.name()),
                kind: *kind,
                data_type: data_type.clone(),
                partial: *partial,
                window: Window::Range { preceding_us },
            });
        }
    }
    Arc::new(ViewSpec {
        id: 1,
        name: "visits_of_guest".into(),
        version: 1,
        entity: "guest".into(),
        source: TOPIC.into(),
        key: vec![Column {
            name: "guest".into(),
            data_type: DataType::Utf8,
            nullable: false,
        }],
        arguments: vec![DataType::Float64],
        filters: 0,
        partials: vec![
            partial(PartialClass::Count, vec![]),
            partial(PartialClass::FloatSum, vec![0]),
        ],
        aggregates,
        ttl_us: None,
        digest: "sparse".into(),
    })
}

/// The write of the only shard that brings each of `guests` its row of `round`: amounts of money, a
/// minute apart from round to round. Rounds follow one another, and guests within them.
///
/// # Panics
/// Numbers beyond what a log holds.
#[must_use]
pub fn sparse_write(all: usize, guests: Range<usize>, round: usize) -> ShardWrite {
    let offset = |guest: usize| i64::try_from(round * all + guest).expect("a small log");
    let time = |guest: usize| START_US + offset(guest) * 600;
    let rows = guests.len();
    let names = guests.clone().map(|guest| format!("guest-{guest:06}"));
    let keys: ArrayRef = Arc::new(StringArray::from_iter_values(names));
    let amounts = guests.clone().map(|guest| guest as f64 * 0.37);
    let numbers: Vec<u32> = (0..rows)
        .map(|row| u32::try_from(row).expect("a small batch"))
        .collect();
    let next = offset(guests.end);
    let fold = ShardFold {
        view: 1,
        keys: Arc::new(KeyBuffer::encode(&[Arc::clone(&keys)]).expect("texts are keys")),
        batch: Arc::new(FoldBatch {
            keys: vec![keys],
            times: TimestampMicrosecondArray::from_iter_values(guests.clone().map(time))
                .with_timezone("UTC"),
            arguments: vec![Arc::new(Float64Array::from_iter_values(amounts))],
            filters: vec![],
            source_rows: numbers.clone(),
            left_out: Vec::new(),
        }),
        origin: Arc::new(Origin {
            partitions: vec![TopicPartition::new(TOPIC, 0)],
            partition: vec![0; rows],
            offset: guests.clone().map(offset).collect(),
            kafka_time_us: vec![None; rows],
            broker_time: Vec::new(),
            watermark_us: vec![None; rows],
        }),
        rows: numbers,
    };
    let progress = PartitionProgress {
        next_offset: next,
        max_event_time_us: guests.last().map(time),
        last: None,
    };
    ShardWrite {
        folds: vec![fold],
        progress: vec![(TopicPartition::new(TOPIC, 0), progress)],
        ..ShardWrite::default()
    }
}
