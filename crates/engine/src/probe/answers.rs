//! The values of one view for all spine rows, as they come, key by key: eight bytes a cell, not an
//! enum, because a spine may have tens of millions of rows. Rows that nobody sets stay NULL.

use std::sync::Arc;

use arrow_array::{
    ArrayRef, BooleanArray, Date32Array, Float64Array, Int32Array, Int64Array, StringArray,
    TimestampMicrosecondArray,
};
use arrow_buffer::{BooleanBuffer, BooleanBufferBuilder, NullBuffer};
use arrow_schema::{DataType, TimeUnit};
use forebay_core::aggregate::cells::{Cell, shown};
use forebay_core::cells::{CellFault, Cells};
use forebay_core::index::RowIndex;
use forebay_core::time::Micros;
use forebay_core::value::{Value, array_from_values};
use forebay_core::view::{AggregateSpec, ViewSpec};

use crate::error::{EngineError, Result};

/// One column of values.
#[derive(Debug)]
struct Column {
    data_type: DataType,
    /// Numbers as their bits; empty for text and arrays.
    words: Vec<u64>,
    texts: Vec<Option<Arc<str>>>,
    /// Arrays as they are.
    lists: Vec<Value>,
    valid: BooleanBufferBuilder,
}

impl Column {
    fn new(data_type: &DataType, rows: usize) -> Self {
        let is_text = *data_type == DataType::Utf8;
        let is_list = data_type.is_nested();
        let mut valid = BooleanBufferBuilder::new(rows);
        valid.append_n(rows, false);
        Self {
            data_type: data_type.clone(),
            words: vec![0; if is_text || is_list { 0 } else { rows }],
            texts: vec![None; if is_text { rows } else { 0 }],
            lists: vec![Value::Null; if is_list { rows } else { 0 }],
            valid,
        }
    }

    fn set(&mut self, row: usize, cell: &Cell) -> Result<()> {
        let word = match (shown(cell), &self.data_type) {
            (Value::Null, _) => return Ok(()),
            (Value::Text(text), DataType::Utf8) => {
                self.texts[row] = Some(Arc::clone(text));
                self.valid.set_bit(row, true);
                return Ok(());
            }
            (Value::Float(value), DataType::Float64) => value.to_bits(),
            (Value::Int(value), DataType::Int64 | DataType::Int32)
            | (Value::Timestamp(value), DataType::Timestamp(TimeUnit::Microsecond, _)) => {
                value.cast_unsigned()
            }
            (Value::Date(value), DataType::Date32) => i64::from(*value).cast_unsigned(),
            (Value::Bool(value), DataType::Boolean) => u64::from(*value),
            (list @ Value::List(_), DataType::List(_)) => {
                self.lists[row] = list.clone();
                return Ok(());
            }
            (value, data_type) => {
                return Err(EngineError::Internal(format!(
                    "an aggregate of type {data_type} gave {value:?}"
                )));
            }
        };
        self.words[row] = word;
        self.valid.set_bit(row, true);
        Ok(())
    }

    fn finish(mut self) -> Result<ArrayRef> {
        let nulls = Some(NullBuffer::new(self.valid.finish()));
        let signed = || self.words.iter().map(|word| word.cast_signed());
        Ok(match &self.data_type {
            DataType::Utf8 => Arc::new(StringArray::from_iter(self.texts)),
            DataType::Float64 => Arc::new(Float64Array::new(
                self.words
                    .iter()
                    .map(|word| f64::from_bits(*word))
                    .collect(),
                nulls,
            )),
            DataType::Int64 => Arc::new(Int64Array::new(signed().collect(), nulls)),
            DataType::Int32 | DataType::Date32 => {
                let narrow = signed().map(i32::try_from).collect::<Result<Vec<_>, _>>();
                let narrow = narrow
                    .map_err(|e| EngineError::Internal(format!("an aggregate of 32 bits: {e}")))?;
                match self.data_type {
                    DataType::Date32 => Arc::new(Date32Array::new(narrow.into(), nulls)),
                    _ => Arc::new(Int32Array::new(narrow.into(), nulls)),
                }
            }
            DataType::Boolean => Arc::new(BooleanArray::new(
                self.words
                    .iter()
                    .map(|w| *w != 0)
                    .collect::<BooleanBuffer>(),
                nulls,
            )),
            DataType::Timestamp(TimeUnit::Microsecond, _) => {
                let times = TimestampMicrosecondArray::new(signed().collect(), nulls);
                Arc::new(times.with_data_type(self.data_type.clone()))
            }
            of @ DataType::List(_) => array_from_values(of, self.lists.iter())?,
            other => {
                return Err(EngineError::Internal(format!(
                    "an aggregate has type {other}"
                )));
            }
        })
    }
}

/// The answers of one view, a column for each aggregate.
#[derive(Debug)]
pub(super) struct Answers {
    aggregates: Vec<AggregateSpec>,
    columns: Vec<Column>,
    faults: Vec<CellFault>,
    newest_us: Vec<Option<Micros>>,
}

impl Answers {
    /// NULL for `rows` rows of `view`.
    pub(super) fn new(view: &ViewSpec, rows: usize) -> Self {
        let columns = view
            .aggregates
            .iter()
            .map(|a| Column::new(&a.data_type, rows))
            .collect();
        Self {
            aggregates: view.aggregates.clone(),
            columns,
            faults: Vec::new(),
            newest_us: vec![None; rows],
        }
    }

    /// Newest event at or before the row's instant.
    pub(super) fn set_newest(&mut self, row: u32, newest_us: Option<Micros>) {
        self.newest_us[row as usize] = newest_us;
    }

    /// Value of aggregate `output` in `row`.
    pub(super) fn set(&mut self, row: u32, output: usize, cell: &Cell) -> Result<()> {
        let index = RowIndex::at(row as usize);
        if let Err(kind) = cell {
            let aggregate = &self.aggregates[output];
            let fault = CellFault::of_aggregate(aggregate, output, index, *kind);
            self.faults.push(fault);
        }
        self.columns[output].set(index.index(), cell)
    }

    /// The aggregates, and for each row its newest event.
    pub(super) fn finish(self) -> Result<(Cells, Vec<Option<Micros>>)> {
        let columns = self.columns.into_iter().map(Column::finish);
        let mut faults = self.faults;
        faults.sort_unstable_by_key(|fault| (fault.column, fault.row));
        let cells = Cells {
            columns: columns.collect::<Result<_>>()?,
            faults,
        };
        Ok((cells, self.newest_us))
    }
}
