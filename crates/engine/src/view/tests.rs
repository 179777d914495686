//! Views: what each text compiles to, what folding and finishing give on small batches, and the
//! exact words of refusals.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, Int32Type, Int64Type, TimestampMicrosecondType};
use arrow_array::{
    Array, ArrayRef, BooleanArray, Float64Array, Int32Array, Int64Array, RecordBatch, StringArray,
    TimestampMicrosecondArray, new_null_array,
};
use arrow_schema::DataType;
use forebay_core::aggregate::{AggregateKind, PartialClass, PartialSpec};
use forebay_core::fault::FaultKind;
use forebay_core::limits::VIEW_MAX_FEATURES;
use forebay_core::ports::CompiledView;
use forebay_core::time::{DAY_US, HOUR_US, MINUTE_US, timestamp_type};
use forebay_core::view::Window;
use proptest::prelude::*;

use crate::catalog::{Catalog, DefinitionFile};
use crate::error::Result;
use crate::view::View;

mod accepted;
mod aggregates;
mod refusals;
mod windows;

const BASE: &str = "
CREATE SOURCE events (
    k VARCHAR, n BIGINT, x DOUBLE, flag BOOLEAN, small INTEGER, note VARCHAR, other VARCHAR, ts TIMESTAMP NOT NULL,
    WATERMARK FOR ts AS ts
) WITH (connector = 'kafka');
CREATE SOURCE elsewhere (k VARCHAR, at TIMESTAMP NOT NULL, WATERMARK FOR at AS at) WITH (connector = 'kafka');
CREATE ENTITY e (k VARCHAR);
CREATE ENTITY pair (k VARCHAR, n BIGINT);
CREATE ENTITY number (k BIGINT);
";
const HOUR: &str =
    "(PARTITION BY k ORDER BY ts RANGE BETWEEN INTERVAL '1' HOUR PRECEDING AND CURRENT ROW)";
const EVER: &str = "(PARTITION BY k ORDER BY ts)";

/// `v` as the view of entity `e` (with what else stands before AS) that `select` says. `{h}` and
/// `{e}` are windows.
fn try_view(head: &str, select: &str) -> Result<Arc<View>> {
    let select = select.replace("{h}", HOUR).replace("{e}", EVER);
    let files = [
        DefinitionFile {
            path: "base.sql".into(),
            text: BASE.into(),
        },
        DefinitionFile {
            path: "v.sql".into(),
            text: format!("CREATE FEATURE VIEW v ENTITY {head} AS\n{select}"),
        },
    ];
    let plan = Catalog::empty().plan(&files)?;
    Ok(Arc::clone(
        plan.catalog.view("v").expect("it was just made"),
    ))
}

fn view(select: &str) -> Arc<View> {
    try_view("e", select).unwrap_or_else(|e| panic!("{select}: {e}"))
}

/// Four events: keys a, b, NULL, a; the second without x, the third false.
fn events() -> RecordBatch {
    let source = Catalog::empty()
        .plan(&[DefinitionFile {
            path: "base.sql".into(),
            text: BASE.into(),
        }])
        .expect("well formed")
        .catalog
        .sources()["events"]
        .schema();
    let columns: Vec<ArrayRef> = vec![
        Arc::new(StringArray::from(vec![
            Some("a"),
            Some("b"),
            None,
            Some("a"),
        ])),
        Arc::new(Int64Array::from(vec![Some(1), Some(2), Some(3), None])),
        Arc::new(Float64Array::from(vec![
            Some(0.5),
            None,
            Some(1.5),
            Some(2.5),
        ])),
        Arc::new(BooleanArray::from(vec![
            Some(true),
            None,
            Some(false),
            Some(true),
        ])),
        Arc::new(Int32Array::from(vec![7, 8, 9, 10])),
        Arc::new(StringArray::from(vec!["p", "q", "r", "s"])),
        Arc::new(StringArray::from(vec!["p", "q", "r", "s"])),
        Arc::new(TimestampMicrosecondArray::from(vec![10, 20, 30, 40]).with_timezone("UTC")),
    ];
    RecordBatch::try_new(source, columns).expect("as declared")
}

#[test]
fn states_arguments_and_filters_are_kept_once() {
    let view = view(
        "SELECT k, ts, count(*) OVER {h} AS c, count(*) FILTER (WHERE x > 1) OVER {h} AS c1, avg(x) OVER {h} AS a,
                sum(x) OVER {e} AS s, stddev(x) OVER {h} AS d, var_pop(x) FILTER (WHERE x > 1) OVER {h} AS v,
                sum(n) OVER {h} AS sn, avg(n) OVER {h} AS an, avg(x) OVER {h} + 1 AS a1
         FROM events",
    );
    let spec = view.spec();
    assert_eq!(spec.arguments, [DataType::Float64, DataType::Int64]);
    assert_eq!(spec.filters, 1);
    let partial = |class, argument: Option<usize>, filter| PartialSpec {
        class,
        arguments: argument.into_iter().collect(),
        argument_types: argument
            .map(|i| spec.arguments[i].clone())
            .into_iter()
            .collect(),
        filter,
        keep: None,
    };
    assert_eq!(
        spec.partials,
        [
            partial(PartialClass::Count, None, None),
            partial(PartialClass::Count, None, Some(0)),
            partial(PartialClass::FloatSum, Some(0), None),
            partial(PartialClass::FloatMoments, Some(0), None),
            partial(PartialClass::FloatMoments, Some(0), Some(0)),
            partial(PartialClass::IntSum, Some(1), None),
        ]
    );
    let hour = Window::Range {
        preceding_us: HOUR_US,
    };
    let aggregates: Vec<_> = spec
        .aggregates
        .iter()
        .map(|a| (a.name.as_str(), a.kind, a.partial, a.window))
        .collect();
    assert_eq!(
        aggregates,
        [
            ("c", AggregateKind::Count, 0, hour),
            ("c1", AggregateKind::Count, 1, hour),
            ("a", AggregateKind::Avg, 2, hour),
            ("s", AggregateKind::Sum, 2, Window::Lifetime),
            ("d", AggregateKind::StddevSamp, 3, hour),
            ("v", AggregateKind::VarPop, 4, hour),
            ("sn", AggregateKind::Sum, 5, hour),
            ("an", AggregateKind::Avg, 5, hour),
        ]
    );
    let features = view.features();
    let names: Vec<_> = features
        .fields()
        .iter()
        .map(|f| f.name().as_str())
        .collect();
    assert_eq!(names, ["c", "c1", "a", "s", "d", "v", "sn", "an", "a1"]);
    assert_eq!(spec.lateness_us(0), None);
}

#[test]
fn frames_are_exact_spans_of_event_time() {
    let window = |frame: &str| {
        let view = view(&format!(
            "SELECT count(*) OVER (PARTITION BY k ORDER BY ts {frame}) AS c FROM events"
        ));
        view.spec().aggregates[0].window
    };
    let range = |preceding_us| Window::Range { preceding_us };
    assert_eq!(
        window("RANGE BETWEEN INTERVAL '90' MINUTE PRECEDING AND CURRENT ROW"),
        range(90 * MINUTE_US)
    );
    assert_eq!(
        window("RANGE INTERVAL '2 days 1 hour' PRECEDING"),
        range(2 * DAY_US + HOUR_US)
    );
    assert_eq!(
        window("RANGE BETWEEN '10 minutes' PRECEDING AND CURRENT ROW"),
        range(10 * MINUTE_US)
    );
    assert_eq!(
        window("RANGE BETWEEN INTERVAL '1' MICROSECOND PRECEDING AND CURRENT ROW"),
        range(1)
    );
    assert_eq!(
        window("RANGE BETWEEN CURRENT ROW AND CURRENT ROW"),
        range(0)
    );
    assert_eq!(
        window("RANGE BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW"),
        Window::Lifetime
    );
    assert_eq!(window(""), Window::Lifetime);
    let view = view("SELECT count(*) OVER w AS c, max(x) OVER w AS m FROM events WINDOW w AS {h}");
    assert_eq!(view.spec().aggregates.len(), 2);
}

#[test]
fn a_fold_keeps_the_rows_that_count() {
    let view = view(
        "SELECT sum(n) FILTER (WHERE flag) OVER {h} AS s, max(x + 1) OVER {h} AS m FROM events WHERE n IS NOT NULL OR \
         small = 10",
    );
    let folded = view.fold(&events()).expect("folds");
    assert_eq!(
        folded.source_rows,
        [0, 1, 3],
        "the row without a key is left out"
    );
    assert_eq!(
        folded.keys[0]
            .as_string::<i32>()
            .iter()
            .flatten()
            .collect::<Vec<_>>(),
        ["a", "b", "a"]
    );
    assert_eq!(folded.times.values(), &[10, 20, 40]);
    assert_eq!(
        folded.arguments[0]
            .as_primitive::<Int64Type>()
            .iter()
            .collect::<Vec<_>>(),
        [Some(1), Some(2), None]
    );
    let plus_one = folded.arguments[1].as_primitive::<Float64Type>();
    assert_eq!(
        plus_one.iter().collect::<Vec<_>>(),
        [Some(1.5), None, Some(3.5)]
    );
    assert_eq!(
        folded.filters[0].iter().collect::<Vec<_>>(),
        [Some(true), None, Some(true)]
    );

    let none = self::view("SELECT count(*) OVER {h} AS c FROM events WHERE x > 100")
        .fold(&events())
        .expect("folds");
    assert!(none.source_rows.is_empty() && none.keys[0].is_empty() && none.times.is_empty());
    let empty = view.fold(&events().slice(0, 0)).expect("folds");
    assert!(empty.source_rows.is_empty() && empty.arguments[1].is_empty());
}

#[test]
fn where_is_applied_before_arguments_are_computed() {
    let view = view("SELECT sum(100 / n) OVER {h} AS s FROM events WHERE n <> 2 AND n IS NOT NULL");
    let zero: ArrayRef = Arc::new(Int64Array::from(vec![Some(4), Some(2), Some(3), None]));
    let mut columns = events().columns().to_vec();
    columns[1] = zero;
    let batch = RecordBatch::try_new(events().schema(), columns).expect("as declared");
    let folded = view.fold(&batch).expect("no division by zero is reached");
    assert_eq!(
        folded.arguments[0].as_primitive::<Int64Type>().values(),
        &[25]
    );
    let division = self::view("SELECT sum(100 / (n - 1)) OVER {h} AS s FROM events");
    let folded = division.fold(&events()).expect("a row fails alone");
    assert_eq!(folded.source_rows, [1, 3]);
    let left_out: Vec<_> = folded
        .left_out
        .iter()
        .map(|fault| (fault.row, fault.kind, fault.what.as_ref()))
        .collect();
    assert_eq!(left_out, [(0, FaultKind::Division, "100 / (n - 1)")]);
}

#[test]
fn columns_pass_without_a_copy_where_all_rows_count() {
    let view = view(
        "SELECT sum(x) OVER {h} AS s, last_value(note) OVER {e} AS l FROM events WHERE small > 0",
    );
    let batch = events().slice(0, 2);
    let folded = view.fold(&batch).expect("folds");
    assert_eq!(folded.source_rows, [0, 1]);
    assert!(
        Arc::ptr_eq(&folded.arguments[0], batch.column(2))
            && Arc::ptr_eq(&folded.keys[0], batch.column(0))
    );
    assert!(Arc::ptr_eq(&folded.arguments[1], batch.column(5)));
}

#[test]
fn archived_rows_fold_whatever_the_order_of_their_columns() {
    let view = view("SELECT sum(x) OVER {h} AS s FROM events");
    let batch = events();
    let reversed: Vec<usize> = (0..batch.num_columns()).rev().collect();
    let folded = view
        .fold(&batch.project(&reversed).expect("columns"))
        .expect("folds");
    assert_eq!(folded.times.values(), &[10, 20, 40]);
    let missing = view
        .fold(&batch.project(&[0, 1]).expect("columns"))
        .expect_err("no x");
    assert_eq!(missing.to_string(), "column x of source events is missing");
    let mut columns = batch.columns().to_vec();
    columns.swap(1, 2);
    let schema = batch
        .project(&[0, 2, 1, 3, 4, 5, 6, 7])
        .expect("columns")
        .schema();
    let fields: Vec<_> = schema
        .fields()
        .iter()
        .zip(batch.schema().fields())
        .map(|(field, name)| field.as_ref().clone().with_name(name.name()))
        .collect();
    let mistyped = RecordBatch::try_new(Arc::new(arrow_schema::Schema::new(fields)), columns)
        .expect("consistent");
    let error = view.fold(&mistyped).expect_err("x is BIGINT");
    assert_eq!(
        error.to_string(),
        "column x of source events is Float64, not Int64"
    );
}

#[test]
fn features_are_expressions_over_aggregates_the_key_and_the_moment() {
    let view = view(
        "SELECT CAST(count(*) FILTER (WHERE flag) OVER {h} AS DOUBLE) / nullif(count(*) OVER {h}, 0) AS share,
                coalesce(max(x) OVER {h}, -1) AS top, upper(k) AS name, CAST(date_part('hour', ts) AS INTEGER) AS hour,
                ts AS as_of, count(*) OVER {h} AS c
         FROM events",
    );
    let types: Vec<_> = view
        .features()
        .fields()
        .iter()
        .map(|f| f.data_type().clone())
        .collect();
    assert_eq!(
        types,
        [
            DataType::Float64,
            DataType::Float64,
            DataType::Utf8,
            DataType::Int32,
            timestamp_type(),
            DataType::Int64
        ]
    );
    assert_eq!(view.spec().aggregates.len(), 3, "count(*) is read once");
    let keys: Vec<ArrayRef> = vec![Arc::new(StringArray::from(vec!["a", "b"]))];
    let at = TimestampMicrosecondArray::from(vec![3 * HOUR_US, -HOUR_US]);
    let aggregates: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from(vec![1, 0])),
        Arc::new(Int64Array::from(vec![4, 0])),
        Arc::new(Float64Array::from(vec![Some(2.5), None])),
    ];
    let features = view.finish(&keys, &at, &aggregates.clone().into());
    let features = features.expect("finishes").columns;
    assert_eq!(
        features[0]
            .as_primitive::<Float64Type>()
            .iter()
            .collect::<Vec<_>>(),
        [Some(0.25), None]
    );
    assert_eq!(
        features[1].as_primitive::<Float64Type>().values(),
        &[2.5, -1.0]
    );
    assert_eq!(
        features[2]
            .as_string::<i32>()
            .iter()
            .flatten()
            .collect::<Vec<_>>(),
        ["A", "B"]
    );
    assert_eq!(features[3].as_primitive::<Int32Type>().values(), &[3, 23]);
    assert_eq!(features[4].data_type(), &timestamp_type());
    assert!(Arc::ptr_eq(&features[5], &aggregates[1]));
    let empty: Vec<ArrayRef> = aggregates.iter().map(|a| a.slice(0, 0)).collect();
    let nothing = view.finish(&[keys[0].slice(0, 0)], &at.slice(0, 0), &empty.into());
    let columns = nothing.expect("finishes").columns;
    assert!(columns.iter().all(|array| array.is_empty()));
}

#[test]
fn every_argument_type_has_its_state_and_its_result() {
    let view = view(
        "SELECT min(note) OVER {h} AS t, max(small) OVER {h} AS i, min(flag) OVER {h} AS b, last_value(ts) OVER {e} AS \
         l,
                sum(small) OVER {h} AS si, count(x) OVER {h} AS cx, count(ts - ts) OVER {h} AS cd
         FROM events",
    );
    let types: Vec<_> = view
        .features()
        .fields()
        .iter()
        .map(|f| f.data_type().clone())
        .collect();
    let (int, time) = (DataType::Int64, timestamp_type());
    assert_eq!(
        types,
        [
            DataType::Utf8,
            DataType::Int32,
            DataType::Boolean,
            time,
            int.clone(),
            int.clone(),
            int
        ]
    );
}

#[test]
fn a_derived_table_may_rename_the_key_and_prepare_columns() {
    let view = view(
        "SELECT k, avg(late) OVER (PARTITION BY k ORDER BY t RANGE BETWEEN INTERVAL '1' HOUR PRECEDING AND CURRENT \
         ROW) AS a
         FROM (SELECT other AS k, ts AS t, x - 1 AS late, note FROM events WHERE n > 0) AS d WHERE note <> 'q'",
    );
    assert_eq!(view.key_columns(), [6], "column `other` of the source");
    let folded = view.fold(&events()).expect("folds");
    assert_eq!(folded.source_rows, [0, 2]);
    assert_eq!(
        folded.keys[0]
            .as_string::<i32>()
            .iter()
            .flatten()
            .collect::<Vec<_>>(),
        ["p", "r"]
    );
    assert_eq!(
        folded.arguments[0].as_primitive::<Float64Type>().values(),
        &[-0.5, 0.5]
    );
    let with = self::view(
        "WITH d AS (SELECT k, ts, n + 1 AS m FROM events) SELECT max(m) OVER {e} AS m FROM d AS dd",
    );
    assert_eq!(with.spec().arguments, [DataType::Int64]);
}

#[test]
fn keys_of_several_columns_are_in_the_order_of_the_entity() {
    let view = try_view(
        "pair TTL INTERVAL '2' DAY",
        "SELECT count(*) OVER (PARTITION BY n, k ORDER BY ts RANGE INTERVAL '1' HOUR PRECEDING) AS c FROM events",
    )
    .expect("any order of PARTITION BY");
    let names: Vec<_> = view.spec().key.iter().map(|c| c.name.as_str()).collect();
    assert_eq!(
        (names.as_slice(), view.key_columns()),
        (["k", "n"].as_slice(), [0, 1].as_slice())
    );
    assert_eq!(
        (view.spec().ttl_us, view.spec().lateness_us(0)),
        (Some(2 * DAY_US), Some(2 * DAY_US))
    );
    assert_eq!(
        view.fold(&events()).expect("folds").source_rows,
        [0, 1],
        "a NULL in any part is no key"
    );
}

#[test]
fn types_of_sql_are_ours_in_literals_and_casts() {
    let view = view(
        "SELECT count(*) OVER {h} AS c, max(CAST('1970-01-01 00:00:01' AS TIMESTAMP)) OVER {h} AS t,
                last_value(substr(note, 1, 1) || CAST(n AS VARCHAR)) OVER {e} AS l
         FROM events WHERE ts > TIMESTAMP '1970-01-01 00:00:00.000010' AND ts < '1970-01-01T00:00:00.00004Z'",
    );
    let folded = view.fold(&events()).expect("folds");
    assert_eq!(
        folded.source_rows,
        [1],
        "both bounds are microseconds in UTC"
    );
    assert_eq!(
        folded.arguments[0]
            .as_primitive::<TimestampMicrosecondType>()
            .values(),
        &[1_000_000]
    );
    assert_eq!(folded.arguments[1].as_string::<i32>().value(0), "q2");
    assert_eq!(view.spec().arguments, [timestamp_type(), DataType::Utf8]);
}

#[test]
fn an_inner_where_guards_an_outer_one() {
    let view = view(
        "SELECT count(*) OVER {h} AS c FROM (SELECT * FROM events WHERE n <> 1) AS d WHERE 100 / (n - 1) > 60",
    );
    assert_eq!(
        view.fold(&events())
            .expect("1 - 1 is not divided by")
            .source_rows,
        [1]
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn folds_equal_a_loop_over_rows(
        rows in prop::collection::vec(
            (prop::option::of("[ab]"), prop::option::of(-3_i64..3), prop::option::of(-2.0..2.0)), 0..70,
        ),
    ) {
        thread_local! {
            static VIEW: Arc<View> =
                view("SELECT sum(n * 2) FILTER (WHERE x > 0) OVER {h} AS s FROM events WHERE x < 1 OR n = 0");
        }
        let blank = new_null_array(&DataType::Utf8, rows.len());
        let columns: Vec<ArrayRef> = vec![
            Arc::new(rows.iter().map(|row| row.0.as_deref()).collect::<StringArray>()),
            Arc::new(rows.iter().map(|row| row.1).collect::<Int64Array>()),
            Arc::new(rows.iter().map(|row| row.2).collect::<Float64Array>()),
            new_null_array(&DataType::Boolean, rows.len()),
            new_null_array(&DataType::Int32, rows.len()),
            Arc::clone(&blank),
            blank,
            Arc::new(TimestampMicrosecondArray::from_iter_values(0..rows.len() as i64).with_timezone("UTC")),
        ];
        let batch = RecordBatch::try_new(events().schema(), columns).expect("as declared");
        let folded = VIEW.with(|view| view.fold(&batch)).expect("folds");
        // OR is true where one side is, whatever the other.
        let passes = |(k, n, x): &&(Option<String>, Option<i64>, Option<f64>)| {
            k.is_some() && (x.is_some_and(|x| x < 1.0) || *n == Some(0))
        };
        let wanted: Vec<u32> = (0..).zip(&rows).filter(|(_, row)| passes(row)).map(|(i, _)| i).collect();
        prop_assert_eq!(&folded.source_rows, &wanted);
        let doubled: Vec<Option<i64>> = rows.iter().filter(passes).map(|row| row.1.map(|n| n * 2)).collect();
        prop_assert_eq!(folded.arguments[0].as_primitive::<Int64Type>().iter().collect::<Vec<_>>(), doubled);
        let positive: Vec<Option<bool>> = rows.iter().filter(passes).map(|row| row.2.map(|x| x > 0.0)).collect();
        prop_assert_eq!(folded.filters[0].iter().collect::<Vec<_>>(), positive);
        let times: Vec<i64> = wanted.iter().map(|row| i64::from(*row)).collect();
        prop_assert_eq!(folded.times.values().to_vec(), times);
    }
}

#[test]
fn features_of_one_view_are_limited() {
    let with = |features: usize| {
        let features = (0..features).map(|i| format!("sum(x) OVER {{e}} + {i} AS f{i}"));
        let features: Vec<String> = features.collect();
        try_view("e", &format!("SELECT {} FROM events", features.join(", "))).map(|_| ())
    };
    with(VIEW_MAX_FEATURES).expect("as many as allowed");
    let error = with(VIEW_MAX_FEATURES + 1).expect_err("too many");
    assert!(error.to_string().contains("VIEW_MAX_FEATURES"), "{error}");
}

#[test]
fn a_chain_of_operators_at_the_cap_is_planned_and_run() {
    let chain = vec!["x"; 257].join(" + ");
    let view = view(&format!("SELECT max({chain}) OVER {{h}} AS m FROM events"));
    let folded = view.fold(&events()).expect("folds");
    assert_eq!(
        folded.arguments[0].as_primitive::<Float64Type>().value(0),
        0.5 * 257.0
    );
}
