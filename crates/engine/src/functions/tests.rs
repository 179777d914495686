//! The functions as the batch lowering runs them, against plain evaluators written here: exact sums
//! as integers on the grid of the inputs, extrema with NaN and signed zeros, sliding frames against
//! frames computed anew.

use std::sync::Arc;

use arrow_array::{
    Array, ArrayRef, Float64Array, Int32Array, Int64Array, StringArray, TimestampMicrosecondArray,
};
use arrow_schema::{DataType, Field, FieldRef, Schema};
use datafusion::error::DataFusionError;
use datafusion::logical_expr::function::AccumulatorArgs;
use datafusion::logical_expr::{Accumulator, AggregateUDF};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::Column;
use datafusion::scalar::ScalarValue;
use forebay_core::aggregate::{Partial, PartialSpec, RowOrder};
use forebay_core::exact::CANONICAL_NAN;
use forebay_core::value::Value;
use proptest::prelude::*;

use super::frontier::Frontier;
use super::*;

/// A state of `kind` over columns of `types`.
fn spec(kind: AggregateKind, types: &[DataType]) -> PartialSpec {
    PartialSpec {
        class: kind.plan(types).expect("takes the types").class,
        arguments: (0..types.len()).collect(),
        argument_types: types.to_vec(),
        filter: None,
        keep: kind.keep(),
    }
}

/// An accumulator of `name` over columns of `types`; `sliding` for frames that lose rows.
fn accumulator(name: &str, types: &[DataType], sliding: bool) -> Box<dyn Accumulator> {
    let kind = AggregateKind::of(name, false).expect("a function of the table");
    let returned = kind.plan(types).expect("takes the types").data_type;
    let function = WindowAggregate::function(name.into(), kind, &spec(kind, types), &returned);
    assert_eq!(function.return_type(types).expect("its own"), returned);
    made(&function, sliding).expect("an accumulator")
}

fn made(function: &AggregateUDF, sliding: bool) -> Result<Box<dyn Accumulator>, DataFusionError> {
    let field: FieldRef = Arc::new(Field::new("x", DataType::Int64, true));
    let schema = Schema::new(vec![Arc::clone(&field)]);
    let exprs: Vec<Arc<dyn PhysicalExpr>> = vec![Arc::new(Column::new("x", 0))];
    let args = AccumulatorArgs {
        return_field: Arc::clone(&field),
        schema: &schema,
        ignore_nulls: false,
        order_bys: &[],
        is_reversed: false,
        name: "x",
        is_distinct: false,
        exprs: &exprs,
        expr_fields: std::slice::from_ref(&field),
    };
    if sliding {
        function.create_sliding_accumulator(args)
    } else {
        function.accumulator(args)
    }
}

/// A column with the places of its rows behind it, one a microsecond from `from` on.
fn placed(column: ArrayRef, from: usize) -> [ArrayRef; 4] {
    let rows = from as i64..(from + column.len()) as i64;
    let times = TimestampMicrosecondArray::from_iter_values(rows.clone()).with_timezone("UTC");
    [
        column,
        Arc::new(times),
        Arc::new(Int32Array::from_iter_values(rows.clone().map(|_| 0))),
        Arc::new(Int64Array::from_iter_values(rows)),
    ]
}

fn floats(values: &[Option<f64>]) -> ArrayRef {
    Arc::new(Float64Array::from(values.to_vec()))
}

/// The value of `name` over `values`, in batches of `cut`.
fn value(name: &str, values: &[Option<f64>], cut: usize) -> ScalarValue {
    let mut accumulator = accumulator(name, &[DataType::Float64], false);
    for batch in values.chunks(cut.max(1)) {
        let rows = placed(floats(batch), 0);
        accumulator.update_batch(&rows).expect("update");
    }
    accumulator.evaluate().expect("value")
}

fn bits(value: &ScalarValue) -> Option<u64> {
    match value {
        ScalarValue::Float64(value) => value.map(f64::to_bits),
        other => panic!("a DOUBLE, not {other:?}"),
    }
}

#[test]
fn a_name_of_the_table_never_means_a_built_in_function() {
    let session = crate::session::Session::new();
    for kind in AggregateKind::ALL {
        for name in kind.function().names {
            let found = session.aggregate(name).expect("registered");
            assert!(
                format!("{:?}", found.inner()).starts_with("PlannedAggregate"),
                "{name}"
            );
            let is_distinct = kind.function().is_distinct;
            assert_eq!(
                aggregate_kind(found.name(), is_distinct),
                Some(*kind),
                "{name}"
            );
            let error = made(&found, false).expect_err("it plans and does not run");
            assert!(error.to_string().contains("only OVER"), "{error}");
        }
    }
    let other = session
        .aggregate("median")
        .expect("known, to be refused by its name");
    assert_eq!(aggregate_kind(other.name(), false), None);
}

/// The table of `docs/sql.md` has a line for each function, as the function says.
#[test]
fn the_documents_say_what_the_table_says() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/sql.md");
    let page = std::fs::read_to_string(path).expect("docs/sql.md");
    for kind in AggregateKind::ALL {
        let function = kind.function();
        let called = function
            .call
            .split('(')
            .next()
            .expect("a name and its arguments");
        let others = function.names.iter().filter(|name| **name != called);
        let others: Vec<String> = others.map(|name| format!("`{name}`")).collect();
        let others = if others.is_empty() {
            String::new()
        } else {
            format!(" ({})", others.join(", "))
        };
        let (call, takes, gives) = (function.call, function.takes, function.gives);
        let line = format!("| `{call}`{others} | {takes} | {gives} |");
        assert!(page.contains(&line), "docs/sql.md lacks the line\n{line}");
    }
}

#[test]
fn sums_do_not_lose_small_terms_between_large_ones() {
    let values = [
        9_007_199_254_740_992.0,
        1.0,
        1.0,
        -9_007_199_254_740_992.0,
        1e308,
        1e308,
        -1e308,
        -1e308,
    ];
    let values: Vec<Option<f64>> = values.into_iter().map(Some).collect();
    assert_eq!(bits(&value("sum", &values, 3)), Some(2.0_f64.to_bits()));
    assert_eq!(bits(&value("avg", &values, 1)), Some(0.25_f64.to_bits()));
    // 0.1 + 0.2 + 0.3, correctly rounded from the three doubles' exact sum.
    assert_eq!(
        bits(&value("sum", &[Some(0.1), Some(0.2), Some(0.3)], 9)),
        Some(0.6_f64.to_bits())
    );
    // Values around 1e9: the textbook formula loses all digits.
    let shifted: Vec<Option<f64>> = [4.0, 7.0, 13.0, 16.0].map(|v| Some(v + 1e9)).to_vec();
    assert_eq!(bits(&value("var", &shifted, 2)), Some(30.0_f64.to_bits()));
    assert_eq!(
        bits(&value("var_pop", &shifted, 2)),
        Some(22.5_f64.to_bits())
    );
    assert_eq!(
        bits(&value("stddev", &shifted, 2)),
        Some(30.0_f64.sqrt().to_bits())
    );
}

#[test]
fn special_values_and_empty_inputs_have_one_answer() {
    let (nan, inf) = (f64::NAN, f64::INFINITY);
    type Case<'a> = (&'a str, &'a [Option<f64>], Option<f64>);
    let cases: &[Case<'_>] = &[
        ("sum", &[], None),
        ("avg", &[None, None], None),
        ("min", &[None], None),
        ("stddev", &[Some(1.0)], None),
        ("stddev_pop", &[Some(1.0)], Some(0.0)),
        ("sum", &[Some(-0.0), Some(-0.0)], Some(0.0)),
        ("sum", &[Some(inf), Some(1.0)], Some(inf)),
        ("sum", &[Some(inf), Some(-inf)], Some(CANONICAL_NAN)),
        ("avg", &[Some(nan), Some(1.0)], Some(CANONICAL_NAN)),
        ("var_pop", &[Some(inf), Some(1.0)], Some(CANONICAL_NAN)),
        (
            "max",
            &[Some(1.0), Some(nan), Some(inf)],
            Some(CANONICAL_NAN),
        ),
        ("max", &[Some(nan), Some(1.0)], Some(CANONICAL_NAN)),
        ("min", &[Some(nan), Some(inf)], Some(inf)),
        ("min", &[Some(-nan)], Some(CANONICAL_NAN)),
        ("max", &[Some(-inf)], Some(-inf)),
        ("min", &[Some(-0.0), Some(0.0)], Some(0.0)),
        ("max", &[Some(-0.0), None], Some(0.0)),
    ];
    for (name, values, wanted) in cases {
        for cut in 1..=2 {
            assert_eq!(
                bits(&value(name, values, cut)),
                wanted.map(f64::to_bits),
                "{name} of {values:?}"
            );
        }
    }
}

#[test]
fn integers_are_taken_as_they_are() {
    let of = |name: &str, values: Vec<i64>, sliding: bool| {
        let mut accumulator = accumulator(name, &[DataType::Int64], sliding);
        let gone = placed(Arc::new(Int64Array::from(vec![i64::MAX, i64::MIN, 77])), 0);
        if sliding {
            accumulator.update_batch(&gone).expect("update");
        }
        let stays = placed(Arc::new(Int64Array::from(values)), 3);
        accumulator.update_batch(&stays).expect("update");
        if sliding {
            accumulator.retract_batch(&gone).expect("retract");
        }
        accumulator.evaluate().expect("value")
    };
    let int = |value| ScalarValue::Int64(Some(value));
    let double = |value| ScalarValue::Float64(Some(value));
    let large = 9_007_199_254_740_993;
    for sliding in [false, true] {
        assert_eq!(of("sum", vec![3, 1, 2], sliding), int(6));
        assert_eq!(of("min", vec![3, 1, 2], sliding), int(1));
        assert_eq!(of("max", vec![3, 1, 2], sliding), int(3));
        assert_eq!(of("sum", vec![i64::MAX, 1, -5], sliding), int(i64::MAX - 4));
        assert_eq!(
            of("sum", vec![i64::MAX, 1], sliding),
            ScalarValue::Int64(None)
        );
        assert_eq!(of("avg", vec![large, 1 - large], sliding), double(0.5));
        assert_eq!(
            of("stddev", vec![large, large + 4], sliding),
            double(8_f64.sqrt())
        );
        assert_eq!(of("var_pop", vec![large, large + 4], sliding), double(4.0));
    }
    let narrow: ArrayRef = Arc::new(Int32Array::from(vec![i32::MAX, i32::MAX]));
    let mut sum = accumulator("sum", &[DataType::Int32], false);
    sum.update_batch(&placed(narrow, 0)).expect("update");
    assert_eq!(sum.evaluate().expect("value"), int(2 * i64::from(i32::MAX)));
}

#[test]
fn last_value_follows_the_log_and_not_arrival() {
    let mut last = accumulator("last_value", &[DataType::Utf8], true);
    let rows = |values: Vec<Option<&str>>,
                times: Vec<i64>,
                partitions: Vec<i32>,
                offsets: Vec<i64>|
     -> Vec<ArrayRef> {
        vec![
            Arc::new(StringArray::from(values)),
            Arc::new(TimestampMicrosecondArray::from(times).with_timezone("UTC")),
            Arc::new(Int32Array::from(partitions)),
            Arc::new(Int64Array::from(offsets)),
        ]
    };
    let mut of = |entering: Vec<ArrayRef>, leaving: Option<Vec<ArrayRef>>| {
        last.update_batch(&entering).expect("rows");
        if let Some(leaving) = leaving {
            last.retract_batch(&leaving).expect("rows");
        }
        last.evaluate().expect("value")
    };
    assert_eq!(
        of(rows(vec![], vec![], vec![], vec![]), None),
        ScalarValue::Utf8(None)
    );
    let first = rows(
        vec![Some("b"), Some("a"), Some("c")],
        vec![5, 5, 4],
        vec![1, 0, 9],
        vec![0, 7, 9],
    );
    assert_eq!(
        of(first.clone(), None),
        ScalarValue::Utf8(Some("b".into())),
        "the greater partition of one time"
    );
    let newest = rows(vec![None], vec![6], vec![0], vec![1]);
    assert_eq!(
        of(newest, Some(first)),
        ScalarValue::Utf8(None),
        "the newest value is NULL"
    );
}

/// Doubles k * 2^e with small k, so that their sums are exact integers on the grid of 2^-20, and
/// special values.
fn double() -> impl Strategy<Value = Option<f64>> {
    prop_oneof![
        8 => (-1_000_000_i64..1_000_000, 0_i32..40).prop_map(|(k, e)| Some(k as f64 * 2_f64.powi(e - 20))),
        1 => Just(None),
        1 => prop_oneof![Just(-0.0), Just(f64::NAN), Just(f64::INFINITY), Just(f64::NEG_INFINITY)].prop_map(Some),
    ]
}

/// The sum as SQL has it, from an integer sum; None where a special value is in it.
fn integer_sum(values: &[f64]) -> Option<i128> {
    values
        .iter()
        .all(|v| v.is_finite())
        .then(|| values.iter().map(|v| (v * 1_048_576.0) as i128).sum())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn sums_equal_integer_sums_whatever_the_order_and_the_cuts(
        values in prop::collection::vec(double(), 0..40), cut in 1_usize..7,
    ) {
        let present: Vec<f64> = values.iter().flatten().copied().collect();
        let forward = value("sum", &values, cut);
        let backward: Vec<Option<f64>> = values.iter().rev().copied().collect();
        prop_assert_eq!(bits(&forward), bits(&value("sum", &backward, 100)));
        if let Some(sum) = integer_sum(&present).filter(|_| !present.is_empty()) {
            // An i128 converts to the nearest double; dividing by a power of two keeps it.
            prop_assert_eq!(bits(&forward), Some((sum as f64 / 1_048_576.0 + 0.0).to_bits()));
        }
    }

    /// Rows leave each kind of state as its class says; a frame of more than two blocks is turned.
    #[test]
    fn sliding_frames_equal_frames_computed_anew(
        values in prop::collection::vec(double(), 1..40), repeat in 1_usize..8, width in 1_usize..160,
    ) {
        let values = values.repeat(repeat);
        for kind in AggregateKind::ALL {
            let types = vec![DataType::Float64; *kind.function().arguments.end()];
            if kind.plan(&types).is_err() {
                continue;
            }
            let spec = spec(*kind, &types);
            let arguments = |row: usize| vec![values[row].map_or(Value::Null, Value::Float); types.len()];
            let order = |row: usize| RowOrder { time_us: row as i64 / 3, partition: 0, offset: row as i64 };
            let mut sliding = Sliding::new(&spec);
            for row in 0..values.len() {
                sliding.enter(&spec, &arguments(row), order(row));
                let from = (row + 1).saturating_sub(width);
                if from > 0 {
                    sliding.leave(&spec, &arguments(from - 1));
                }
                if row % 7 > 0 && row + 1 < values.len() {
                    continue;
                }
                let mut anew = Partial::new(&spec);
                (from..=row).for_each(|row| anew.update(&arguments(row), order(row)));
                let (got, wanted) = (sliding.evaluate(&spec, *kind), anew.evaluate(*kind));
                let same = match (&got, &wanted) {
                    (Ok(got), Ok(wanted)) => got.same_bits(wanted),
                    (got, wanted) => got == wanted,
                };
                prop_assert!(same, "{kind:?} at {row}: {got:?}, wanted {wanted:?}");
            }
        }
    }

    #[test]
    fn extrema_equal_a_plain_search(values in prop::collection::vec(double(), 1..30)) {
        // NaN is the greatest, zeros have no sign.
        let key = |v: &f64| if v.is_nan() { (1, 0.0) } else { (0, v + 0.0) };
        let less = |a: &f64, b: &f64| key(a).partial_cmp(&key(b)).expect("no NaN in keys");
        let present = || values.iter().flatten();
        let clean = |v: &f64| if v.is_nan() { CANONICAL_NAN.to_bits() } else { (v + 0.0).to_bits() };
        prop_assert_eq!(bits(&value("min", &values, 3)), present().min_by(|a, b| less(a, b)).map(clean));
        prop_assert_eq!(bits(&value("max", &values, 3)), present().max_by(|a, b| less(a, b)).map(clean));
    }
}

#[test]
fn the_frontier_holds_the_best_of_what_is_inside() {
    let mut frontier = Frontier::default();
    let values = [5, 3, 8, 8, 1, 9, 2, 2];
    for (row, value) in values.into_iter().enumerate() {
        frontier.push(value, |newer, older| newer >= older);
        if row >= 3 {
            frontier.pop_oldest(1);
        }
        let from = (row + 1).saturating_sub(3);
        assert_eq!(
            frontier.best(),
            values[from..=row].iter().max(),
            "row {row}"
        );
    }
    let empty: Frontier<i32> = Frontier::default();
    assert_eq!(empty.best(), None);
}
