//! Columns under construction: one of each type, and those of one object. Plain vectors rather than
//! Arrow's builders, because a rejected record must be cut off again: every vector can be truncated
//! to the rows before it. Nothing here knows a format; `cell` fills them, and full columns leave as
//! one Arrow array each.
//!
//! `valid` has one entry for each row; a column whose `valid` is one longer than the finished rows
//! has its value for the row under construction. Under a null, the values hold a placeholder.

use std::sync::Arc;

use arrow_array::{
    ArrayRef, BooleanArray, Date32Array, Float64Array, Int32Array, Int64Array, StringArray,
    StructArray, TimestampMicrosecondArray,
};
use arrow_buffer::{BooleanBuffer, Buffer, NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow_schema::{DataType, FieldRef, Fields as ArrowFields, TimeUnit};
use forebay_core::domain::Domain;
use forebay_core::invariant;
use forebay_core::source::EpochUnit;

use super::guess::{Guess, GuessCounts, Guessed, WHOLE_RECORD};
use super::list::Ends;
use super::names::{Found, Names};
use super::reject::Reject;
use crate::error::Error;

/// The values of one column, one entry for each row.
#[derive(Debug)]
pub(super) enum Values {
    /// VARCHAR: where each row's text ends in the bytes.
    Text(Vec<u8>, Vec<i32>),
    /// DOUBLE.
    Double(Vec<f64>),
    /// BIGINT.
    BigInt(Vec<i64>),
    /// INTEGER.
    Integer(Vec<i32>),
    /// BOOLEAN.
    Boolean(Vec<bool>),
    /// DATE, days.
    Date(Vec<i32>),
    /// TIMESTAMP, microseconds.
    Timestamp(Vec<i64>),
    /// An object: its own columns, as long as this one.
    Struct(Box<Fields>),
    /// An array: the items of all rows, and where those of each row end.
    List(Box<Column>, Ends),
}

/// One column under construction.
#[derive(Debug)]
pub(super) struct Column {
    pub(super) field: FieldRef,
    pub(super) values: Values,
    /// The unit of times that come as integers, where the source says one.
    pub(super) unit: Option<EpochUnit>,
    /// What its declared type admits of `values`, where that is less than all.
    pub(super) domain: Option<Domain>,
    /// Whether the newest time came as an integer of no declared unit.
    pub(super) unit_guessed: bool,
    /// Whether its values are items of arrays.
    pub(super) is_item: bool,
    valid: Vec<bool>,
    guesses: GuessCounts,
}

impl Column {
    pub(super) fn new(field: &FieldRef) -> Result<Self, Error> {
        let values = match field.data_type() {
            DataType::Utf8 => Values::Text(Vec::new(), Vec::new()),
            DataType::Float64 => Values::Double(Vec::new()),
            DataType::Int64 => Values::BigInt(Vec::new()),
            DataType::Int32 => Values::Integer(Vec::new()),
            DataType::Boolean => Values::Boolean(Vec::new()),
            DataType::Date32 => Values::Date(Vec::new()),
            DataType::Timestamp(TimeUnit::Microsecond, _) => Values::Timestamp(Vec::new()),
            DataType::Struct(fields) => Values::Struct(Box::new(Fields::new(fields)?)),
            DataType::List(item) if !item.data_type().is_nested() => {
                let items = Self {
                    is_item: true,
                    ..Self::new(item)?
                };
                Values::List(Box::new(items), Ends::default())
            }
            other => {
                return Err(Error::UnsupportedColumn {
                    column: field.name().clone(),
                    data_type: other.to_string(),
                });
            }
        };
        Ok(Self {
            field: FieldRef::clone(field),
            values,
            unit: None,
            domain: None,
            unit_guessed: false,
            is_item: false,
            valid: Vec::new(),
            guesses: GuessCounts::default(),
        })
    }

    /// Rows that have a value or a null.
    pub(super) fn len(&self) -> usize {
        self.valid.len()
    }

    /// Note that a value was just pushed onto `values`.
    pub(super) fn mark_valid(&mut self) {
        self.valid.push(true);
    }

    /// Count a guess.
    pub(super) fn guessed(&mut self, guess: Guess) {
        self.guesses.add(guess);
    }

    pub(super) fn push_null(&mut self) {
        self.push_placeholder();
        self.valid.push(false);
    }

    fn push_placeholder(&mut self) {
        match &mut self.values {
            Values::Text(_, ends) => ends.push(ends.last().copied().unwrap_or(0)),
            Values::Double(values) => values.push(0.0),
            Values::BigInt(values) | Values::Timestamp(values) => values.push(0),
            Values::Integer(values) | Values::Date(values) => values.push(0),
            Values::Boolean(values) => values.push(false),
            Values::Struct(fields) => fields.push_nulls(),
            Values::List(items, ends) => ends.push(items.len()),
        }
    }

    /// Keep the first `rows` rows only.
    pub(super) fn truncate(&mut self, rows: usize) {
        self.valid.truncate(rows);
        match &mut self.values {
            Values::Text(bytes, ends) => {
                ends.truncate(rows);
                bytes.truncate(ends.last().map_or(0, |end| *end as usize));
            }
            Values::Double(values) => values.truncate(rows),
            Values::BigInt(values) | Values::Timestamp(values) => values.truncate(rows),
            Values::Integer(values) | Values::Date(values) => values.truncate(rows),
            Values::Boolean(values) => values.truncate(rows),
            Values::Struct(fields) => fields.truncate(rows),
            Values::List(items, ends) => items.truncate(ends.truncate(rows)),
        }
    }

    /// The timestamp of the newest row, where this is a timestamp column and that row is not null.
    pub(super) fn last_timestamp(&self) -> Option<i64> {
        match &self.values {
            Values::Timestamp(values) if self.valid.last() == Some(&true) => values.last().copied(),
            _ => None,
        }
    }

    /// The column's `rows` rows as an array; the column is empty afterwards and has room for as
    /// many again.
    pub(super) fn finish(&mut self, rows: usize) -> Result<ArrayRef, Error> {
        let valid = take(&mut self.valid, rows);
        invariant!(
            ColumnsAgree,
            valid.len() == rows,
            "column {}: {} values for {rows} rows",
            self.field.name(),
            valid.len()
        );
        let nulls = valid.contains(&false).then(|| NullBuffer::from(valid));
        Ok(match &mut self.values {
            Values::Text(bytes, ends) => {
                let too_large = || Error::BatchTooLarge {
                    column: self.field.name().clone(),
                };
                // Ends were counted in 32 bits; they are right if the last one is.
                i32::try_from(bytes.len()).map_err(|_| too_large())?;
                let capacity = bytes.len();
                invariant!(
                    TextEndsAtItsBytes,
                    ends.len() == rows && ends.last().map_or(0, |end| *end as usize) == capacity,
                    "column {}: {} ends for {rows} rows",
                    self.field.name(),
                    ends.len()
                );
                Arc::new(text_array(take(bytes, capacity), &take(ends, rows), nulls))
            }
            Values::Double(values) => Arc::new(Float64Array::new(take(values, rows).into(), nulls)),
            Values::BigInt(values) => Arc::new(Int64Array::new(take(values, rows).into(), nulls)),
            Values::Integer(values) => Arc::new(Int32Array::new(take(values, rows).into(), nulls)),
            Values::Boolean(values) => Arc::new(BooleanArray::new(
                BooleanBuffer::from(take(values, rows)),
                nulls,
            )),
            Values::Date(values) => Arc::new(Date32Array::new(take(values, rows).into(), nulls)),
            Values::Timestamp(values) => Arc::new(
                TimestampMicrosecondArray::new(take(values, rows).into(), nulls)
                    .with_data_type(self.field.data_type().clone()),
            ),
            Values::Struct(fields) => {
                let arrays = fields.finish(rows)?;
                let array =
                    StructArray::try_new_with_length(fields.arrow_fields(), arrays, nulls, rows);
                Arc::new(array.expect("a null in a NOT NULL field lies under a null object only"))
            }
            Values::List(items, ends) => {
                let items = items.finish(items.len())?;
                ends.finish(&self.field, rows, items, nulls)?
            }
        })
    }
}

/// What becomes of a field of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Claim {
    /// Its value is this column's.
    Fill(usize),
    /// Its name differs in case from this column's: its value is the column's unless a field of the
    /// very name comes, and then it is as if it were not there.
    FillOther(usize),
    /// This column has its value from a field of the very name; this field is skipped.
    Shadowed(usize),
    /// No column has its name; it is skipped.
    Skip,
}

/// A column that a field of another case has filled in the row under construction.
#[derive(Debug)]
struct Other {
    column: usize,
    /// Why the field is no value of it; the record is refused if no other field is.
    failed: Option<Reject>,
}

/// The columns of one object.
#[derive(Debug)]
pub(super) struct Fields {
    arrow: ArrowFields,
    columns: Vec<Column>,
    names: Names,
    /// Of the row under construction; mostly none.
    others: Vec<Other>,
    unknown: GuessCounts,
    is_scanned: bool,
}

impl Fields {
    pub(super) fn new(fields: &ArrowFields) -> Result<Self, Error> {
        let columns = fields
            .iter()
            .map(Column::new)
            .collect::<Result<Vec<_>, _>>()?;
        let is_list = |column: &Column| match &column.values {
            Values::List(..) => true,
            Values::Struct(fields) => !fields.is_scanned,
            _ => false,
        };
        Ok(Self {
            arrow: fields.clone(),
            is_scanned: !columns.iter().any(is_list),
            columns,
            names: Names::of(fields),
            others: Vec::new(),
            unknown: GuessCounts::default(),
        })
    }

    pub(super) fn arrow_fields(&self) -> ArrowFields {
        self.arrow.clone()
    }

    pub(super) fn is_timestamp(&self, column: usize) -> bool {
        matches!(
            self.columns.get(column),
            Some(Column {
                values: Values::Timestamp(_),
                ..
            })
        )
    }

    /// Whether the newest time of `column` came as an integer of no declared unit.
    pub(super) fn is_unit_guessed(&self, column: usize) -> bool {
        self.columns[column].unit_guessed
    }

    /// Say the unit of integers of a column.
    pub(super) fn set_unit(&mut self, column: &str, unit: EpochUnit) {
        if let Some(column) = self.names.exact(column) {
            self.columns[column].unit = Some(unit);
        }
    }

    /// Say what the declared type of a column admits.
    pub(super) fn set_domain(&mut self, column: &str, domain: Domain) {
        if let Some(column) = self.names.exact(column) {
            let column = &mut self.columns[column];
            match &mut column.values {
                Values::List(items, _) => items.domain = Some(domain),
                _ => column.domain = Some(domain),
            }
            self.is_scanned &= !column.reads_text_of_numbers();
        }
    }

    /// Whether the scan of a JSON record has what the columns take: none takes numbers as their
    /// text, none takes arrays.
    pub(super) fn is_scanned(&self) -> bool {
        self.is_scanned
    }

    /// How many columns there are.
    pub(super) fn len(&self) -> usize {
        self.columns.len()
    }

    /// See [`Column::last_timestamp`].
    pub(super) fn last_timestamp(&self, column: usize) -> Option<i64> {
        self.columns[column].last_timestamp()
    }

    /// Whether every column has `rows` rows.
    pub(super) fn have(&self, rows: usize) -> bool {
        self.columns.iter().all(|column| column.len() == rows)
    }

    pub(super) fn push_nulls(&mut self) {
        self.columns.iter_mut().for_each(Column::push_null);
    }

    pub(super) fn truncate(&mut self, rows: usize) {
        self.others.clear();
        self.columns
            .iter_mut()
            .for_each(|column| column.truncate(rows));
    }

    pub(super) fn finish(&mut self, rows: usize) -> Result<Vec<ArrayRef>, Error> {
        self.columns
            .iter_mut()
            .map(|column| column.finish(rows))
            .collect()
    }

    /// Whether a column takes the field `name`, the `place`-th of its object.
    pub(super) fn takes(&mut self, place: usize, name: &str) -> bool {
        self.names.find(place, name).is_some()
    }

    /// See [`Names::remembered`].
    pub(super) fn remembered(&self, place: usize) -> Option<(&[u8], Option<Found>)> {
        self.names.remembered(place)
    }

    /// The columns of the objects that the column `found` holds.
    pub(super) fn inside(&self, found: Found) -> Option<&Self> {
        match &self.columns.get(found.column)?.values {
            Values::Struct(fields) => Some(fields),
            _ => None,
        }
    }

    /// What becomes of the field `name`, the `place`-th of its object, in row `row`. A field of a
    /// column's very name wins over those of another case, wherever they stand.
    ///
    /// # Errors
    /// Another field of the same name was there: `twice`.
    pub(super) fn claim(
        &mut self,
        place: usize,
        name: &str,
        row: usize,
        twice: fn() -> Reject,
    ) -> Result<Claim, Reject> {
        let found = self.names.find(place, name);
        self.claim_found(found, row, twice)
    }

    /// What becomes of a field whose name means `found`; see [`Self::claim`].
    ///
    /// # Errors
    /// Another field of the same name was there: `twice`.
    pub(super) fn claim_found(
        &mut self,
        found: Option<Found>,
        row: usize,
        twice: fn() -> Reject,
    ) -> Result<Claim, Reject> {
        let Some(Found {
            column: index,
            exact,
        }) = found
        else {
            self.unknown.add(Guess::UnknownField);
            return Ok(Claim::Skip);
        };
        let column = &mut self.columns[index];
        let twice = |column: &Column| twice().within(column.field.name());
        let other = self.others.iter_mut().position(|o| o.column == index);
        match (exact, other) {
            (true, None) if column.len() > row => Err(twice(column)),
            (true, None) => Ok(Claim::Fill(index)),
            (true, Some(other)) => {
                self.others.swap_remove(other);
                column.truncate(row);
                self.unknown.add(Guess::UnknownField);
                Ok(Claim::Fill(index))
            }
            (false, None) if column.len() > row => {
                self.unknown.add(Guess::UnknownField);
                Ok(Claim::Shadowed(index))
            }
            (false, None) => {
                let failed = None;
                self.others.push(Other {
                    column: index,
                    failed,
                });
                Ok(Claim::FillOther(index))
            }
            (false, Some(other)) => {
                self.others[other].failed = Some(twice(column));
                column.truncate(row);
                Ok(Claim::Shadowed(index))
            }
        }
    }

    /// `reject` with the name of the column that the field with this `claim` means.
    pub(super) fn named(&self, claim: Claim, reject: Reject) -> Reject {
        match claim {
            Claim::Fill(column) | Claim::FillOther(column) | Claim::Shadowed(column) => {
                reject.within(self.columns[column].field.name())
            }
            Claim::Skip => reject,
        }
    }

    /// What came of putting the value of the field with this `claim` into row `row`.
    ///
    /// # Errors
    /// The value is none of its column, whose name the reject has then.
    pub(super) fn put(
        &mut self,
        claim: Claim,
        row: usize,
        put: Result<(), Reject>,
    ) -> Result<(), Reject> {
        let Err(reject) = put else {
            return Ok(());
        };
        let reject = self.named(claim, reject);
        if let Claim::FillOther(index) = claim
            && let Some(other) = self.others.iter_mut().find(|o| o.column == index)
        {
            // The field of the very name may follow.
            other.failed = Some(reject);
            self.columns[index].truncate(row);
            return Ok(());
        }
        Err(reject)
    }

    /// Move the counts of all columns into `out`, each under its path; `path` is that of the
    /// object, empty for the record itself.
    pub(super) fn take_guesses(&mut self, path: &str, out: &mut Vec<Guessed>) {
        let whole = if path.is_empty() { WHOLE_RECORD } else { path };
        self.unknown.take(whole, out);
        for column in &mut self.columns {
            let name = column.field.name();
            let inner = (!path.is_empty()).then(|| format!("{path}.{name}"));
            let name = inner.as_deref().unwrap_or(name);
            column.guesses.take(name, out);
            match &mut column.values {
                Values::Struct(fields) => fields.take_guesses(name, out),
                Values::List(items, _) => items.guesses.take(name, out),
                _ => {}
            }
        }
    }

    /// The column at `index`, to fill.
    pub(super) fn column_mut(&mut self, index: usize) -> &mut Column {
        &mut self.columns[index]
    }

    /// Give each column that the record did not fill its null.
    ///
    /// # Errors
    /// A column must not be null, or only a field of another case was there and is no value of it.
    pub(super) fn fill_absent(&mut self, row: usize) -> Result<(), Reject> {
        for Other { column, failed } in self.others.drain(..) {
            if let Some(reject) = failed {
                return Err(reject);
            }
            self.columns[column].guessed(Guess::OtherCase);
        }
        for column in &mut self.columns {
            if column.len() == row {
                if !column.field.is_nullable() {
                    return Err(Reject::missing(false).within(column.field.name()));
                }
                column.guessed(Guess::Absent);
                column.push_null();
            }
        }
        Ok(())
    }
}

fn take<T>(values: &mut Vec<T>, capacity: usize) -> Vec<T> {
    std::mem::replace(values, Vec::with_capacity(capacity))
}

fn text_array(bytes: Vec<u8>, ends: &[i32], nulls: Option<NullBuffer>) -> StringArray {
    let mut offsets = Vec::with_capacity(ends.len() + 1);
    offsets.push(0);
    offsets.extend_from_slice(ends);
    let offsets = OffsetBuffer::new(ScalarBuffer::from(offsets));
    StringArray::try_new(offsets, Buffer::from_vec(bytes), nulls)
        .expect("the bytes are whole strings, end to end")
}
