//! Arrays: their items side by side, equality, and the array of some values. Two arrays are equal
//! where they have equally many items, equal or both NULL place by place; items are equal by the
//! rules of comparisons (-0.0 is 0.0, NaN is NaN). There is no order of arrays.

use std::ops::Range;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Date32Type, Float64Type, Int32Type, Int64Type, TimestampMicrosecondType};
use arrow_array::{Array, ArrayRef, ListArray, new_empty_array};
use arrow_buffer::{BooleanBuffer, NullBuffer, OffsetBuffer};
use arrow_schema::{DataType, Field};
use arrow_select::interleave::interleave;
use forebay_core::cast::spread;
use forebay_core::exact::canonical;
use forebay_core::{ErrorKind, PortError, PortResult};

use crate::scalar::function::Type;
use crate::scalar::kernel::{Kernel, Operand, RowFaults};

/// The items of an operand of arrays.
#[derive(Debug)]
pub(crate) struct Items<'a> {
    operand: Operand<'a>,
    /// All of them.
    pub(crate) array: ArrayRef,
    places: Vec<Range<usize>>,
}

impl<'a> Items<'a> {
    /// # Errors
    /// The operand has no arrays.
    pub(crate) fn of(operand: Operand<'a>) -> PortResult<Self> {
        let (array, places) = spread(operand.array.as_ref()).ok_or_else(|| {
            let of = operand.array.data_type();
            PortError::internal(format!(
                "an operation on arrays was handed a column of {of}"
            ))
        })?;
        Ok(Self {
            operand,
            array,
            places,
        })
    }

    /// Where the items of `row` lie; None of a NULL.
    pub(crate) fn place(&self, row: usize) -> Option<Range<usize>> {
        let row = self.operand.index(row);
        self.operand
            .array
            .is_valid(row)
            .then(|| self.places[row].clone())
    }
}

/// Whether an item of the one column equals one of the other, neither of them NULL.
pub(crate) type Same<'a> = Box<dyn Fn(usize, usize) -> bool + 'a>;

/// # Errors
/// Columns of different types.
pub(crate) fn same_items<'a>(left: &'a ArrayRef, right: &'a ArrayRef) -> PortResult<Same<'a>> {
    macro_rules! values {
        ($type:ty) => {{
            let (left, right) = (left.as_primitive::<$type>(), right.as_primitive::<$type>());
            Box::new(move |l, r| left.value(l) == right.value(r))
        }};
    }
    Ok(match (left.data_type(), right.data_type()) {
        (DataType::Boolean, DataType::Boolean) => {
            let (left, right) = (left.as_boolean(), right.as_boolean());
            Box::new(move |l, r| left.value(l) == right.value(r))
        }
        (DataType::Int32, DataType::Int32) => values!(Int32Type),
        (DataType::Int64, DataType::Int64) => values!(Int64Type),
        (DataType::Date32, DataType::Date32) => values!(Date32Type),
        (DataType::Timestamp(..), DataType::Timestamp(..)) => values!(TimestampMicrosecondType),
        (DataType::Float64, DataType::Float64) => {
            let left = left.as_primitive::<Float64Type>();
            let right = right.as_primitive::<Float64Type>();
            let bits = |value: f64| canonical(value).to_bits();
            Box::new(move |l, r| bits(left.value(l)) == bits(right.value(r)))
        }
        (DataType::Utf8, DataType::Utf8) => {
            let (left, right) = (left.as_string::<i32>(), right.as_string::<i32>());
            Box::new(move |l, r| left.value(l) == right.value(r))
        }
        (left, right) => {
            return Err(PortError::internal(format!(
                "items of {left} are compared with {right}"
            )));
        }
    })
}

/// Whether the arrays of each row are equal; where one is NULL, anything.
pub(super) fn equal(
    left: Operand<'_>,
    right: Operand<'_>,
    rows: usize,
) -> PortResult<BooleanBuffer> {
    let (left, right) = (Items::of(left)?, Items::of(right)?);
    let same = same_items(&left.array, &right.array)?;
    let item = |l: usize, r: usize| match (left.array.is_null(l), right.array.is_null(r)) {
        (false, false) => same(l, r),
        (l, r) => l && r,
    };
    Ok(BooleanBuffer::collect_bool(rows, |row| {
        match (left.place(row), right.place(row)) {
            (Some(l), Some(r)) => l.len() == r.len() && l.zip(r).all(|(l, r)| item(l, r)),
            _ => false,
        }
    }))
}

/// `rows` arrays of type `of`, each of its row's values of the operands.
///
/// # Errors
/// More items than a column holds.
pub(crate) fn array_of(of: Type, operands: &[Operand<'_>], rows: usize) -> PortResult<ArrayRef> {
    let item = of.item().unwrap_or(of).arrow();
    let failed = |e| PortError::with_source(ErrorKind::Internal, "an array of values", e);
    let arrays: Vec<&dyn Array> = operands.iter().map(|o| o.array.as_ref()).collect();
    let places = (0..rows).flat_map(|row| {
        let place = move |(number, operand): (usize, &Operand<'_>)| (number, operand.index(row));
        operands.iter().enumerate().map(place)
    });
    let items = match arrays.is_empty() {
        true => new_empty_array(&item),
        false => interleave(&arrays, &places.collect::<Vec<_>>()).map_err(failed)?,
    };
    lists_of(&item, items, (0..rows).map(|_| operands.len()), None)
}

/// A column of arrays with these items, so many in each row.
///
/// # Errors
/// More items than a column holds.
pub(crate) fn lists_of(
    item: &DataType,
    items: ArrayRef,
    lengths: impl Iterator<Item = usize>,
    nulls: Option<NullBuffer>,
) -> PortResult<ArrayRef> {
    if i32::try_from(items.len()).is_err() {
        return Err(PortError::new(
            ErrorKind::ResourceExhausted,
            "the arrays of one expression have more than 2^31 items in one batch",
        ));
    }
    let field = Arc::new(Field::new_list_field(item.clone(), true));
    let array = ListArray::try_new(field, OffsetBuffer::from_lengths(lengths), items, nulls);
    let failed = |e| PortError::with_source(ErrorKind::Internal, "a column of arrays", e);
    Ok(Arc::new(array.map_err(failed)?))
}

/// `ARRAY[a, b, ..]`, of items of a type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct MakeArray(pub(crate) Type);

impl Kernel for MakeArray {
    fn run(
        &self,
        operands: &[Operand<'_>],
        rows: usize,
        _: &mut RowFaults,
    ) -> PortResult<ArrayRef> {
        array_of(self.0, operands, rows)
    }
}
