//! Kernels that compute row by row, for the families: a function of one row's arguments becomes a
//! kernel over columns here. NULL arguments give NULL before the function is asked, a fault goes to
//! its row, DOUBLE results have one NaN, and a text is written through [`TextOut`], which ends it
//! at `TEXT_MAX_BYTES`. Nothing here knows a function.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use arrow_array::builder::{
    BooleanBuilder, Date32Builder, DurationMicrosecondBuilder, Float64Builder, Int64Builder,
    IntervalMonthDayNanoBuilder, StringBuilder, TimestampMicrosecondBuilder,
};
use arrow_array::types::IntervalMonthDayNano;
use arrow_array::{
    Array, ArrayRef, BooleanArray, Date32Array, DurationMicrosecondArray, Float64Array, Int64Array,
    IntervalMonthDayNanoArray, StringArray, TimestampMicrosecondArray, new_null_array,
};
use forebay_core::exact::CANONICAL_NAN;
use forebay_core::fault::FaultKind;
use forebay_core::limits::TEXT_MAX_BYTES;
use forebay_core::time::timestamp_type;
use forebay_core::{ErrorKind, PortError, PortResult};

use crate::scalar::function::Type;
use crate::scalar::kernel::{Kernel, Operand, RowFaults};

/// What `bind` gives.
pub(super) type Bound = Result<Arc<dyn Kernel>, String>;

/// The value of one row; None is NULL.
pub(super) type Row<T> = Result<Option<T>, FaultKind>;

/// Bytes of text that one column of Arrow's 32-bit offsets holds.
const COLUMN_MAX_BYTES: usize = i32::MAX as usize;

/// An argument whose value the kernel was bound to: its column is not looked at.
pub(super) struct Fixed;
pub(super) struct Bool;
pub(super) struct Int;
pub(super) struct Float;
pub(super) struct Text;
pub(super) struct Day;
pub(super) struct Time;
pub(super) struct Span;
pub(super) struct Interval;

/// A class of arguments.
pub(super) trait Given: 'static {
    type Item<'a>;
    type Column<'a>;

    fn column<'a>(operand: Operand<'a>) -> PortResult<Self::Column<'a>>;

    /// None is NULL.
    fn item<'a>(column: &Self::Column<'a>, row: usize) -> Option<Self::Item<'a>>;
}

impl Given for Fixed {
    type Item<'a> = ();
    type Column<'a> = ();

    fn column<'a>(_: Operand<'a>) -> PortResult<Self::Column<'a>> {
        Ok(())
    }

    fn item<'a>((): &Self::Column<'a>, _: usize) -> Option<Self::Item<'a>> {
        Some(())
    }
}

/// A column of a known type, or one value of it for all rows.
pub(super) struct Typed<'a, A> {
    array: &'a A,
    constant: bool,
}

impl<'a, A: Array + 'static> Typed<'a, A> {
    fn of(operand: Operand<'a>) -> PortResult<Self> {
        let array = operand.array.as_any().downcast_ref().ok_or_else(|| {
            let given = operand.array.data_type();
            PortError::new(
                ErrorKind::Internal,
                format!("a scalar function was handed a column of {given}"),
            )
        })?;
        let constant = operand.constant;
        Ok(Self { array, constant })
    }

    fn index(&self, row: usize) -> Option<usize> {
        let index = if self.constant { 0 } else { row };
        (!self.array.is_null(index)).then_some(index)
    }
}

macro_rules! given {
    ($class:ident, $array:ty, $item:ty) => {
        impl Given for $class {
            type Item<'a> = $item;
            type Column<'a> = Typed<'a, $array>;

            fn column<'a>(operand: Operand<'a>) -> PortResult<Self::Column<'a>> {
                Typed::of(operand)
            }

            fn item<'a>(column: &Self::Column<'a>, row: usize) -> Option<Self::Item<'a>> {
                column.index(row).map(|index| column.array.value(index))
            }
        }
    };
}

given!(Bool, BooleanArray, bool);
given!(Int, Int64Array, i64);
given!(Float, Float64Array, f64);
given!(Text, StringArray, &'a str);
given!(Day, Date32Array, i32);
given!(Time, TimestampMicrosecondArray, i64);
given!(Span, DurationMicrosecondArray, i64);
given!(Interval, IntervalMonthDayNanoArray, IntervalMonthDayNano);

/// Classes of all arguments of a function.
pub(super) trait Arguments: 'static {
    type Items<'a>;
    type Columns<'a>;

    fn columns<'a>(operands: &[Operand<'a>]) -> PortResult<Self::Columns<'a>>;

    /// None where one of them is NULL.
    fn items<'a>(columns: &Self::Columns<'a>, row: usize) -> Option<Self::Items<'a>>;
}

macro_rules! arguments {
    ($($class:ident $column:ident),*) => {
        impl<$($class: Given),*> Arguments for ($($class,)*) {
            type Items<'a> = ($($class::Item<'a>,)*);
            type Columns<'a> = ($($class::Column<'a>,)*);

            fn columns<'a>(operands: &[Operand<'a>]) -> PortResult<Self::Columns<'a>> {
                let [$($column),*] = operands else {
                    return Err(PortError::new(
                        ErrorKind::Internal,
                        format!("a scalar function was handed {} arguments", operands.len()),
                    ));
                };
                Ok(($($class::column(*$column)?,)*))
            }

            fn items<'a>(columns: &Self::Columns<'a>, row: usize) -> Option<Self::Items<'a>> {
                let ($($column,)*) = columns;
                Some(($($class::item($column, row)?,)*))
            }
        }
    };
}

impl Arguments for () {
    type Items<'a> = ();
    type Columns<'a> = ();

    fn columns<'a>(_: &[Operand<'a>]) -> PortResult<Self::Columns<'a>> {
        Ok(())
    }

    fn items<'a>((): &Self::Columns<'a>, _: usize) -> Option<Self::Items<'a>> {
        Some(())
    }
}

arguments!(A a);
arguments!(A a, B b);
arguments!(A a, B b, C c);
arguments!(A a, B b, C c, D d);
arguments!(A a, B b, C c, D d, E e);
arguments!(A a, B b, C c, D d, E e, F f);

/// A class of results other than text.
pub(super) trait Made: 'static {
    type Item;
    type Sink;

    fn sink(rows: usize) -> Self::Sink;
    fn push(sink: &mut Self::Sink, item: Option<Self::Item>);
    fn finish(sink: Self::Sink) -> ArrayRef;
}

macro_rules! made {
    ($class:ident, $builder:ident, $item:ty, $made:expr, $sink:expr) => {
        impl Made for $class {
            type Item = $item;
            type Sink = $builder;

            fn sink(rows: usize) -> $builder {
                let sink: fn($builder) -> $builder = $sink;
                sink($builder::with_capacity(rows))
            }

            fn push(sink: &mut $builder, item: Option<$item>) {
                let made: fn($item) -> $item = $made;
                sink.append_option(item.map(made));
            }

            fn finish(mut sink: $builder) -> ArrayRef {
                Arc::new(sink.finish())
            }
        }
    };
}

made!(Bool, BooleanBuilder, bool, |value| value, |sink| sink);
made!(Int, Int64Builder, i64, |value| value, |sink| sink);
made!(Float, Float64Builder, f64, one_nan, |sink| sink);
made!(Day, Date32Builder, i32, |value| value, |sink| sink);
made!(
    Time,
    TimestampMicrosecondBuilder,
    i64,
    |value| value,
    |sink| sink.with_data_type(timestamp_type())
);
made!(
    Span,
    DurationMicrosecondBuilder,
    i64,
    |value| value,
    |sink| sink
);
made!(
    Interval,
    IntervalMonthDayNanoBuilder,
    IntervalMonthDayNano,
    |value| value,
    |sink| sink
);

fn one_nan(value: f64) -> f64 {
    if value.is_nan() { CANONICAL_NAN } else { value }
}

/// The kernel that asks `value` for each row without a NULL argument.
pub(super) fn values<A, R, V>(value: V) -> Bound
where
    A: Arguments,
    R: Made,
    V: for<'a> Fn(A::Items<'a>) -> Row<R::Item> + Send + Sync + 'static,
{
    Ok(Arc::new(Values::<A, R, V> {
        value,
        classes: PhantomData,
    }))
}

struct Values<A, R, V> {
    value: V,
    classes: PhantomData<fn() -> (A, R)>,
}

impl<A, R, V> fmt::Debug for Values<A, R, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(std::any::type_name::<V>())
    }
}

impl<A, R, V> Kernel for Values<A, R, V>
where
    A: Arguments,
    R: Made,
    V: for<'a> Fn(A::Items<'a>) -> Row<R::Item> + Send + Sync + 'static,
{
    fn run(
        &self,
        operands: &[Operand<'_>],
        rows: usize,
        faults: &mut RowFaults,
    ) -> PortResult<ArrayRef> {
        let columns = A::columns(operands)?;
        let mut sink = R::sink(rows);
        for row in 0..rows {
            let item = match A::items(&columns, row).map(&self.value) {
                None => None,
                Some(Ok(item)) => item,
                Some(Err(kind)) => {
                    faults.push(row, kind);
                    None
                }
            };
            R::push(&mut sink, item);
        }
        Ok(R::finish(sink))
    }
}

/// The text of one row while it is written: never longer than `TEXT_MAX_BYTES`.
#[derive(Debug, Default)]
pub(super) struct TextOut(String);

impl TextOut {
    /// Write `text` behind what is there. True, so that a function can end with it: the row has a
    /// value.
    pub(super) fn put(&mut self, text: &str) -> Result<bool, FaultKind> {
        if text.len() > TEXT_MAX_BYTES - self.0.len() {
            return Err(FaultKind::Range);
        }
        self.0.push_str(text);
        Ok(true)
    }

    /// The same of one character.
    pub(super) fn put_char(&mut self, char: char) -> Result<bool, FaultKind> {
        self.put(char.encode_utf8(&mut [0; 4]))
    }

    /// What is written so far.
    #[cfg(test)]
    pub(super) fn text(&self) -> &str {
        &self.0
    }

    /// The same of what formats itself.
    pub(super) fn put_fmt(&mut self, arguments: fmt::Arguments<'_>) -> Result<bool, FaultKind> {
        match arguments.as_str() {
            Some(text) => self.put(text),
            None => self.put(&arguments.to_string()),
        }
    }
}

/// The texts of a column while it is written.
pub(super) struct TextColumn {
    column: StringBuilder,
    out: TextOut,
}

impl TextColumn {
    pub(super) fn new(rows: usize) -> Self {
        Self {
            column: StringBuilder::with_capacity(rows, 0),
            out: TextOut::default(),
        }
    }

    /// The value of `row`, as `write` writes it; NULL where it gives false.
    pub(super) fn push(
        &mut self,
        row: usize,
        faults: &mut RowFaults,
        write: impl FnOnce(&mut TextOut) -> Result<bool, FaultKind>,
    ) -> PortResult<()> {
        self.out.0.clear();
        match write(&mut self.out) {
            Ok(true) => {
                if self.column.values_slice().len() + self.out.0.len() > COLUMN_MAX_BYTES {
                    return Err(PortError::new(
                        ErrorKind::ResourceExhausted,
                        "the texts of one expression are longer than 2 GiB in one batch",
                    ));
                }
                self.column.append_value(&self.out.0);
            }
            Ok(false) => self.column.append_null(),
            Err(kind) => {
                faults.push(row, kind);
                self.column.append_null();
            }
        }
        Ok(())
    }

    pub(super) fn finish(mut self) -> ArrayRef {
        Arc::new(self.column.finish())
    }
}

/// The kernel that has `write` write the text of each row without a NULL argument; false is NULL.
pub(super) fn texts<A, W>(write: W) -> Bound
where
    A: Arguments,
    W: for<'a> Fn(A::Items<'a>, &mut TextOut) -> Result<bool, FaultKind> + Send + Sync + 'static,
{
    Ok(Arc::new(Texts::<A, W> {
        write,
        classes: PhantomData,
    }))
}

struct Texts<A, W> {
    write: W,
    classes: PhantomData<fn() -> A>,
}

impl<A, W> fmt::Debug for Texts<A, W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(std::any::type_name::<W>())
    }
}

impl<A, W> Kernel for Texts<A, W>
where
    A: Arguments,
    W: for<'a> Fn(A::Items<'a>, &mut TextOut) -> Result<bool, FaultKind> + Send + Sync + 'static,
{
    fn run(
        &self,
        operands: &[Operand<'_>],
        rows: usize,
        faults: &mut RowFaults,
    ) -> PortResult<ArrayRef> {
        let columns = A::columns(operands)?;
        let mut column = TextColumn::new(rows);
        for row in 0..rows {
            column.push(row, faults, |out| match A::items(&columns, row) {
                None => Ok(false),
                Some(items) => (self.write)(items, out),
            })?;
        }
        Ok(column.finish())
    }
}

/// The kernel of a function that was bound to a NULL.
pub(super) fn nulls(result: Type) -> Bound {
    Ok(Arc::new(Nulls(result)))
}

#[derive(Debug)]
struct Nulls(Type);

impl Kernel for Nulls {
    fn run(&self, _: &[Operand<'_>], rows: usize, _: &mut RowFaults) -> PortResult<ArrayRef> {
        Ok(new_null_array(&self.0.arrow(), rows))
    }
}
