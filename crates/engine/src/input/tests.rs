//! Casts one by one, and how a thread that fails is reported.
//! Whole spines and tables are tested in `tests/it/inputs.rs`.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, Int32Type, TimestampMicrosecondType};
use arrow_array::{
    ArrayRef, BooleanArray, Date32Array, Float64Array, Int32Array, Int64Array, NullArray,
    StringArray, TimestampMillisecondArray, TimestampNanosecondArray,
};
use arrow_schema::DataType;
use forebay_core::time::timestamp_type;

use super::cast::{conform, micros};
use super::in_background;
use crate::error::EngineError;

#[test]
fn a_cast_that_could_lose_something_is_refused() {
    let float: ArrayRef = Arc::new(Float64Array::from(vec![1.0]));
    let integer: ArrayRef = Arc::new(Int64Array::from(vec![i64::MAX]));
    let text: ArrayRef = Arc::new(StringArray::from(vec!["1"]));
    let boolean: ArrayRef = Arc::new(BooleanArray::from(vec![true]));
    let date: ArrayRef = Arc::new(Date32Array::from(vec![1]));
    for (array, to) in [
        (&float, DataType::Int64),
        (&float, DataType::Utf8),
        (&text, DataType::Float64),
        (&text, timestamp_type()),
        (&boolean, DataType::Int64),
        (&integer, DataType::Boolean),
        (&integer, timestamp_type()),
        (&date, DataType::Utf8),
    ] {
        assert_eq!(
            conform(array, &to).err().as_deref(),
            Some(""),
            "{} to {to}",
            array.data_type()
        );
    }
    let overflow = conform(&integer, &DataType::Int32).expect_err("does not fit");
    assert!(overflow.contains("9223372036854775807"), "{overflow}");
    for (value, fits) in [
        (1_i64 << 53, true),
        (-(1 << 53), true),
        ((1 << 53) + 1, false),
        (i64::MIN, false),
    ] {
        let integer: ArrayRef = Arc::new(Int64Array::from(vec![Some(value), None]));
        let double = conform(&integer, &DataType::Float64);
        let expected = fits.then_some(value as f64);
        let found = double
            .ok()
            .map(|found| found.as_primitive::<Float64Type>().value(0));
        assert_eq!(found, expected, "{value}");
    }
}

#[test]
fn nulls_and_narrower_values_are_taken() {
    let nothing: ArrayRef = Arc::new(NullArray::new(3));
    for to in [
        DataType::Utf8,
        DataType::Int32,
        DataType::Float64,
        DataType::Boolean,
        timestamp_type(),
    ] {
        let array = conform(&nothing, &to).expect("all NULL");
        assert_eq!((array.data_type(), array.null_count()), (&to, 3));
    }
    let wide: ArrayRef = Arc::new(Int64Array::from(vec![Some(-7), None]));
    let narrow = conform(&wide, &DataType::Int32).expect("fits");
    assert_eq!(
        narrow.as_primitive::<Int32Type>(),
        &Int32Array::from(vec![Some(-7), None])
    );
}

#[test]
fn times_round_down_on_both_sides_of_1970() {
    let nanos: ArrayRef = Arc::new(TimestampNanosecondArray::from(vec![
        Some(1_999),
        Some(-1),
        Some(-1_001),
        None,
    ]));
    let times = micros(&nanos).expect("in range");
    assert_eq!(
        times.iter().collect::<Vec<_>>(),
        [Some(1), Some(-1), Some(-2), None]
    );
    let millis: ArrayRef =
        Arc::new(TimestampMillisecondArray::from(vec![2]).with_timezone("America/New_York"));
    let times = conform(&millis, &timestamp_type()).expect("in range");
    assert_eq!(
        (
            times.as_primitive::<TimestampMicrosecondType>().value(0),
            times.data_type()
        ),
        (2_000, &timestamp_type())
    );
}

#[test]
fn a_panic_on_the_thread_is_an_error_here() {
    let answer = futures::executor::block_on(in_background("forebay-test", || Ok(7)));
    assert_eq!(answer.expect("done"), 7);
    let failed = futures::executor::block_on(in_background(
        "forebay-test",
        || -> crate::error::Result<u8> { panic!("on purpose") },
    ));
    assert!(
        matches!(failed, Err(EngineError::Internal(message)) if message.contains("forebay-test"))
    );
}
