//! The generated source: its definitions in SQL, its events as batches, spines, and answers as
//! cells. Strategies draw values where mistakes hide: ties, window edges, NaN, zeros of either
//! sign, magnitudes that cancel.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, Int32Type, Int64Type, TimestampMicrosecondType};
use arrow_array::{
    Array, ArrayRef, BooleanArray, Float64Array, Int32Array, Int64Array, RecordBatch, StringArray,
    TimestampMicrosecondArray,
};
use arrow_schema::{DataType, Field, Schema};
use forebay_core::PortError;
use forebay_core::ports::{Known, PointInTime, SpineAnswer};
use forebay_core::source::meta;
use forebay_core::time::SECOND_US;
use forebay_engine::{Catalog, DefinitionFile};
use forebay_testkit::MemoryTables;
use proptest::prelude::*;

use crate::oracle::{Argument, Cell, Condition, Event, Feature, Function, Probe, View};

pub(crate) const TOPIC: &str = "generated";

pub(crate) const SOURCE: &str = "CREATE SOURCE events (
    k VARCHAR, g BIGINT, x DOUBLE, n BIGINT, s VARCHAR, b BOOLEAN, ts TIMESTAMP NOT NULL,
    WATERMARK FOR ts AS ts - INTERVAL '10' SECOND
) WITH (connector = 'kafka', topic = 'generated', format = 'json');
CREATE ENTITY one (k VARCHAR);
CREATE ENTITY two (k VARCHAR, g BIGINT);
";

/// How often a property is tried: PROPTEST_CASES, or fewer times than is usual, because each try
/// plans SQL.
pub(crate) fn config() -> ProptestConfig {
    let cases = if std::env::var_os("PROPTEST_CASES").is_some() {
        ProptestConfig::default().cases
    } else {
        128
    };
    ProptestConfig {
        cases,
        max_shrink_iters: 200,
        ..ProptestConfig::default()
    }
}

/// A catalog of these definitions.
pub(crate) fn catalog(text: &str) -> Catalog {
    let file = DefinitionFile {
        path: "test.sql".to_owned(),
        text: text.to_owned(),
    };
    match Catalog::empty().plan(&[file]) {
        Ok(plan) => plan.catalog,
        Err(error) => panic!("{error}\n{text}"),
    }
}

/// Definitions of `view` and of a service `features` over it alone.
pub(crate) fn definitions(view: &View) -> String {
    let key = if view.composite { "k, g" } else { "k" };
    let mut text = SOURCE.to_owned();
    let entity = if view.composite { "two" } else { "one" };
    text += &format!("CREATE FEATURE VIEW v ENTITY {entity}");
    if let Some(ttl) = view.ttl_us {
        text += &format!(" TTL INTERVAL '{}' SECOND", ttl / SECOND_US);
    }
    text += &format!(" AS SELECT {key}, ts");
    for (number, feature) in view.features.iter().enumerate() {
        let frame = match feature.window_us {
            None => String::new(),
            Some(window) => {
                format!(
                    " RANGE BETWEEN INTERVAL '{}' SECOND PRECEDING AND CURRENT ROW",
                    window / SECOND_US
                )
            }
        };
        text += &format!(
            ",\n {} OVER (PARTITION BY {key} ORDER BY ts{frame}) AS f{number}",
            feature.sql()
        );
    }
    text += " FROM events";
    if view.condition != Condition::Always {
        text += &format!(" WHERE {}", view.condition.sql());
    }
    let names: Vec<String> = (0..view.features.len())
        .map(|number| format!("v.f{number}"))
        .collect();
    text += &format!(
        ";\nCREATE FEATURE SERVICE features (k VARCHAR, g BIGINT) AS SELECT {} FROM request LEFT JOIN v AS v USING ({key});",
        names.join(", ")
    );
    text
}

pub(crate) fn timestamps(values: impl IntoIterator<Item = i64>) -> ArrayRef {
    Arc::new(TimestampMicrosecondArray::from_iter_values(values).with_timezone("UTC"))
}

pub(crate) fn batch(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
    let fields: Vec<Field> = columns
        .iter()
        .map(|(name, array)| Field::new(*name, array.data_type().clone(), true))
        .collect();
    let arrays = columns.into_iter().map(|(_, array)| array).collect();
    RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays).expect("columns of one length")
}

/// The events as the archive has them; without their places as a plain file has them.
pub(crate) fn event_batch(events: &[Event], places: bool) -> RecordBatch {
    let mut columns: Vec<(&str, ArrayRef)> = vec![
        (
            "x",
            Arc::new(events.iter().map(|e| e.x).collect::<Float64Array>()),
        ),
        (
            "k",
            Arc::new(events.iter().map(|e| e.k).collect::<StringArray>()),
        ),
        (
            "n",
            Arc::new(events.iter().map(|e| e.n).collect::<Int64Array>()),
        ),
        (
            "g",
            Arc::new(events.iter().map(|e| e.g).collect::<Int64Array>()),
        ),
        (
            "s",
            Arc::new(events.iter().map(|e| e.s).collect::<StringArray>()),
        ),
        ("ts", timestamps(events.iter().map(|e| e.ts))),
        (
            "b",
            Arc::new(events.iter().map(|e| e.b).collect::<BooleanArray>()),
        ),
    ];
    if places {
        columns.push((
            meta::TOPIC,
            Arc::new(StringArray::from(vec![TOPIC; events.len()])),
        ));
        columns.push((
            meta::PARTITION,
            Arc::new(Int32Array::from_iter_values(
                events.iter().map(|e| e.partition),
            )),
        ));
        columns.push((
            meta::OFFSET,
            Arc::new(Int64Array::from_iter_values(
                events.iter().map(|e| e.offset),
            )),
        ));
        columns.push((
            meta::LATE,
            Arc::new(BooleanArray::from_iter(
                events.iter().map(|e| Some(e.offset % 3 == 0)),
            )),
        ));
    }
    batch(columns)
}

pub(crate) fn spine(probes: &[Probe]) -> RecordBatch {
    batch(vec![
        ("event_time", timestamps(probes.iter().map(|p| p.at))),
        (
            "k",
            Arc::new(probes.iter().map(|p| p.k).collect::<StringArray>()),
        ),
        (
            "g",
            Arc::new(probes.iter().map(|p| p.g).collect::<Int64Array>()),
        ),
    ])
}

/// The events as a table of two batches, or of one empty batch.
pub(crate) fn tables(events: &[Event], places: bool) -> MemoryTables {
    let (older, newer) = events.split_at(events.len() / 3);
    let batches = vec![event_batch(older, places), event_batch(newer, places)];
    MemoryTables::one("events", batches)
}

/// Run an engine to its end.
pub(crate) fn ask(
    engine: &dyn PointInTime,
    service: &str,
    spine: &RecordBatch,
    tables: &MemoryTables,
    known: Known,
) -> Result<RecordBatch, PortError> {
    ask_whole(engine, service, spine, tables, known).map(|answer| answer.rows)
}

/// The same, with what has no value and what is left out.
pub(crate) fn ask_whole(
    engine: &dyn PointInTime,
    service: &str,
    spine: &RecordBatch,
    tables: &MemoryTables,
    known: Known,
) -> Result<SpineAnswer, PortError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime");
    runtime.block_on(engine.training_set(service, spine.clone(), "event_time", tables, known))
}

/// Rows of the columns behind the first `skip`.
pub(crate) fn cells(answer: &RecordBatch, skip: usize) -> Vec<Vec<Cell>> {
    let columns = &answer.columns()[skip..];
    (0..answer.num_rows())
        .map(|row| {
            columns
                .iter()
                .map(|column| cell(column.as_ref(), row))
                .collect()
        })
        .collect()
}

fn cell(array: &dyn Array, row: usize) -> Cell {
    if array.is_null(row) {
        return Cell::Null;
    }
    match array.data_type() {
        DataType::Boolean => Cell::Bool(array.as_boolean().value(row)),
        DataType::Int32 => Cell::Int(i64::from(array.as_primitive::<Int32Type>().value(row))),
        DataType::Int64 => Cell::Int(array.as_primitive::<Int64Type>().value(row)),
        DataType::Float64 => Cell::Float(array.as_primitive::<Float64Type>().value(row)),
        DataType::Utf8 => Cell::Text(array.as_string::<i32>().value(row).to_owned()),
        DataType::Timestamp(..) => {
            Cell::Int(array.as_primitive::<TimestampMicrosecondType>().value(row))
        }
        other => panic!("a feature of type {other}"),
    }
}

fn floats() -> impl Strategy<Value = Option<f64>> {
    let special = prop::sample::select(vec![
        0.0,
        -0.0,
        1.0,
        -1.0,
        0.1,
        1e16,
        -1e16,
        1e308,
        -1e308,
        f64::MAX,
        5e-324,
        -5e-324,
        1e-308,
        f64::INFINITY,
        f64::NEG_INFINITY,
        f64::NAN,
        -f64::NAN,
    ]);
    let small = (-20_i32..20).prop_map(|v| f64::from(v) * 0.1);
    let any = any::<u64>().prop_map(f64::from_bits);
    prop_oneof![
        1 => Just(None),
        5 => small.prop_map(Some),
        2 => special.prop_map(Some),
        1 => any.prop_map(Some),
    ]
}

/// Instants on a coarse grid, so that ties and window edges are common, and one microsecond to
/// either side.
fn instants() -> impl Strategy<Value = i64> {
    (0_i64..30, -1_i64..=1).prop_map(|(second, micro)| second * SECOND_US + micro)
}

prop_compose! {
    fn event()(
        k in prop::sample::select(vec![Some("a"), Some("a"), Some("b"), Some("c"), None]),
        g in prop::option::weighted(0.9, 0_i64..2),
        x in floats(),
        n in prop::option::weighted(0.8, prop_oneof![4 => -3_i64..4, 1 => any::<i64>()]),
        s in prop::sample::select(vec![None, Some(""), Some("a"), Some("b"), Some("ab"), Some("é")]),
        b in prop::option::weighted(0.9, any::<bool>()),
        ts in instants(),
        partition in 0_i32..3,
    ) -> Event {
        Event { k, g, x, n, s, b, ts, partition, offset: 0 }
    }
}

/// Events in the order of arrival, which is not that of time; offsets ascend in each partition and
/// have holes.
pub(crate) fn events(most: usize) -> impl Strategy<Value = Vec<Event>> {
    prop::collection::vec((event(), 1_i64..3), 0..most).prop_map(|drawn| {
        let mut next = [0_i64; 3];
        let place = |(mut event, step): (Event, i64)| {
            let next = &mut next[usize::try_from(event.partition).expect("0 to 2")];
            event.offset = *next;
            *next += step;
            event
        };
        drawn.into_iter().map(place).collect()
    })
}

prop_compose! {
    pub(crate) fn probe()(
        k in prop::sample::select(vec![Some("a"), Some("a"), Some("b"), Some("c"), Some("unknown"), None]),
        g in prop::option::weighted(0.9, 0_i64..2),
        at in prop_oneof![5 => instants(), 1 => Just(100 * SECOND_US), 1 => Just(-SECOND_US)],
    ) -> Probe {
        Probe { k, g, at }
    }
}

fn condition() -> impl Strategy<Value = Condition> {
    prop_oneof![
        4 => Just(Condition::Always),
        1 => Just(Condition::XAboveOne),
        1 => Just(Condition::TextOrNegative),
        1 => Just(Condition::Flag),
        1 => Just(Condition::HasNumber),
    ]
}

fn call() -> impl Strategy<Value = (Function, Argument)> {
    use Argument::{B, N, S, Star, X};
    use Function::{Avg, Count, Last, Max, Min, StddevPop, StddevSamp, Sum, VarPop, VarSamp};
    prop::sample::select(vec![
        (Count, Star),
        (Count, X),
        (Count, S),
        (Sum, X),
        (Sum, N),
        (Avg, X),
        (Min, X),
        (Max, X),
        (Min, N),
        (Max, N),
        (Min, S),
        (Max, S),
        (Max, B),
        (VarPop, X),
        (VarSamp, X),
        (StddevPop, X),
        (StddevSamp, X),
        (Last, X),
        (Last, N),
        (Last, S),
        (Last, B),
    ])
}

prop_compose! {
    fn feature()(
        (function, argument) in call(),
        filter in condition(),
        window_us in prop::sample::select(vec![None, Some(0), Some(SECOND_US), Some(5 * SECOND_US), Some(20 * SECOND_US)]),
    ) -> Feature {
        Feature { function, argument, filter, window_us }
    }
}

prop_compose! {
    pub(crate) fn view()(
        features in prop::collection::vec(feature(), 1..7),
        condition in condition(),
        ttl_us in prop::sample::select(vec![None, None, Some(3 * SECOND_US), Some(20 * SECOND_US)]),
        composite in any::<bool>(),
    ) -> View {
        View { features, condition, ttl_us, composite }
    }
}
