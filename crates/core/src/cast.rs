//! What a value of one type is in another: the rules by which columns that come from outside are
//! brought to declared types. Records, users' files, spines, requests and pushed rows all go by
//! them, so that equal rows are equal values whichever way they come.
//!
//! | to | from | where the value does not survive |
//! |---|---|---|
//! | any | NULL, a dictionary of what the type takes | - |
//! | VARCHAR | text of any layout | - |
//! | BIGINT, INTEGER | integers | out of range: refused |
//! | DOUBLE | floats, integers | an integer beyond 2^53: refused; in a record the nearest, counted |
//! | BOOLEAN | booleans | - |
//! | DATE | dates; milliseconds that are whole days | outside the years 0001 to 9999, part of a day: refused |
//! | an array | arrays of any layout whose items are taken | as its items; more of them than `ARRAY_MAX_ITEMS`: refused |
//! | TIMESTAMP | timestamps of any unit, dates (midnight in UTC); one without a zone is UTC | finer than a microsecond: dropped, downwards; beyond 64 bits: refused |
//!
//! A value is never made NULL and never clamped.

use std::fmt;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{
    ArrowPrimitiveType, Date32Type, Date64Type, Float16Type, Float32Type, Int8Type, Int16Type,
    Int32Type, Int64Type, TimestampMicrosecondType, TimestampMillisecondType,
    TimestampNanosecondType, TimestampSecondType, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use arrow_array::{
    Array, ArrayRef, Date32Array, Float64Array, ListArray, PrimitiveArray, StringArray,
    new_null_array,
};
use arrow_buffer::OffsetBuffer;
use arrow_schema::{DataType, FieldRef, TimeUnit};
use arrow_select::take::take;

use crate::date;
use crate::limits::ARRAY_MAX_ITEMS;
use crate::source::EpochUnit;
use crate::time::{DAY_US, Micros};

/// Why a column is none of a type. Its text is the end of a sentence that names both types: nothing
/// where no value of the one type is one of the other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Misfit {
    /// The types.
    Type,
    /// A value, in words.
    Value(String),
}

impl fmt::Display for Misfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Type => Ok(()),
            Self::Value(words) => write!(f, "; {words}"),
        }
    }
}

/// Whether a DOUBLE holds the integer and its neighbours. Beyond 2^53 only some integers are
/// doubles, and whether one is would depend on luck.
#[must_use]
pub fn is_exact(value: i128) -> bool {
    value.unsigned_abs() <= 1 << f64::MANTISSA_DIGITS
}

/// The unit of a timestamp.
#[must_use]
pub fn epoch_unit(unit: TimeUnit) -> EpochUnit {
    match unit {
        TimeUnit::Second => EpochUnit::Seconds,
        TimeUnit::Millisecond => EpochUnit::Millis,
        TimeUnit::Microsecond => EpochUnit::Micros,
        TimeUnit::Nanosecond => EpochUnit::Nanos,
    }
}

/// `array` as `to`, a type that columns of sources and requests have.
///
/// # Errors
/// The types do not fit, or a value does not survive.
pub fn conform(array: &ArrayRef, to: &DataType) -> Result<ArrayRef, Misfit> {
    let from = array.data_type();
    // Arrow has more days than there are dates.
    if from == to && *to != DataType::Date32 {
        return Ok(Arc::clone(array));
    }
    match (from, to) {
        (DataType::Null, _) => Ok(new_null_array(to, array.len())),
        (DataType::Dictionary(..), _) => {
            let dictionary = array.as_any_dictionary();
            let plain = take(dictionary.values(), dictionary.keys(), None);
            conform(&plain.map_err(|e| Misfit::Value(e.to_string()))?, to)
        }
        (DataType::LargeUtf8, DataType::Utf8) => text(array.as_string::<i64>().iter()),
        (DataType::Utf8View, DataType::Utf8) => text(array.as_string_view().iter()),
        (_, DataType::Int64) => integers::<Int64Type>(array),
        (_, DataType::Int32) => integers::<Int32Type>(array),
        (_, DataType::Float64) => doubles(array),
        (_, DataType::Date32) => dates(array).map(|dates| Arc::new(dates) as ArrayRef),
        (_, DataType::Timestamp(TimeUnit::Microsecond, _)) => {
            let times = moments(array)?.with_data_type(to.clone());
            Ok(Arc::new(times))
        }
        (_, DataType::List(item)) => list(array, item),
        _ => Err(Misfit::Type),
    }
}

/// An array's items side by side, and where the items of each row lie.
pub type Spread = (ArrayRef, Vec<std::ops::Range<usize>>);

/// The items of a column of arrays, whatever its layout; of NULL none. None of another column.
#[must_use]
pub fn spread(array: &dyn Array) -> Option<Spread> {
    let rows = 0..array.len();
    macro_rules! of_list {
        ($offset:ty) => {{
            let list = array.as_list::<$offset>();
            // An offset was counted in memory.
            let at = |row: usize| list.value_offsets()[row] as usize;
            let places = rows.map(|row| match list.is_null(row) {
                true => 0..0,
                false => at(row)..at(row + 1),
            });
            (Arc::clone(list.values()), places.collect())
        }};
    }
    Some(match array.data_type() {
        DataType::List(_) => of_list!(i32),
        DataType::LargeList(_) => of_list!(i64),
        DataType::FixedSizeList(_, size) => {
            let list = array.as_fixed_size_list();
            let size = usize::try_from(*size).ok()?;
            let places = rows.map(|row| match list.is_null(row) {
                true => 0..0,
                false => row * size..(row + 1) * size,
            });
            (Arc::clone(list.values()), places.collect())
        }
        _ => return None,
    })
}

/// The words for an array of `items` items, which are too many.
#[must_use]
pub fn too_many_items(items: usize) -> Option<String> {
    (items > ARRAY_MAX_ITEMS).then(|| {
        format!("an array of {items} items, more than {ARRAY_MAX_ITEMS} (ARRAY_MAX_ITEMS)")
    })
}

/// Arrays in the one layout: items under a NULL are left out.
fn list(array: &ArrayRef, item: &FieldRef) -> Result<ArrayRef, Misfit> {
    let (items, places) = spread(array.as_ref()).ok_or(Misfit::Type)?;
    if let Some(words) = places.iter().find_map(|place| too_many_items(place.len())) {
        return Err(Misfit::Value(words));
    }
    let failed = |error: arrow_schema::ArrowError| Misfit::Value(error.to_string());
    let kept: Vec<u64> = places
        .iter()
        .cloned()
        .flatten()
        .map(|at| at as u64)
        .collect();
    let kept = take(items.as_ref(), &arrow_array::UInt64Array::from(kept), None);
    let items = conform(&kept.map_err(failed)?, item.data_type())?;
    let total = i32::try_from(items.len());
    total.map_err(|_| Misfit::Value("more than 2^31 items in one column".to_owned()))?;
    let offsets = OffsetBuffer::from_lengths(places.into_iter().map(|place| place.len()));
    let array = ListArray::try_new(
        FieldRef::clone(item),
        offsets,
        items,
        array.nulls().cloned(),
    );
    Ok(Arc::new(array.map_err(failed)?))
}

/// Texts in the one layout.
fn text<'a>(texts: impl Iterator<Item = Option<&'a str>> + Clone) -> Result<ArrayRef, Misfit> {
    let bytes: usize = texts.clone().flatten().map(str::len).sum();
    // Their ends are counted in 32 bits.
    if i32::try_from(bytes).is_err() {
        let words = format!("its texts have {bytes} bytes together, more than a column takes");
        return Err(Misfit::Value(words));
    }
    Ok(Arc::new(texts.collect::<StringArray>()))
}

/// Calls `$function` for the type of an array of integers.
macro_rules! of_integers {
    ($array:expr, $function:ident $(, $more:ty)?) => {
        match $array.data_type() {
            DataType::Int8 => $function::<Int8Type $(, $more)?>($array),
            DataType::Int16 => $function::<Int16Type $(, $more)?>($array),
            DataType::Int32 => $function::<Int32Type $(, $more)?>($array),
            DataType::Int64 => $function::<Int64Type $(, $more)?>($array),
            DataType::UInt8 => $function::<UInt8Type $(, $more)?>($array),
            DataType::UInt16 => $function::<UInt16Type $(, $more)?>($array),
            DataType::UInt32 => $function::<UInt32Type $(, $more)?>($array),
            DataType::UInt64 => $function::<UInt64Type $(, $more)?>($array),
            _ => Err(Misfit::Type),
        }
    };
}

fn integers<To>(array: &ArrayRef) -> Result<ArrayRef, Misfit>
where
    To: ArrowPrimitiveType,
    To::Native: TryFrom<i128>,
{
    of_integers!(array, in_range, To)
}

fn in_range<From, To>(array: &ArrayRef) -> Result<ArrayRef, Misfit>
where
    From: ArrowPrimitiveType,
    From::Native: Into<i128>,
    To: ArrowPrimitiveType,
    To::Native: TryFrom<i128>,
{
    let integers: PrimitiveArray<To> = array.as_primitive::<From>().try_unary(|value| {
        let value: i128 = value.into();
        To::Native::try_from(value).map_err(|_| {
            let bits = size_of::<To::Native>() * 8;
            Misfit::Value(format!("{value} does not fit in {bits} bits"))
        })
    })?;
    Ok(Arc::new(integers))
}

fn doubles(array: &ArrayRef) -> Result<ArrayRef, Misfit> {
    let floats: Float64Array = match array.data_type() {
        DataType::Float16 => array.as_primitive::<Float16Type>().unary(f64::from),
        DataType::Float32 => array.as_primitive::<Float32Type>().unary(f64::from),
        _ => return of_integers!(array, exact_doubles),
    };
    Ok(Arc::new(floats))
}

fn exact_doubles<From>(array: &ArrayRef) -> Result<ArrayRef, Misfit>
where
    From: ArrowPrimitiveType,
    From::Native: Into<i128>,
{
    let doubles: Float64Array = array.as_primitive::<From>().try_unary(|value| {
        let value: i128 = value.into();
        is_exact(value).then_some(value as f64).ok_or_else(|| {
            Misfit::Value(format!(
                "{value} is a value that a DOUBLE cannot hold exactly"
            ))
        })
    })?;
    Ok(Arc::new(doubles))
}

/// Days, and milliseconds that are whole days, as days.
fn dates(array: &ArrayRef) -> Result<Date32Array, Misfit> {
    match array.data_type() {
        DataType::Date32 => array
            .as_primitive::<Date32Type>()
            .try_unary(|day| day_of(day.into())),
        DataType::Date64 => array.as_primitive::<Date64Type>().try_unary(|ms| {
            whole_day(ms).map_or_else(
                || Err(Misfit::Value(format!("date {ms} ms is no whole day"))),
                day_of,
            )
        }),
        _ => Err(Misfit::Type),
    }
}

/// The day that begins so many milliseconds after 1970; None within a day.
#[must_use]
pub fn whole_day(millis: i64) -> Option<i64> {
    const DAY_MS: i64 = DAY_US / 1_000;
    (millis % DAY_MS == 0).then_some(millis / DAY_MS)
}

fn day_of(day: i64) -> Result<i32, Misfit> {
    date::of_days(day)
        .ok_or_else(|| Misfit::Value(format!("day {day} is outside the years 0001 to 9999")))
}

/// Timestamps of any unit, and dates, as microseconds in UTC.
///
/// # Errors
/// It has other values, or one beyond 64 bits.
pub fn moments(array: &ArrayRef) -> Result<PrimitiveArray<TimestampMicrosecondType>, Misfit> {
    let DataType::Timestamp(unit, _) = array.data_type() else {
        let DataType::Date32 = array.data_type() else {
            return Err(Misfit::Type);
        };
        return array.as_primitive::<Date32Type>().try_unary(|day| {
            let midnight = i64::from(day).checked_mul(DAY_US);
            midnight.ok_or_else(|| beyond(&format!("day {day}")))
        });
    };
    match unit {
        TimeUnit::Second => counted::<TimestampSecondType>(array, *unit),
        TimeUnit::Millisecond => counted::<TimestampMillisecondType>(array, *unit),
        TimeUnit::Microsecond => counted::<TimestampMicrosecondType>(array, *unit),
        TimeUnit::Nanosecond => counted::<TimestampNanosecondType>(array, *unit),
    }
}

fn counted<From: ArrowPrimitiveType<Native = Micros>>(
    array: &ArrayRef,
    unit: TimeUnit,
) -> Result<PrimitiveArray<TimestampMicrosecondType>, Misfit> {
    let unit = epoch_unit(unit);
    array.as_primitive::<From>().try_unary(|count| {
        let moment = unit.moment(count).map(|(moment, _)| moment);
        moment.ok_or_else(|| beyond(&format!("timestamp {count}")))
    })
}

fn beyond(what: &str) -> Misfit {
    Misfit::Value(format!("{what} is out of range in microseconds"))
}

#[cfg(test)]
mod tests {
    use arrow_array::{
        BooleanArray, Date64Array, DictionaryArray, Float32Array, Int8Array, Int32Array,
        Int64Array, LargeStringArray, NullArray, StringViewArray, TimestampMicrosecondArray,
        TimestampNanosecondArray, TimestampSecondArray, UInt64Array,
    };

    use super::*;
    use crate::time::timestamp_type;

    fn array(array: impl Array + 'static) -> ArrayRef {
        Arc::new(array)
    }

    fn times(values: Vec<Option<i64>>) -> ArrayRef {
        array(TimestampMicrosecondArray::from(values).with_timezone("UTC"))
    }

    #[test]
    fn what_survives_is_taken() {
        let words = || array(StringArray::from(vec![Some("a"), None]));
        let doubles = |values: Vec<Option<f64>>| array(Float64Array::from(values));
        let dictionary: DictionaryArray<Int8Type> = vec![Some("a"), None].into_iter().collect();
        let some = Some(1_i64 << 53);
        for (from, expected) in [
            (array(NullArray::new(2)), times(vec![None, None])),
            (array(dictionary), words()),
            (
                array(LargeStringArray::from(vec![Some("a"), None])),
                words(),
            ),
            (array(StringViewArray::from(vec![Some("a"), None])), words()),
            (
                array(Int8Array::from(vec![Some(-3), None])),
                array(Int64Array::from(vec![Some(-3), None])),
            ),
            (
                array(UInt64Array::from(vec![7])),
                array(Int32Array::from(vec![7])),
            ),
            (
                array(Float32Array::from(vec![0.1])),
                doubles(vec![Some(f64::from(0.1_f32))]),
            ),
            (
                array(Int64Array::from(vec![some, None])),
                doubles(vec![some.map(|v| v as f64), None]),
            ),
            (
                array(Date32Array::from(vec![-1])),
                times(vec![Some(-DAY_US)]),
            ),
            (
                array(Date64Array::from(vec![Some(-86_400_000), None])),
                array(Date32Array::from(vec![Some(-1), None])),
            ),
            (
                array(Date32Array::from(vec![2_932_896])),
                array(Date32Array::from(vec![2_932_896])),
            ),
            (
                array(TimestampSecondArray::from(vec![7])),
                times(vec![Some(7_000_000)]),
            ),
            (
                array(TimestampNanosecondArray::from(vec![
                    Some(1_999),
                    Some(-1),
                    Some(-1_001),
                    None,
                ])),
                times(vec![Some(1), Some(-1), Some(-2), None]),
            ),
            (
                array(TimestampNanosecondArray::from(vec![-5_000]).with_timezone("+02:00")),
                times(vec![Some(-5)]),
            ),
        ] {
            let found = conform(&from, expected.data_type());
            assert_eq!(found.as_ref(), Ok(&expected), "{}", from.data_type());
        }
    }

    #[test]
    fn what_does_not_survive_is_refused_and_never_clamped() {
        let float = array(Float64Array::from(vec![1.0]));
        let integer = array(Int64Array::from(vec![i64::MAX]));
        let text = array(StringArray::from(vec!["1"]));
        let boolean = array(BooleanArray::from(vec![true]));
        let date = array(Date32Array::from(vec![1]));
        for (from, to) in [
            (&float, DataType::Int64),
            (&float, DataType::Utf8),
            (&text, DataType::Float64),
            (&text, timestamp_type()),
            (&boolean, DataType::Int64),
            (&integer, DataType::Boolean),
            (&integer, timestamp_type()),
            (&date, DataType::Utf8),
            (&text, DataType::Date32),
            (&integer, DataType::Date32),
            (&times(vec![Some(0)]), DataType::Date32),
        ] {
            assert_eq!(
                conform(from, &to),
                Err(Misfit::Type),
                "{} to {to}",
                from.data_type()
            );
        }
        let beyond = array(Int64Array::from(vec![(1 << 53) + 1]));
        let lucky = array(Int64Array::from(vec![i64::MIN]));
        let late = array(TimestampSecondArray::from(vec![i64::MAX]));
        for (from, to, words) in [
            (
                &integer,
                DataType::Int32,
                "9223372036854775807 does not fit in 32 bits",
            ),
            (
                &array(UInt64Array::from(vec![u64::MAX])),
                DataType::Int64,
                "does not fit in 64 bits",
            ),
            (&beyond, DataType::Float64, "a DOUBLE cannot hold exactly"),
            (&lucky, DataType::Float64, "a DOUBLE cannot hold exactly"),
            (&late, timestamp_type(), "out of range in microseconds"),
            (
                &array(Date32Array::from(vec![i32::MAX])),
                timestamp_type(),
                "day 2147483647",
            ),
            (
                &array(Date32Array::from(vec![2_932_897])),
                DataType::Date32,
                "day 2932897 is outside the years 0001 to 9999",
            ),
            (
                &array(Date64Array::from(vec![86_400_001])),
                DataType::Date32,
                "no whole day",
            ),
        ] {
            let misfit = conform(from, &to).expect_err(words).to_string();
            assert!(
                misfit.starts_with("; ") && misfit.contains(words),
                "{misfit}"
            );
        }
    }
}
