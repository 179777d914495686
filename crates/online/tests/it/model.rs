//! A generated log, the views over it, the way from rows to commits, and the naive evaluator that
//! the store is held against: filter a plain vector, fold what is left, nothing else.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use arrow_array::builder::BooleanBuilder;
use arrow_array::{ArrayRef, Float64Array, Int64Array, StringArray, TimestampMicrosecondArray};
use arrow_schema::DataType;
use forebay_core::aggregate::cells::shown;
use forebay_core::aggregate::{AggregateKind, Partial, PartialClass, PartialSpec, RowOrder};
use forebay_core::key::{KeyBuffer, shard_of};
use forebay_core::ports::{
    At, EpochWriter, FillNote, FillWrite, FillWriter, Origin, ShardFold, ShardWrite, StateProgress,
    StateReader, ViewRows, ViewStates,
};
use forebay_core::prediction::{PendingScore, PredictionKey, Role};
use forebay_core::progress::{Applied, PartitionProgress, TopicPartition};
use forebay_core::source::Column;
use forebay_core::value::Value;
use forebay_core::view::{
    AggregateSpec, FeatureStatus, FoldBatch, ViewSpec, Window, feature_status,
};
use forebay_online::{OnlineOptions, RocksStore};
use forebay_testkit::{unbounded, unbounded_budget};

pub(crate) const TOPIC: &str = "events";
pub(crate) const WATERMARK_DELAY_US: i64 = 30;

/// A small deterministic generator (splitmix64), so that one number replays a case.
#[derive(Debug, Clone)]
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        x ^ (x >> 31)
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    pub(crate) fn between(&mut self, low: i64, high: i64) -> i64 {
        low + self.below((high - low + 1) as u64) as i64
    }

    pub(crate) fn chance(&mut self, one_in: u64) -> bool {
        self.below(one_in) == 0
    }
}

/// One event of the log.
#[derive(Debug, Clone)]
pub(crate) struct Event {
    pub(crate) partition: i32,
    pub(crate) offset: i64,
    pub(crate) time: i64,
    pub(crate) key: Option<String>,
    pub(crate) x: Option<f64>,
    pub(crate) i: Option<i64>,
    pub(crate) s: Option<String>,
    pub(crate) passes: Option<bool>,
    /// Of its partition, before it.
    pub(crate) watermark: Option<i64>,
}

/// What the generator varies.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LogShape {
    pub(crate) events: usize,
    pub(crate) partitions: i32,
    pub(crate) keys: u64,
    /// Mean step of event time from one event to the next.
    pub(crate) step_us: u64,
    /// How far an event's time may lie behind or ahead.
    pub(crate) jitter_us: i64,
    /// First event time.
    pub(crate) start_us: i64,
}

/// A log in arrival order.
pub(crate) fn generate_log(random: &mut Random, shape: LogShape) -> Vec<Event> {
    let mut next_offset = vec![0_i64; shape.partitions as usize];
    let mut newest: Vec<Option<i64>> = vec![None; shape.partitions as usize];
    let mut now = shape.start_us;
    (0..shape.events)
        .map(|_| {
            now += random.below(2 * shape.step_us + 1) as i64;
            let partition = random.below(shape.partitions as u64) as usize;
            next_offset[partition] += 1 + i64::from(random.chance(10));
            let time = now + random.between(-shape.jitter_us, shape.jitter_us / 3);
            let watermark = newest[partition].map(|t| t - WATERMARK_DELAY_US);
            newest[partition] = newest[partition].max(Some(time));
            let odd = [
                f64::NAN,
                f64::INFINITY,
                f64::NEG_INFINITY,
                -0.0,
                5e-324,
                1e300,
                -1e300,
                0.1,
            ];
            Event {
                partition: partition as i32,
                offset: next_offset[partition],
                time,
                key: (!random.chance(30)).then(|| format!("key-{}", random.below(shape.keys))),
                x: match random.below(12) {
                    0 => None,
                    1 => Some(odd[random.below(odd.len() as u64) as usize]),
                    2..=6 => Some(random.between(-500, 500) as f64),
                    _ => Some(random.between(-1_000_000, 1_000_000) as f64 / 1024.3),
                },
                i: (!random.chance(6)).then(|| random.next() as i64 >> random.below(63)),
                s: (!random.chance(6)).then(|| format!("t{}", random.below(7))),
                passes: (!random.chance(7)).then(|| random.chance(2)),
                watermark,
            }
        })
        .collect()
}

fn partial(class: PartialClass, argument: Option<usize>, filter: Option<usize>) -> PartialSpec {
    let types = argument_types();
    PartialSpec {
        class,
        arguments: argument.into_iter().collect(),
        argument_types: argument.map(|a| types[a].clone()).into_iter().collect(),
        filter,
        keep: None,
    }
}

fn argument_types() -> Vec<DataType> {
    vec![DataType::Float64, DataType::Int64, DataType::Utf8]
}

/// A view with every class of state over every window of `windows`.
pub(crate) fn wide_view(id: u32, windows: &[Window], ttl_us: Option<i64>) -> Arc<ViewSpec> {
    use AggregateKind as K;
    use PartialClass as P;
    let partials = vec![
        partial(P::Count, None, None),
        partial(P::FloatSum, Some(0), None),
        partial(P::FloatSum, Some(0), Some(0)),
        partial(P::FloatMoments, Some(0), None),
        partial(P::IntSum, Some(1), None),
        partial(P::Min, Some(0), None),
        partial(P::Max, Some(1), Some(0)),
        partial(P::Last, Some(2), None),
        partial(P::Count, Some(2), Some(0)),
        partial(P::Min, Some(2), None),
        partial(P::Last, Some(0), Some(0)),
    ];
    let kinds = [
        (K::Count, 0, DataType::Int64),
        (K::Sum, 1, DataType::Float64),
        (K::Avg, 2, DataType::Float64),
        (K::StddevSamp, 3, DataType::Float64),
        (K::Sum, 4, DataType::Int64),
        (K::Min, 5, DataType::Float64),
        (K::Max, 6, DataType::Int64),
        (K::Last, 7, DataType::Utf8),
        (K::Count, 8, DataType::Int64),
        (K::Min, 9, DataType::Utf8),
        (K::Last, 10, DataType::Float64),
    ];
    let mut aggregates = Vec::new();
    for (number, window) in windows.iter().enumerate() {
        for (kind, partial, data_type) in &kinds {
            aggregates.push(AggregateSpec {
                name: format!("a{number}_{partial}"),
                kind: *kind,
                data_type: data_type.clone(),
                partial: *partial,
                window: *window,
            });
        }
    }
    Arc::new(ViewSpec {
        id,
        name: format!("wide_{id}"),
        version: 1,
        entity: "entity".into(),
        source: "events".into(),
        key: vec![Column {
            name: "k".into(),
            data_type: DataType::Utf8,
            nullable: false,
        }],
        arguments: argument_types(),
        filters: 1,
        partials,
        aggregates,
        ttl_us,
        digest: format!("digest-{id}"),
    })
}

/// Fold rows of `events`, as an engine would make them: all of one decoded batch.
pub(crate) fn fold_batch(events: &[Event]) -> (Arc<FoldBatch>, Arc<KeyBuffer>, Arc<Origin>) {
    let kept: Vec<usize> = (0..events.len())
        .filter(|&i| events[i].key.is_some())
        .collect();
    let keys: ArrayRef = Arc::new(StringArray::from_iter(
        kept.iter().map(|&i| events[i].key.as_deref()),
    ));
    let mut filter = BooleanBuilder::new();
    kept.iter()
        .for_each(|&i| filter.append_option(events[i].passes));
    let batch = FoldBatch {
        times: TimestampMicrosecondArray::from_iter_values(kept.iter().map(|&i| events[i].time))
            .with_timezone("UTC"),
        arguments: vec![
            Arc::new(Float64Array::from_iter(kept.iter().map(|&i| events[i].x))),
            Arc::new(Int64Array::from_iter(kept.iter().map(|&i| events[i].i))),
            Arc::new(StringArray::from_iter(
                kept.iter().map(|&i| events[i].s.as_deref()),
            )),
        ],
        filters: vec![filter.finish()],
        source_rows: kept.iter().map(|&i| i as u32).collect(),
        left_out: Vec::new(),
        keys: vec![Arc::clone(&keys)],
    };
    let partitions: Vec<i32> = events
        .iter()
        .map(|e| e.partition)
        .collect::<BTreeSet<_>>()
        .into_iter()
        .collect();
    let origin = Origin {
        partitions: partitions
            .iter()
            .map(|p| TopicPartition::new(TOPIC, *p))
            .collect(),
        partition: events
            .iter()
            .map(|e| {
                partitions
                    .binary_search(&e.partition)
                    .expect("it was collected from them") as u32
            })
            .collect(),
        offset: events.iter().map(|e| e.offset).collect(),
        kafka_time_us: vec![None; events.len()],
        broker_time: Vec::new(),
        watermark_us: events.iter().map(|e| e.watermark).collect(),
    };
    (
        Arc::new(batch),
        Arc::new(KeyBuffer::encode(&[keys]).expect("text keys")),
        Arc::new(origin),
    )
}

/// Progress that covers `events` (a prefix of the log is assumed to lie before them).
pub(crate) fn progress_of(events: &[Event]) -> Vec<(TopicPartition, PartitionProgress)> {
    let mut progress = Applied::default();
    for event in events {
        let read = PartitionProgress {
            next_offset: event.offset + 1,
            max_event_time_us: Some(event.time),
            last: None,
        };
        progress.advance(&TopicPartition::new(TOPIC, event.partition), read);
    }
    progress.0.into_iter().collect()
}

/// The write of one shard for one micro-batch.
pub(crate) fn shard_write(
    views: &[Arc<ViewSpec>],
    events: &[Event],
    shard: u16,
    shards: u16,
) -> ShardWrite {
    let (batch, keys, origin) = fold_batch(events);
    let rows: Vec<u32> = (0..keys.len())
        .filter(|&row| {
            keys.get(row)
                .is_some_and(|key| shard_of(key, shards) == shard)
        })
        .map(|row| row as u32)
        .collect();
    let folds = views
        .iter()
        .filter(|_| !rows.is_empty())
        .map(|view| ShardFold {
            view: view.id,
            batch: Arc::clone(&batch),
            keys: Arc::clone(&keys),
            origin: Arc::clone(&origin),
            rows: rows.clone(),
        })
        .collect();
    ShardWrite {
        aside: Vec::new(),
        folds,
        pending: Vec::new(),
        unscored: Vec::new(),
        progress: progress_of(events),
        marks: Vec::new(),
        forget_bounds: Vec::new(),
    }
}

/// Bring `events` into shard `shard` of `store` as a fill of each view does.
pub(crate) fn fill(
    store: &RocksStore,
    views: &[Arc<ViewSpec>],
    events: &[Event],
    (shard, shards): (u16, u16),
) {
    for view in views {
        let folds = shard_write(std::slice::from_ref(view), events, shard, shards).folds;
        let (view, note) = (view.id, FillNote::default());
        store
            .fill(shard, &FillWrite { view, folds, note })
            .expect("fill");
    }
}

/// Commit `events` as one epoch of every shard.
pub(crate) fn commit_all(store: &RocksStore, views: &[Arc<ViewSpec>], events: &[Event]) {
    for shard in 0..store.shards() {
        store
            .commit(shard, &shard_write(views, events, shard, store.shards()))
            .expect("commit");
    }
}

/// A score that every event asks for; it belongs to the shard of the event's key.
pub(crate) fn pending_of(event: &Event) -> Arc<PendingScore> {
    Arc::new(PendingScore {
        key: PredictionKey {
            deployment: "d".into(),
            model_version: 1,
            role: Role::Live,
            topic: TOPIC.into(),
            partition: event.partition,
            offset: event.offset,
        },
        event_time_us: event.time,
        request: event.key.clone().unwrap_or_default().into_bytes(),
    })
}

pub(crate) fn encode_key(key: &str) -> KeyBuffer {
    let column: ArrayRef = Arc::new(StringArray::from(vec![key]));
    KeyBuffer::encode(&[column]).expect("text key")
}

pub(crate) fn encode_keys(keys: &[Option<&str>]) -> KeyBuffer {
    let column: ArrayRef = Arc::new(StringArray::from(keys.to_vec()));
    KeyBuffer::encode(&[column]).expect("text keys")
}

pub(crate) fn shard_of_event(event: &Event, shards: u16) -> Option<u16> {
    let keys = encode_key(event.key.as_deref()?);
    keys.get(0).map(|key| shard_of(key, shards))
}

/// Whether `applied` covers the event.
pub(crate) fn is_applied(event: &Event, applied: &Applied) -> bool {
    event.offset < applied.next_offset(&TopicPartition::new(TOPIC, event.partition))
}

// ---- the naive evaluator -----------------------------------------------------------------------

/// One expected row.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Expected {
    pub(crate) status: u8,
    pub(crate) newest_us: Option<i64>,
    pub(crate) values: Vec<Value>,
}

/// The definition: rows of the key with `t - W <= ts <= t`, folded one by one.
pub(crate) fn evaluate<'a>(
    view: &ViewSpec,
    events: impl Iterator<Item = &'a Event> + Clone,
    key: &str,
    at: i64,
) -> Expected {
    let visible: Vec<&Event> = events
        .filter(|e| e.key.as_deref() == Some(key) && e.time <= at)
        .collect();
    let newest_us = visible.iter().map(|e| e.time).max();
    let status = feature_status(newest_us, at, view.ttl_us) as u8;
    let values = view
        .aggregates
        .iter()
        .map(|aggregate| {
            if status != 1 {
                return Value::Null;
            }
            let spec = &view.partials[aggregate.partial];
            let mut state = Partial::new(spec);
            for event in &visible {
                let inside = match aggregate.window {
                    Window::Range { preceding_us } => event.time >= at - preceding_us,
                    Window::Lifetime => true,
                };
                if !inside || (spec.filter.is_some() && event.passes != Some(true)) {
                    continue;
                }
                let order = RowOrder {
                    time_us: event.time,
                    partition: event.partition,
                    offset: event.offset,
                };
                let value = |argument: &usize| match argument {
                    0 => event.x.map_or(Value::Null, Value::Float),
                    1 => event.i.map_or(Value::Null, Value::Int),
                    _ => event
                        .s
                        .as_deref()
                        .map_or(Value::Null, |s| Value::Text(s.into())),
                };
                let arguments: Vec<Value> = spec.arguments.iter().map(value).collect();
                state.update(&arguments, order);
            }
            shown(&state.evaluate(aggregate.kind)).clone()
        })
        .collect();
    Expected {
        status,
        newest_us,
        values,
    }
}

/// Row `row` of an answer in the evaluator's form.
pub(crate) fn row_of(answer: &ViewRows, row: usize) -> Expected {
    Expected {
        status: answer.status[row] as u8,
        newest_us: answer.newest_us[row],
        values: answer
            .aggregates
            .columns
            .iter()
            .map(|a| Value::from_array(a.as_ref(), row).expect("scalar"))
            .collect(),
    }
}

/// Panics, naming the first difference, unless both rows are equal to the bit. A key whose TTL is
/// long over may be forgotten: then NULLs outside the age are NULLs of an unknown key.
pub(crate) fn assert_same(expected: &Expected, found: &Expected, context: impl Fn() -> String) {
    let outside = FeatureStatus::OutsideMaxAge as u8;
    if expected.status == outside && found.status == FeatureStatus::NotFound as u8 {
        let forgotten = Expected {
            status: found.status,
            newest_us: None,
            values: vec![Value::Null; expected.values.len()],
        };
        assert_eq!(&forgotten, found, "forgotten: {}", context());
        return;
    }
    assert_eq!(expected.status, found.status, "status: {}", context());
    assert_eq!(expected.newest_us, found.newest_us, "newest: {}", context());
    assert_eq!(
        expected.values.len(),
        found.values.len(),
        "columns: {}",
        context()
    );
    for (at, (a, b)) in expected.values.iter().zip(&found.values).enumerate() {
        assert!(
            a.same_bits(b),
            "column {at}: expected {a:?}, found {b:?}: {}",
            context()
        );
    }
}

/// Read one key, or None when the instant is refused; a refusal must be one that T_min allows.
pub(crate) fn read_one(
    store: &RocksStore,
    view: &ViewSpec,
    key: &str,
    at: i64,
) -> Option<Expected> {
    match store.read(view.id, &encode_key(key), At::Instant(at), &mut unbounded()) {
        Ok(answer) => Some(row_of(&answer, 0)),
        Err(error) => {
            assert_eq!(error.kind(), forebay_core::ErrorKind::OutOfRange, "{error}");
            assert!(error.message().contains("T_min"), "{error}");
            None
        }
    }
}

/// Applied events, for the shard of `key`, as the store itself says.
pub(crate) fn applied_events<'a>(
    events: &'a [Event],
    applied: &'a Applied,
) -> impl Iterator<Item = &'a Event> + Clone {
    events.iter().filter(move |e| is_applied(e, applied))
}

/// The greatest watermark among applied rows: no read at or above it less the history may be
/// refused.
pub(crate) fn greatest_watermark(events: &[Event], applied: &Applied) -> Option<i64> {
    applied_events(events, applied)
        .filter_map(|e| e.watermark)
        .max()
}

pub(crate) fn options(shards: u16, history_us: i64) -> OnlineOptions {
    OnlineOptions {
        shards,
        history_us,
        table_bytes: 64 << 20,
        cache_bytes: 4 << 20,
        write_buffer_bytes: 8 << 20,
        ..OnlineOptions::default()
    }
}

pub(crate) fn open(path: &Path, options: &OnlineOptions, views: &[Arc<ViewSpec>]) -> RocksStore {
    let store = RocksStore::open(path, options, &unbounded_budget()).expect("open");
    for view in views {
        store.register_view(Arc::clone(view)).expect("register");
    }
    store
}

/// Probe `count` random (view, key, t) and hold each answer against the evaluator. Returns how many
/// were answered.
pub(crate) fn probe(
    store: &RocksStore,
    views: &[Arc<ViewSpec>],
    log: &[Event],
    random: &mut Random,
    count: usize,
    history_us: i64,
) -> usize {
    let keys: BTreeMap<&str, ()> = log
        .iter()
        .filter_map(|e| e.key.as_deref())
        .map(|k| (k, ()))
        .collect();
    let keys: Vec<&str> = keys.into_keys().chain(["never-seen"]).collect();
    let first = log.iter().map(|e| e.time).min().unwrap_or(0) - 10;
    let newest = log.iter().map(|e| e.time).max().unwrap_or(0);
    let last = newest + 200;
    let mut answered = 0;
    for _ in 0..count {
        let view = &views[random.below(views.len() as u64) as usize];
        let key = keys[random.below(keys.len() as u64) as usize];
        let at = match random.below(4) {
            0 => random.between(first, last),
            // No row has a watermark as late as this: such a read is always answered.
            1 => random.between(newest, last),
            // One microsecond around where some event enters or leaves a window or reaches the TTL.
            _ => edge_instant(view, log, random),
        };
        let shard = shard_of(encode_key(key).get(0).expect("not null"), store.shards());
        let applied = store.applied(shard);
        let Some(found) = read_one(store, view, key, at) else {
            let bound = greatest_watermark(log, &applied).expect("a refusal needs a watermark")
                - history_us;
            assert!(
                at < bound,
                "t = {at} was refused although T_min is at most {bound}"
            );
            continue;
        };
        let expected = evaluate(view, applied_events(log, &applied), key, at);
        assert_same(&expected, &found, || {
            format!("view {} key {key} t {at}", view.name)
        });
        answered += 1;
    }
    answered
}

fn edge_instant(view: &ViewSpec, log: &[Event], random: &mut Random) -> i64 {
    let event = &log[random.below(log.len() as u64) as usize];
    let mut distances = vec![0];
    distances.extend(view.ttl_us);
    for aggregate in &view.aggregates {
        if let Window::Range { preceding_us } = aggregate.window {
            distances.push(preceding_us);
        }
    }
    event.time + distances[random.below(distances.len() as u64) as usize] + random.between(-1, 2)
}
