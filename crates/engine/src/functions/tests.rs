//! The functions against plain evaluators written here: exact sums as integers on the grid of the
//! inputs, extrema with NaN and signed zeros, sliding frames against frames computed anew, states
//! that merge to the same bytes.

use std::sync::Arc;

use arrow_array::{
    ArrayRef, Float64Array, Int32Array, Int64Array, StringArray, TimestampMicrosecondArray,
};
use arrow_schema::{DataType, Field, FieldRef, Schema};
use datafusion::logical_expr::function::AccumulatorArgs;
use datafusion::logical_expr::{Accumulator, AggregateUDF};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::Column;
use datafusion::scalar::ScalarValue;
use forebay_core::exact::CANONICAL_NAN;
use proptest::prelude::*;

use super::*;

fn function(name: &str) -> Arc<AggregateUDF> {
    aggregate_functions()
        .into_iter()
        .find(|f| f.name() == name)
        .expect("registered")
}

/// An accumulator of `name` over columns of `types`; `sliding` for window frames.
fn accumulator(name: &str, types: &[DataType], sliding: bool) -> Box<dyn Accumulator> {
    let function = function(name);
    let fields: Vec<FieldRef> = types
        .iter()
        .enumerate()
        .map(|(i, t)| Arc::new(Field::new(format!("c{i}"), t.clone(), true)))
        .collect();
    let schema = Schema::new(fields.clone());
    let exprs: Vec<Arc<dyn PhysicalExpr>> = fields
        .iter()
        .enumerate()
        .map(|(i, f)| Arc::new(Column::new(f.name(), i)) as Arc<dyn PhysicalExpr>)
        .collect();
    let returned = function.return_type(types).expect("takes the types");
    let args = AccumulatorArgs {
        return_field: Arc::new(Field::new("r", returned, true)),
        schema: &schema,
        ignore_nulls: false,
        order_bys: &[],
        is_reversed: false,
        name: "r",
        is_distinct: false,
        exprs: &exprs,
        expr_fields: &fields,
    };
    let made = if sliding {
        function.create_sliding_accumulator(args)
    } else {
        function.accumulator(args)
    };
    made.expect("an accumulator")
}

fn floats(values: &[Option<f64>]) -> ArrayRef {
    Arc::new(Float64Array::from(values.to_vec()))
}

/// The value of `name` over `values`, in batches of `cut`.
fn value(name: &str, values: &[Option<f64>], cut: usize) -> ScalarValue {
    let mut accumulator = accumulator(name, &[DataType::Float64], false);
    for batch in values.chunks(cut.max(1)) {
        accumulator.update_batch(&[floats(batch)]).expect("update");
    }
    accumulator.evaluate().expect("value")
}

fn bits(value: &ScalarValue) -> Option<u64> {
    match value {
        ScalarValue::Float64(value) => value.map(f64::to_bits),
        other => panic!("a DOUBLE, not {other:?}"),
    }
}

const OVERRIDDEN: [&str; 8] = [
    "sum",
    "avg",
    "min",
    "max",
    "var",
    "var_pop",
    "stddev",
    "stddev_pop",
];

#[test]
fn ours_stand_under_the_names_and_aliases_of_the_built_in_ones() {
    let session = crate::session::Session::new();
    let state = session.context(Arc::default()).state();
    for name in OVERRIDDEN
        .into_iter()
        .chain(["var_samp", "stddev_samp", "mean"])
    {
        let registered = &state.aggregate_functions()[name];
        assert!(
            format!("{:?}", registered.inner()).contains("ExactAggregate"),
            "{name} is the built-in one"
        );
    }
    assert!(format!("{:?}", function("count").inner()).starts_with("Count"));
    assert_eq!(state.aggregate_functions()[LAST_VALUE].name(), LAST_VALUE);
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
        let gone: ArrayRef = Arc::new(Int64Array::from(vec![i64::MAX, i64::MIN, 77]));
        if sliding {
            accumulator
                .update_batch(std::slice::from_ref(&gone))
                .expect("update");
        }
        accumulator
            .update_batch(&[Arc::new(Int64Array::from(values))])
            .expect("update");
        if sliding {
            accumulator.retract_batch(&[gone]).expect("retract");
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
    sum.update_batch(&[narrow]).expect("update");
    assert_eq!(sum.evaluate().expect("value"), int(2 * i64::from(i32::MAX)));
}

#[test]
fn a_damaged_state_is_an_error() {
    let mut accumulator = accumulator("sum", &[DataType::Float64], false);
    let state = accumulator.state().expect("of nothing");
    let ScalarValue::Binary(Some(mut bytes)) = state[0].clone() else {
        panic!("bytes")
    };
    bytes.push(7);
    for bytes in [bytes, vec![0xFF], Vec::new()] {
        let array: ArrayRef = Arc::new(arrow_array::BinaryArray::from(vec![bytes.as_slice()]));
        assert!(accumulator.merge_batch(&[array]).is_err(), "{bytes:?}");
    }
}

#[test]
fn last_value_follows_the_log_and_not_arrival() {
    let types = [
        DataType::Utf8,
        forebay_core::time::timestamp_type(),
        DataType::Int32,
        DataType::Int64,
    ];
    let mut last = accumulator(LAST_VALUE, &types, false);
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
    assert_eq!(
        last.evaluate().expect("of nothing"),
        ScalarValue::Utf8(None)
    );
    last.update_batch(&rows(
        vec![Some("b"), Some("a"), Some("c")],
        vec![5, 5, 4],
        vec![1, 0, 9],
        vec![0, 7, 9],
    ))
    .expect("rows");
    assert_eq!(
        last.evaluate().expect("value"),
        ScalarValue::Utf8(Some("b".into())),
        "the greater partition of one time"
    );
    last.update_batch(&rows(vec![None], vec![6], vec![0], vec![1]))
        .expect("rows");
    assert_eq!(
        last.evaluate().expect("value"),
        ScalarValue::Utf8(None),
        "the newest value is NULL"
    );
    // Frames pop the oldest rows.
    last.retract_batch(&rows(
        vec![Some("b"), Some("a")],
        vec![5, 5],
        vec![1, 0],
        vec![0, 7],
    ))
    .expect("rows");
    assert_eq!(last.evaluate().expect("value"), ScalarValue::Utf8(None));
    let plain = accumulator_error();
    assert!(plain.contains("only OVER"), "{plain}");
}

fn accumulator_error() -> String {
    let function = function(LAST_VALUE);
    let fields: Vec<FieldRef> = vec![Arc::new(Field::new("x", DataType::Int64, true))];
    let schema = Schema::new(fields.clone());
    let exprs: Vec<Arc<dyn PhysicalExpr>> = vec![Arc::new(Column::new("x", 0))];
    let args = AccumulatorArgs {
        return_field: Arc::new(Field::new("r", DataType::Int64, true)),
        schema: &schema,
        ignore_nulls: false,
        order_bys: &[],
        is_reversed: false,
        name: "r",
        is_distinct: false,
        exprs: &exprs,
        expr_fields: &fields,
    };
    function
        .accumulator(args)
        .expect_err("one argument is not enough to run")
        .to_string()
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

    #[test]
    fn merged_states_are_the_state_of_all_rows(
        values in prop::collection::vec(double(), 0..30), at in 0_usize..30,
    ) {
        let at = at.min(values.len());
        for name in OVERRIDDEN {
            let part = |rows: &[Option<f64>]| {
                let mut part = accumulator(name, &[DataType::Float64], false);
                part.update_batch(&[floats(rows)]).expect("update");
                part.state().expect("state").remove(0)
            };
            let mut merged = accumulator(name, &[DataType::Float64], false);
            for state in [part(&values[at..]), part(&values[..at])] {
                merged.merge_batch(&[state.to_array().expect("one state")]).expect("merge");
            }
            prop_assert_eq!(merged.state().expect("state").remove(0), part(&values), "{}", name);
            prop_assert_eq!(bits(&merged.evaluate().expect("value")), bits(&value(name, &values, 100)), "{}", name);
        }
    }

    #[test]
    fn sliding_frames_equal_frames_computed_anew(
        values in prop::collection::vec(double(), 1..40), width in 1_usize..9,
    ) {
        for name in OVERRIDDEN {
            let mut sliding = accumulator(name, &[DataType::Float64], true);
            prop_assert!(sliding.supports_retract_batch(), "{}", name);
            for row in 0..values.len() {
                sliding.update_batch(&[floats(&values[row..=row])]).expect("update");
                let from = (row + 1).saturating_sub(width);
                if from > 0 {
                    sliding.retract_batch(&[floats(&values[from - 1..from])]).expect("retract");
                }
                let anew = value(name, &values[from..=row], 100);
                prop_assert_eq!(bits(&sliding.evaluate().expect("value")), bits(&anew), "{} at {}", name, row);
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
