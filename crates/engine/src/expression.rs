//! Expressions of definitions, compiled once and run over batches: WHERE, arguments and FILTERs of
//! views, expressions over aggregates, on-demand expressions of services, labels. A plain column
//! costs no more than a reference.
//!
//! `view`, `service` and `label` make a [`Program`] from planned expressions, by `scalar`; nothing
//! here plans or checks SQL.

use std::sync::{Arc, OnceLock};

use arrow_array::{ArrayRef, RecordBatch};
use arrow_schema::DataType;
use datafusion::common::Column;
use datafusion::logical_expr::Expr;
use forebay_core::cells::Cells;
use forebay_core::{PortError, PortResult};

pub(crate) use crate::scalar::Input;
use crate::scalar::{
    Branch, Code, Evaluated, Fault, Guards, Lowering, Refusal, SavedCode, Slot, Trace, Type,
};

/// The type in which a value of this type is kept; None where there is none, as for intervals.
pub(crate) fn storable(of: Option<Type>) -> Option<DataType> {
    match of? {
        Type::Duration | Type::Interval => None,
        of => Some(of.arrow()),
    }
}

/// What to write for a value whose type is not kept.
pub(crate) const CAST_REMEDY: &str = "cast it: CAST(.. AS DOUBLE), BIGINT, INTEGER, BOOLEAN, VARCHAR or TIMESTAMP are the types that are kept";

/// The column that an expression is, if it is one.
pub(crate) fn as_column(expr: &Expr) -> Option<&Column> {
    match expr {
        Expr::Column(column) => Some(column),
        Expr::Alias(alias) => as_column(&alias.expr),
        _ => None,
    }
}

/// Compiled expressions over a fixed list of columns.
#[derive(Debug, Clone)]
pub(crate) struct Program {
    object: String,
    code: Code,
    /// Which branches rows take, once somebody wants to know.
    trace: Arc<OnceLock<Trace>>,
}

impl Program {
    /// `outputs` of `lowering`, which are `object`'s.
    ///
    /// # Errors
    /// One of them has a value on no row.
    pub(crate) fn of(
        object: &str,
        lowering: Lowering<'_>,
        outputs: &[Slot],
    ) -> Result<Self, Refusal> {
        for slot in outputs {
            lowering.refuse_failing(*slot)?;
        }
        Ok(Self {
            object: object.to_owned(),
            code: lowering.finish(outputs),
            trace: Arc::default(),
        })
    }

    /// It as data; None where a constant is of no type of ours.
    pub(crate) fn saved(&self) -> Option<SavedCode> {
        self.code.saved()
    }

    /// A program of `object` that was saved, over columns of the types `inputs`.
    ///
    /// # Errors
    /// It is none of this build: why, for a log.
    pub(crate) fn restored(
        object: &str,
        saved: &SavedCode,
        inputs: &[DataType],
    ) -> Result<Self, String> {
        Ok(Self {
            object: object.to_owned(),
            code: Code::restored(saved, inputs)?,
            trace: Arc::default(),
        })
    }

    /// Columns that it reads at all, as indices into the caller's.
    pub(crate) fn reads(&self) -> impl Iterator<Item = usize> + '_ {
        self.code.reads()
    }

    /// The same over columns that stand at other places: `place` tells where each is now.
    pub(crate) fn moved(mut self, place: impl Fn(usize) -> usize) -> Self {
        self.code.move_inputs(place);
        self
    }

    /// How the operation reads that failed.
    pub(crate) fn text(&self, fault: Fault) -> Arc<str> {
        self.code.text(fault)
    }

    /// Whose expression failed, how it reads and what is wrong with its row.
    pub(crate) fn describe(&self, fault: Fault) -> String {
        let (object, row) = (&self.object, fault.row);
        format!(
            "{object} failed in row {row}: {}",
            self.code.describe(fault)
        )
    }

    /// Note from now on which branches of CASE rows take. `guards` say of the first expressions
    /// which rows come to them; the others are for all rows.
    pub(crate) fn trace(&self, guards: &Guards) {
        self.trace.get_or_init(|| Trace::new(&self.code, guards));
    }

    /// The branches of CASE in it, and whether a row took them since it is traced.
    pub(crate) fn branches(&self) -> impl Iterator<Item = Branch> + '_ {
        self.trace.get().into_iter().flat_map(Trace::branches)
    }

    /// One value for each expression. `columns` are the inputs, each `rows` long where it is read.
    ///
    /// # Errors
    /// Something else than a row.
    pub(crate) fn run(&self, columns: &[ArrayRef], rows: usize) -> PortResult<Vec<Evaluated>> {
        self.run_over(&Cells::from(columns.to_vec()), rows)
    }

    fn run_over(&self, inputs: &Cells, rows: usize) -> PortResult<Vec<Evaluated>> {
        for (index, data_type) in self.code.inputs() {
            let found = &inputs.columns[index];
            if found.data_type() != data_type || found.len() != rows {
                let (object, found, count) = (&self.object, found.data_type(), found.len());
                return Err(PortError::invalid(format!(
                    "{object}: the columns are not as declared: {count} values of {found} for {rows} of {data_type}"
                )));
            }
        }
        let traced = match self.trace.get() {
            None => Ok(()),
            Some(trace) => trace.note(&self.code, inputs, rows),
        };
        let values = traced.and_then(|()| self.code.run(inputs, rows));
        values.map_err(|error| {
            let message = format!("{}: {}", self.object, error.message());
            PortError::with_source(error.kind(), message, error)
        })
    }

    /// The same, with the cells that have no value told in words.
    ///
    /// # Errors
    /// Something else than a row.
    pub(crate) fn run_cells(&self, inputs: &Cells, rows: usize) -> PortResult<Cells> {
        let values = self.run_over(inputs, rows)?;
        let faults = values.iter().enumerate().flat_map(|(column, value)| {
            let cell = move |fault| self.code.cell(column, fault, inputs);
            value.faults.iter().copied().map(cell)
        });
        let faults = faults.collect();
        let columns = values.into_iter().map(|value| value.array).collect();
        Ok(Cells { columns, faults })
    }
}

/// Columns that are taken out of batches by name, with their types.
#[derive(Debug, Clone)]
pub(crate) struct Columns {
    /// Whose columns, for errors.
    owner: String,
    /// Where each probably is, its name and its type.
    columns: Vec<(usize, String, DataType)>,
}

impl Columns {
    /// These columns of `owner`, each with the place where it usually is.
    pub(crate) fn new(owner: String, columns: Vec<(usize, String, DataType)>) -> Self {
        Self { owner, columns }
    }

    /// Where each usually is.
    pub(crate) fn places(&self) -> impl Iterator<Item = usize> + '_ {
        self.columns.iter().map(|(place, ..)| *place)
    }

    /// The arrays, in the order in which they were declared.
    ///
    /// # Errors
    /// One is missing or has another type.
    pub(crate) fn pick(&self, batch: &RecordBatch) -> PortResult<Vec<ArrayRef>> {
        self.columns
            .iter()
            .map(|(place, name, data_type)| {
                let fields = batch.schema_ref().fields();
                let found = match fields.get(*place) {
                    Some(field) if field.name() == name => Some(*place),
                    _ => fields.iter().position(|field| field.name() == name),
                };
                let Some(found) = found else {
                    return Err(PortError::invalid(format!(
                        "column {name} of {} is missing",
                        self.owner
                    )));
                };
                let array = batch.column(found);
                if array.data_type() == data_type {
                    return Ok(Arc::clone(array));
                }
                let found = array.data_type();
                Err(PortError::invalid(format!(
                    "column {name} of {} is {data_type}, not {found}",
                    self.owner
                )))
            })
            .collect()
    }
}
