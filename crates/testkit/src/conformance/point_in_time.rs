//! What training sets and verification rely on when they ask for values as of given instants: one
//! row for each row of the spine, in its order, whatever its timestamps are declared as, with the
//! events that were known by then and no others.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_array::{
    Array, ArrayRef, BooleanArray, Float64Array, Int32Array, Int64Array, RecordBatch, StringArray,
    TimestampMicrosecondArray, TimestampSecondArray,
};
use forebay_core::ErrorKind;
use forebay_core::PortResult;
use forebay_core::ports::{Known, PointInTime};
use forebay_core::progress::{Applied, PartitionProgress, TopicPartition};
use forebay_core::source::meta;
use forebay_core::time::SECOND_US;

use crate::MemoryTables;

/// What the engine under test has to know.
pub const DEFINITIONS: &str = "
CREATE SOURCE taps (k VARCHAR, ts TIMESTAMP NOT NULL, WATERMARK FOR ts AS ts)
WITH (connector = 'kafka', topic = 'taps', format = 'json');
CREATE ENTITY one (k VARCHAR);
CREATE FEATURE VIEW counted ENTITY one AS
SELECT k, ts, count(*) OVER (PARTITION BY k ORDER BY ts) AS taps FROM taps;
CREATE FEATURE SERVICE counts (k VARCHAR) AS
SELECT v.taps FROM request LEFT JOIN counted AS v USING (k);
";

const TIME: &str = "event_time";

/// Key, time in seconds, partition, offset.
const EVENTS: [(&str, i64, i32, i64); 6] = [
    ("a", 10, 0, 0),
    ("b", 10, 0, 1),
    ("a", 20, 1, 0),
    ("a", 30, 0, 2),
    // Later in its log than one of a later time.
    ("a", 15, 1, 1),
    ("b", 40, 1, 2),
];

/// Key and time in seconds of each row, and how many events it sees.
const SPINE: [(Option<&str>, i64, Option<i64>); 7] = [
    (Some("a"), 30, Some(4)),
    (Some("a"), 29, Some(3)),
    (Some("b"), 10, Some(1)),
    (Some("b"), 9, None),
    (Some("nobody"), 99, None),
    (None, 99, None),
    (Some("a"), 10, Some(1)),
];

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
    let of = |columns: [(&'static str, ArrayRef); 6]| RecordBatch::try_from_iter(columns);
    let times = EVENTS.iter().map(|event| event.1 * SECOND_US);
    let columns = of([
        (
            "k",
            Arc::new(StringArray::from_iter_values(
                EVENTS.iter().map(|event| event.0),
            )),
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
}

/// The counts of an answer; one that was not there may be 0 or NULL.
fn counts(answer: &RecordBatch) -> Vec<Option<i64>> {
    let column = answer.column_by_name("taps").expect("the feature");
    let counts = column.as_primitive::<Int64Type>().iter();
    counts
        .map(|count| count.filter(|count| *count > 0))
        .collect()
}

fn expected() -> Vec<Option<i64>> {
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
    assert_eq!(names, ["weight", TIME, "k", "taps"], "then the features");
    assert_eq!(counts(&answer), expected());
}

async fn timestamps_of_any_type_are_instants(engine: &dyn PointInTime) {
    let seconds = TimestampSecondArray::from_iter_values(SPINE.iter().map(|row| row.1));
    let naive = TimestampMicrosecondArray::from_iter_values(SPINE.iter().map(|r| r.1 * SECOND_US));
    let abroad = naive.clone().with_timezone("+02:00");
    let times: [ArrayRef; 3] = [Arc::new(seconds), Arc::new(naive), Arc::new(abroad)];
    for times in times {
        let named = times.data_type().to_string();
        let answer = ask(engine, "counts", &spine(times), Known::All).await;
        assert_eq!(counts(&answer.expect(&named)), expected(), "{named}");
    }
}

async fn a_spine_without_rows_has_an_answer_without_rows(engine: &dyn PointInTime) {
    let none = whole_spine().slice(0, 0);
    let answer = ask(engine, "counts", &none, Known::All).await;
    let answer = answer.expect("answered");
    assert_eq!((answer.num_rows(), answer.num_columns()), (0, 4));
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
        .map(|f| f.name().replace("weight", "taps"));
    let renamed = names.zip(whole.columns().iter().cloned());
    let renamed = renamed.map(|(name, column)| (name, column, true));
    let collides = RecordBatch::try_from_iter_with_nullable(renamed).expect("columns");
    let error = refused("counts", &collides).await;
    assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error}");
    assert!(error.message().contains("taps"), "{error}");
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
    let expected = [Some(4), Some(2), Some(1), None, None, None, None];
    assert_eq!(counts(&answer.expect("answered")), expected);
}
