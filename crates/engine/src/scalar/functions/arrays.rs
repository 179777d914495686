//! Arrays: their items by place, how many there are, where a value is among them, and their text.
//! Places count from 1. Items are equal by the rules of comparisons.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, Int64Type};
use arrow_array::{Array, ArrayRef, BooleanArray, Int64Array, UInt64Array};
use arrow_schema::DataType;
use arrow_select::take::take;
use forebay_core::exact::CANONICAL_NAN;
use forebay_core::{ErrorKind, PortError, PortResult};

use super::form::{example, function, takes};
use super::rows::{Bound, TextColumn};
use crate::scalar::casts::Cast;
use crate::scalar::function::{Function, Item, Overload, Reference, Type};
use crate::scalar::kernel::{Kernel, Operand, RowFaults};
use crate::scalar::operators::{Items, nulls_of, same_items};

/// The overloads of a function of an array of each type of items: what follows it, `item` for an
/// item, and what it gives.
macro_rules! of_arrays {
    ($bind:expr, [$($more:tt),*], $result:tt) => {
        &[
            of_arrays!(@one Boolean, $bind, [$($more),*], $result),
            of_arrays!(@one Integer, $bind, [$($more),*], $result),
            of_arrays!(@one BigInt, $bind, [$($more),*], $result),
            of_arrays!(@one Double, $bind, [$($more),*], $result),
            of_arrays!(@one Text, $bind, [$($more),*], $result),
            of_arrays!(@one Date, $bind, [$($more),*], $result),
            of_arrays!(@one Timestamp, $bind, [$($more),*], $result),
        ]
    };
    (@one $item:ident, $bind:expr, [$($more:tt),*], $result:tt) => {
        takes(
            &[Type::List(Item::$item) $(, of_arrays!(@type $item, $more))*],
            of_arrays!(@type $item, $result),
            $bind,
        )
    };
    (@type $item:ident, item) => { Type::$item };
    (@type $item:ident, $of:ident) => { Type::$of };
}

const ELEMENT: &[Overload] = of_arrays!(|_| bound(Element), [BigInt], item);
const CARDINALITY: &[Overload] = of_arrays!(|_| bound(Cardinality), [], BigInt);
const CONTAINS: &[Overload] = of_arrays!(|_| bound(Contains), [item], Boolean);
const POSITION: &[Overload] = of_arrays!(|_| bound(Position), [item], BigInt);
const TO_STRING: [&[Overload]; 2] = [
    of_arrays!(|_| bound(ToString), [Text], Text),
    of_arrays!(|_| bound(ToString), [Text, Text], Text),
];
const TO_STRINGS: &[Overload] = &{
    let [short, long] = TO_STRING;
    let mut all = [short[0]; 14];
    let mut at = 0;
    while at < 7 {
        all[at] = short[at];
        all[at + 7] = long[at];
        at += 1;
    }
    all
};

const EQUALITY: &str = "NaN equals NaN, -0.0 equals 0.0";

pub(super) const FAMILIES: &[(&str, &[Function])] = &[(
    "Arrays",
    &[
        function(
            "array_element",
            "The item at a place, counted from 1; `a[i]` is written for it.",
            ELEMENT,
            Reference::Differs("PostgreSQL's rule: NULL where there is no such place; DuckDB counts places below 0 from the end"),
            &[
                example("array_element(ARRAY['a', 'b'], 2)", "'b'"),
                example("array_element(ARRAY['a', 'b'], 3)", "NULL"),
                example("array_element(ARRAY['a', 'b'], 0)", "NULL"),
                example("array_element(ARRAY['a', NULL], 2)", "NULL"),
            ],
        )
        .null("NULL where an argument is NULL, where the item is, and where there is no such place")
        .float("the item as it is, -0.0 too"),
        function(
            "cardinality",
            "How many items an array has, NULLs too.",
            CARDINALITY,
            Reference::Differs("PostgreSQL's name; DuckDB's is of maps"),
            &[
                example("cardinality(ARRAY['a', NULL])", "2"),
                example("cardinality(ARRAY[0.5])", "1"),
            ],
        )
        .aliases(&["array_length", "list_length"]),
        function(
            "array_contains",
            "Whether an item of the array equals the value.",
            CONTAINS,
            Reference::Differs("arrays are compared with the evaluator of tests/machine"),
            &[
                example("array_contains(ARRAY['a', 'b'], 'b')", "true"),
                example("array_contains(ARRAY['a', NULL], 'b')", "false"),
                example("array_contains(ARRAY['a', NULL], NULL)", "NULL"),
                example("array_contains(ARRAY[0.0], -0.0)", "true"),
            ],
        )
        .aliases(&["list_contains", "array_has", "list_has"])
        .null("NULL where an argument is NULL; items that are NULL equal nothing")
        .float(EQUALITY),
        function(
            "array_position",
            "The first place, counted from 1, whose item equals the value.",
            POSITION,
            Reference::Differs("arrays are compared with the evaluator of tests/machine"),
            &[
                example("array_position(ARRAY['a', 'b', 'b'], 'b')", "2"),
                example("array_position(ARRAY['a', NULL], 'b')", "NULL"),
            ],
        )
        .aliases(&["list_position", "array_indexof"])
        .null("NULL where an argument is NULL, and where no item equals the value; items that are NULL equal nothing")
        .float(EQUALITY),
        function(
            "array_to_string",
            "The items as CAST writes them, with a text between; a third argument stands for NULLs.",
            TO_STRINGS,
            Reference::Differs("PostgreSQL's function; DuckDB's has no text for NULLs"),
            &[
                example("array_to_string(ARRAY['a', NULL, 'b'], ',')", "'a,b'"),
                example("array_to_string(ARRAY['a', NULL], ',', '-')", "'a,-'"),
                example("array_to_string(ARRAY[1, 2], '')", "'12'"),
            ],
        )
        .aliases(&["list_to_string", "array_join"])
        .null("NULL where an argument is NULL; items that are NULL are left out, or are the third argument")
        .float("items as CAST writes them: `NaN`, `inf`, `-0.0`")
        .fault("the text is longer than 1 MiB (`TEXT_MAX_BYTES`)"),
    ],
)];

fn bound(kernel: impl Kernel + 'static) -> Bound {
    Ok(Arc::new(kernel))
}

/// `array_element`.
#[derive(Debug)]
struct Element;

impl Kernel for Element {
    fn run(
        &self,
        operands: &[Operand<'_>],
        rows: usize,
        _: &mut RowFaults,
    ) -> PortResult<ArrayRef> {
        let items = Items::of(operands[0])?;
        let (index, places) = (operands[1], operands[1].array.as_primitive::<Int64Type>());
        let wanted = (0..rows).map(|row| {
            let place = items.place(row)?;
            let number = index.index(row);
            let number = places.is_valid(number).then(|| places.value(number))?;
            let before = usize::try_from(number.checked_sub(1)?).ok()?;
            (before < place.len()).then_some((place.start + before) as u64)
        });
        let wanted: UInt64Array = wanted.collect();
        let failed = |e| PortError::with_source(ErrorKind::Internal, "items of arrays", e);
        let found = take(items.array.as_ref(), &wanted, None).map_err(failed)?;
        Ok(match found.as_primitive_opt::<Float64Type>() {
            Some(floats) => {
                let one_nan = |value: f64| if value.is_nan() { CANONICAL_NAN } else { value };
                Arc::new(floats.unary::<_, Float64Type>(one_nan))
            }
            None => found,
        })
    }
}

/// `cardinality`.
#[derive(Debug)]
struct Cardinality;

impl Kernel for Cardinality {
    fn run(
        &self,
        operands: &[Operand<'_>],
        rows: usize,
        _: &mut RowFaults,
    ) -> PortResult<ArrayRef> {
        let items = Items::of(operands[0])?;
        let count = |row| items.place(row).map(|place| place.len() as i64);
        Ok(Arc::new((0..rows).map(count).collect::<Int64Array>()))
    }
}

/// Of each row without a NULL argument which item of its array, counted from 0, is the first that
/// equals the value; None inside for none.
fn found(operands: &[Operand<'_>], rows: usize) -> PortResult<Vec<Option<Option<usize>>>> {
    let items = Items::of(operands[0])?;
    let sought = operands[1];
    let same = same_items(&items.array, sought.array)?;
    let found = |row: usize| {
        let (mut place, sought) = (items.place(row)?, sought.index(row));
        let start = place.start;
        operands[1].array.is_valid(sought).then(|| {
            let first = place.find(|item| items.array.is_valid(*item) && same(*item, sought));
            first.map(|item| item - start)
        })
    };
    Ok((0..rows).map(found).collect())
}

/// `array_contains`.
#[derive(Debug)]
struct Contains;

impl Kernel for Contains {
    fn run(
        &self,
        operands: &[Operand<'_>],
        rows: usize,
        _: &mut RowFaults,
    ) -> PortResult<ArrayRef> {
        let found = found(operands, rows)?.into_iter();
        let found = found.map(|found| found.map(|place| place.is_some()));
        Ok(Arc::new(found.collect::<BooleanArray>()))
    }
}

/// `array_position`.
#[derive(Debug)]
struct Position;

impl Kernel for Position {
    fn run(
        &self,
        operands: &[Operand<'_>],
        rows: usize,
        _: &mut RowFaults,
    ) -> PortResult<ArrayRef> {
        let found = found(operands, rows)?.into_iter();
        let found = found.map(|found| found.flatten().map(|place| place as i64 + 1));
        Ok(Arc::new(found.collect::<Int64Array>()))
    }
}

/// `array_to_string`.
#[derive(Debug)]
struct ToString;

impl Kernel for ToString {
    fn run(
        &self,
        operands: &[Operand<'_>],
        rows: usize,
        faults: &mut RowFaults,
    ) -> PortResult<ArrayRef> {
        let items = Items::of(operands[0])?;
        let written = as_text(&items.array)?;
        let written = written.as_string::<i32>();
        let nulls = nulls_of(operands, rows);
        let text = |operand: &Operand<'_>, row: usize| {
            operand
                .array
                .as_string::<i32>()
                .value(operand.index(row))
                .to_owned()
        };
        let mut column = TextColumn::new(rows);
        for row in 0..rows {
            let place = items.place(row).unwrap_or_default();
            if nulls.as_ref().is_some_and(|nulls| nulls.is_null(row)) {
                column.push(row, faults, |_| Ok(false))?;
                continue;
            }
            let (between, null) = (
                text(&operands[1], row),
                operands.get(2).map(|operand| text(operand, row)),
            );
            column.push(row, faults, |out| {
                let item = |item: usize| match written.is_null(item) {
                    true => null.as_deref(),
                    false => Some(written.value(item)),
                };
                for (number, item) in place.filter_map(item).enumerate() {
                    if number > 0 {
                        out.put(&between)?;
                    }
                    out.put(item)?;
                }
                Ok(true)
            })?;
        }
        Ok(column.finish())
    }
}

/// Items as CAST writes them.
fn as_text(items: &ArrayRef) -> PortResult<ArrayRef> {
    if *items.data_type() == DataType::Utf8 {
        return Ok(Arc::clone(items));
    }
    let operand = Operand {
        array: items,
        constant: false,
    };
    let cast = Cast {
        to: Type::Text,
        trying: false,
    };
    // What is written as text always has one.
    cast.run(&[operand], items.len(), &mut RowFaults::default())
}
