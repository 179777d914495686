//! What training sets and verification rely on when they ask for values as of given instants: one
//! row for each row of the spine, in its order, whatever its timestamps are declared as, with the
//! events that were known by then and no others.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, Int64Type};
use arrow_array::{
    Array, ArrayRef, BooleanArray, Float64Array, Int32Array, Int64Array, RecordBatch, StringArray,
    TimestampMicrosecondArray, TimestampSecondArray,
};
use arrow_schema::DataType;
use forebay_core::ErrorKind;
use forebay_core::PortResult;
use forebay_core::ports::{CompiledService, Known, PointInTime};
use forebay_core::progress::{Applied, PartitionProgress, TopicPartition};
use forebay_core::source::{SourceDef, meta};
use forebay_core::time::{SECOND_US, timestamp_type};
use forebay_core::view::Window;

use crate::{MemoryTables, PlainEngine, PlainService, PlainView, column};

/// What the engine under test has to know.
pub const DEFINITIONS: &str = "
CREATE SOURCE taps (k VARCHAR, x DOUBLE, ts TIMESTAMP NOT NULL, WATERMARK FOR ts AS ts)
WITH (connector = 'kafka', topic = 'taps', format = 'json');
CREATE ENTITY one (k VARCHAR);
CREATE FEATURE VIEW counted ENTITY one AS
SELECT k, ts, count(*) OVER (PARTITION BY k ORDER BY ts) AS n,
    sum(x) OVER (PARTITION BY k ORDER BY ts) AS total FROM taps;
CREATE FEATURE SERVICE counts (k VARCHAR) AS
SELECT v.n, v.total FROM request LEFT JOIN counted AS v USING (k);
";

const TIME: &str = "event_time";

/// Key, time in seconds, partition, offset, value.
const EVENTS: [(&str, i64, i32, i64, Option<f64>); 6] = [
    ("a", 10, 0, 0, Some(0.5)),
    ("b", 10, 0, 1, None),
    ("a", 20, 1, 0, Some(1.0)),
    ("a", 30, 0, 2, Some(2.0)),
    // Later in its log than one of a later time.
    ("a", 15, 1, 1, Some(4.0)),
    ("b", 40, 1, 2, Some(8.0)),
];

/// How many events a row sees, none if there is none, and the sum of their values.
type Seen = (Option<i64>, Option<f64>);

const NOTHING: Seen = (None, None);

/// Key and time in seconds of each row, and what it sees.
const SPINE: [(Option<&str>, i64, Seen); 7] = [
    (Some("a"), 30, (Some(4), Some(7.5))),
    (Some("a"), 29, (Some(3), Some(5.5))),
    (Some("b"), 10, (Some(1), None)),
    (Some("b"), 9, NOTHING),
    (Some("nobody"), 99, NOTHING),
    (None, 99, NOTHING),
    (Some("a"), 10, (Some(1), Some(0.5))),
];

/// The engine in memory, which knows what [`DEFINITIONS`] say without a word of SQL.
#[must_use]
pub fn plain_engine() -> PlainEngine {
    let columns = vec![
        column("k", DataType::Utf8, true),
        column("x", DataType::Float64, true),
        column("ts", timestamp_type(), false),
    ];
    let source = Arc::new(SourceDef::json("taps", "taps", columns, 2));
    let view = PlainView::new(1, &source, "k", "x", Window::Lifetime);
    let service: Arc<dyn CompiledService> = Arc::new(PlainService::new("counts", Arc::new(view)));
    PlainEngine::new(vec![source], vec![service])
}

/// Everything that a [`PointInTime`] over [`DEFINITIONS`] promises; `knows_cuts` is whether it
/// answers with [`Known::Applied`].
///
/// # Panics
/// A promise is not kept.
pub async fn point_in_time(engine: &dyn PointInTime, knows_cuts: bool) {
    a_row_for_each_row_of_the_spine_in_its_order(engine).await;
    timestamps_of_any_type_are_instants(engine).await;
    a_spine_without_rows_has_an_answer_without_rows(engine).await;
    what_does_not_fit_is_refused(engine).await;
    if knows_cuts {
        an_event_counts_below_the_cut_of_its_row(engine).await;
    }
}

fn table() -> RecordBatch {
    let of = |columns: [(&'static str, ArrayRef); 7]| RecordBatch::try_from_iter(columns);
    let times = EVENTS.iter().map(|event| event.1 * SECOND_US);
    let columns = of([
        (
            "k",
            Arc::new(StringArray::from_iter_values(
                EVENTS.iter().map(|event| event.0),
            )),
        ),
        (
            "x",
            Arc::new(Float64Array::from_iter(EVENTS.iter().map(|e| e.4))),
        ),
        ("ts", timestamps(times)),
        (
            meta::TOPIC,
            Arc::new(StringArray::from(vec!["taps"; EVENTS.len()])),
        ),
        (
            meta::PARTITION,
            Arc::new(Int32Array::from_iter_values(EVENTS.iter().map(|e| e.2))),
        ),
        (
            meta::OFFSET,
            Arc::new(Int64Array::from_iter_values(EVENTS.iter().map(|e| e.3))),
        ),
        (
            meta::LATE,
            Arc::new(BooleanArray::from(vec![false; EVENTS.len()])),
        ),
    ]);
    columns.expect("columns of one length")
}

fn timestamps(times_us: impl Iterator<Item = i64>) -> ArrayRef {
    Arc::new(TimestampMicrosecondArray::from_iter_values(times_us).with_timezone("UTC"))
}

/// The spine with its times as `times`, and a column that no service knows.
fn spine(times: ArrayRef) -> RecordBatch {
    let keys: StringArray = SPINE.iter().map(|row| row.0).collect();
    let weights = (0_i32..).map(f64::from).take(SPINE.len());
    let columns: [(&str, ArrayRef); 3] = [
        ("weight", Arc::new(Float64Array::from_iter_values(weights))),
        (TIME, times),
        ("k", Arc::new(keys)),
    ];
    let columns = columns
        .into_iter()
        .map(|(name, column)| (name, column, true));
    RecordBatch::try_from_iter_with_nullable(columns).expect("columns of one length")
}

fn whole_spine() -> RecordBatch {
    spine(timestamps(SPINE.iter().map(|row| row.1 * SECOND_US)))
}

async fn ask(
    engine: &dyn PointInTime,
    service: &str,
    spine: &RecordBatch,
    known: Known,
) -> PortResult<RecordBatch> {
    let (older, newer) = (table().slice(0, 2), table().slice(2, EVENTS.len() - 2));
    let tables = MemoryTables::one("taps", vec![older, newer]);
    engine
        .training_set(service, spine.clone(), TIME, &tables, known)
        .await
        .map(|answer| answer.rows)
}

/// What each row of an answer sees; the count of what was not there may be 0 or NULL.
fn seen(answer: &RecordBatch) -> Vec<Seen> {
    let column = |name: &str| answer.column_by_name(name).expect("the feature");
    let counts = column("n").as_primitive::<Int64Type>().iter();
    let counts = counts.map(|count| count.filter(|count| *count > 0));
    let totals = column("total").as_primitive::<Float64Type>().iter();
    counts.zip(totals).collect()
}

fn expected() -> Vec<Seen> {
    SPINE.iter().map(|row| row.2).collect()
}

async fn a_row_for_each_row_of_the_spine_in_its_order(engine: &dyn PointInTime) {
    let spine = whole_spine();
    let answer = ask(engine, "counts", &spine, Known::All).await;
    let answer = answer.expect("answered");
    assert_eq!(
        answer.columns()[..3],
        spine.columns()[..],
        "all of the spine"
    );
    let schema = answer.schema();
    let names: Vec<&str> = schema.fields().iter().map(|f| f.name().as_str()).collect();
    assert_eq!(
        names,
        ["weight", TIME, "k", "n", "total"],
        "then the features"
    );
    assert_eq!(seen(&answer), expected());
}

async fn timestamps_of_any_type_are_instants(engine: &dyn PointInTime) {
    let seconds = TimestampSecondArray::from_iter_values(SPINE.iter().map(|row| row.1));
    let naive = TimestampMicrosecondArray::from_iter_values(SPINE.iter().map(|r| r.1 * SECOND_US));
    let abroad = naive.clone().with_timezone("+02:00");
    let times: [ArrayRef; 3] = [Arc::new(seconds), Arc::new(naive), Arc::new(abroad)];
    for times in times {
        let named = times.data_type().to_string();
        let answer = ask(engine, "counts", &spine(times), Known::All).await;
        assert_eq!(seen(&answer.expect(&named)), expected(), "{named}");
    }
}

async fn a_spine_without_rows_has_an_answer_without_rows(engine: &dyn PointInTime) {
    let none = whole_spine().slice(0, 0);
    let answer = ask(engine, "counts", &none, Known::All).await;
    let answer = answer.expect("answered");
    assert_eq!((answer.num_rows(), answer.num_columns()), (0, 5));
}

async fn what_does_not_fit_is_refused(engine: &dyn PointInTime) {
    let whole = whole_spine();
    let refused = async |service: &str, spine: &RecordBatch| {
        let answer = ask(engine, service, spine, Known::All).await;
        answer.expect_err("it does not fit")
    };
    let unknown = refused("no_such_service", &whole).await;
    assert_eq!(unknown.kind(), ErrorKind::NotFound, "{unknown}");
    let without = |name: &str| {
        let schema = whole.schema();
        let others = (0..3).filter(|index| schema.field(*index).name() != name);
        whole.project(&others.collect::<Vec<_>>()).expect("columns")
    };
    for name in ["k", TIME] {
        let error = refused("counts", &without(name)).await;
        assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error}");
        assert!(error.message().contains(name), "{error}");
    }
    let mut times: Vec<Option<i64>> = SPINE.iter().map(|row| Some(row.1)).collect();
    times[5] = None;
    let times = TimestampSecondArray::from(times);
    let error = refused("counts", &spine(Arc::new(times))).await;
    assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error}");
    assert!(error.message().contains('5'), "it names the row: {error}");
    let schema = whole.schema();
    let names = schema
        .fields()
        .iter()
        .map(|f| f.name().replace("weight", "total"));
    let renamed = names.zip(whole.columns().iter().cloned());
    let renamed = renamed.map(|(name, column)| (name, column, true));
    let collides = RecordBatch::try_from_iter_with_nullable(renamed).expect("columns");
    let error = refused("counts", &collides).await;
    assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error}");
    assert!(error.message().contains("total"), "{error}");
    let nowhere = MemoryTables::default();
    let missing = engine.training_set("counts", whole.clone(), TIME, &nowhere, Known::All);
    let error = missing.await.expect_err("there is no table");
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
    assert!(error.message().contains("taps"), "{error}");
}

async fn an_event_counts_below_the_cut_of_its_row(engine: &dyn PointInTime) {
    let cut = |ends: &[i64]| {
        let progress = |next_offset| PartitionProgress {
            next_offset,
            max_event_time_us: None,
            last: None,
        };
        let places = (0..).map(|partition| TopicPartition::new("taps", partition));
        let ends = places.zip(ends.iter().map(|end| progress(*end)));
        Arc::new(Applied(ends.collect()))
    };
    // A partition that a cut does not name has applied nothing.
    let cuts = vec![cut(&[3, 3]), cut(&[2]), cut(&[]), cut(&[1, 1])];
    let index = vec![vec![0, 3, 1, 0, 0, 0, 2]];
    let known = Known::Applied { cuts, index };
    let answer = ask(engine, "counts", &whole_spine(), known).await;
    let mut expected = [NOTHING; 7];
    expected[0] = (Some(4), Some(7.5));
    expected[1] = (Some(2), Some(1.5));
    expected[2] = (Some(1), None);
    assert_eq!(seen(&answer.expect("answered")), expected);
}
