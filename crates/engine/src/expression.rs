//! Expressions of definitions, compiled once and run over batches: WHERE, arguments and FILTERs of
//! views, expressions over aggregates, on-demand expressions of services, labels. A plain column
//! costs no more than a reference.
//!
//! `view`, `service` and `label` make a [`Program`] from planned expressions; nothing here plans or
//! checks SQL.

use std::collections::HashMap;
use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow_schema::{DataType, Field, SchemaRef, TimeUnit};
use datafusion::common::{Column, DFSchema, TableReference};
use datafusion::error::Result;
use datafusion::logical_expr::{Cast, Expr};
use datafusion::physical_expr::PhysicalExpr;
use forebay_core::time::timestamp_type;
use forebay_core::{PortError, PortResult};

use crate::error::EngineError;
use crate::session::Session;

/// A column that expressions may name.
#[derive(Debug, Clone)]
pub(crate) struct Input {
    pub(crate) relation: Option<TableReference>,
    pub(crate) name: String,
    pub(crate) data_type: DataType,
}

impl Input {
    /// A column without a table's name before it.
    pub(crate) fn plain(name: &str, data_type: &DataType) -> Self {
        Self {
            relation: None,
            name: name.to_owned(),
            data_type: data_type.clone(),
        }
    }

    /// A column of `relation`.
    pub(crate) fn of(relation: &str, name: &str, data_type: &DataType) -> Self {
        let relation = Some(TableReference::bare(relation));
        Self {
            relation,
            name: name.to_owned(),
            data_type: data_type.clone(),
        }
    }

    fn is(&self, column: &Column) -> bool {
        self.name == column.name && self.relation == column.relation
    }
}

/// The schema of `inputs`, all nullable.
pub(crate) fn schema_of<'a>(inputs: impl IntoIterator<Item = &'a Input>) -> Result<DFSchema> {
    let fields = inputs.into_iter().map(|input| {
        (
            input.relation.clone(),
            Arc::new(Field::new(
                input.name.clone(),
                input.data_type.clone(),
                true,
            )),
        )
    });
    DFSchema::new_with_metadata(fields.collect(), HashMap::new())
}

/// The type of `expr` over `schema`, as it comes out at run time.
pub(crate) fn type_of(session: &Session, expr: &Expr, schema: &DFSchema) -> Result<DataType> {
    session
        .physical(expr.clone(), schema)?
        .data_type(schema.as_arrow())
}

/// The type in which a value of `data_type` is kept, without loss; None where there is none.
pub(crate) fn storable(data_type: &DataType) -> Option<DataType> {
    Some(match data_type {
        DataType::Boolean
        | DataType::Int32
        | DataType::Int64
        | DataType::Float64
        | DataType::Utf8 => data_type.clone(),
        DataType::Utf8View | DataType::LargeUtf8 => DataType::Utf8,
        DataType::Int8 | DataType::Int16 | DataType::UInt8 | DataType::UInt16 => DataType::Int32,
        DataType::UInt32 => DataType::Int64,
        DataType::Float16 | DataType::Float32 => DataType::Float64,
        DataType::Timestamp(
            TimeUnit::Second | TimeUnit::Millisecond | TimeUnit::Microsecond,
            _,
        ) => timestamp_type(),
        _ => return None,
    })
}

/// What to write for a value whose type is not kept.
pub(crate) const CAST_REMEDY: &str = "cast it: CAST(.. AS DOUBLE), BIGINT, INTEGER, BOOLEAN, VARCHAR or TIMESTAMP are the types that are kept";

/// `expr` as a value of type `to`.
pub(crate) fn cast_to(expr: Expr, from: &DataType, to: &DataType) -> Expr {
    if from == to {
        expr
    } else {
        Expr::Cast(Cast::new(Box::new(expr), to.clone()))
    }
}

/// The column that an expression is, if it is one.
pub(crate) fn as_column(expr: &Expr) -> Option<&Column> {
    match expr {
        Expr::Column(column) => Some(column),
        Expr::Alias(alias) => as_column(&alias.expr),
        _ => None,
    }
}

#[derive(Debug, Clone)]
enum Output {
    /// An input as it is.
    Input(usize),
    Computed(Arc<dyn PhysicalExpr>),
}

/// Compiled expressions over a fixed list of inputs.
#[derive(Debug, Clone)]
pub(crate) struct Program {
    object: String,
    /// Inputs that computed expressions read, as indices into the caller's columns; `schema` is
    /// theirs.
    reads: Vec<usize>,
    schema: SchemaRef,
    outputs: Vec<Output>,
}

impl Program {
    /// Compile `exprs` of `object` over `inputs`.
    pub(crate) fn compile(
        session: &Session,
        object: &str,
        inputs: &[Input],
        exprs: &[Expr],
    ) -> Result<Self> {
        let position = |column: &Column| inputs.iter().position(|input| input.is(column));
        let plain = |expr: &Expr| as_column(expr).and_then(position);
        let mut reads: Vec<usize> = exprs
            .iter()
            .filter(|expr| plain(expr).is_none())
            .flat_map(Expr::column_refs)
            .filter_map(position)
            .collect();
        reads.sort_unstable();
        reads.dedup();
        let schema = schema_of(reads.iter().map(|index| &inputs[*index]))?;
        let compile = |expr: &Expr| match plain(expr) {
            Some(index) => Ok(Output::Input(index)),
            None => session
                .physical(expr.clone(), &schema)
                .map(Output::Computed),
        };
        let outputs = exprs.iter().map(compile).collect::<Result<Vec<_>>>()?;
        Ok(Self {
            object: object.to_owned(),
            reads,
            schema: Arc::clone(schema.inner()),
            outputs,
        })
    }

    /// Inputs that it reads at all.
    pub(crate) fn reads(&self) -> impl Iterator<Item = usize> + '_ {
        let plain = self.outputs.iter().filter_map(|output| match output {
            Output::Input(index) => Some(*index),
            Output::Computed(_) => None,
        });
        self.reads.iter().copied().chain(plain)
    }

    /// One array for each expression. `columns` are the inputs, each `rows` long where it is read.
    ///
    /// # Errors
    /// An expression fails on the data.
    pub(crate) fn run(&self, columns: &[ArrayRef], rows: usize) -> PortResult<Vec<ArrayRef>> {
        let mut batch: Option<RecordBatch> = None;
        self.outputs
            .iter()
            .map(|output| match output {
                Output::Input(index) => Ok(Arc::clone(&columns[*index])),
                Output::Computed(expr) => {
                    let batch = match &batch {
                        Some(batch) => batch,
                        None => batch.insert(self.batch(columns, rows)?),
                    };
                    let value = expr
                        .evaluate(batch)
                        .and_then(|value| value.into_array(rows));
                    value.map_err(|error| EngineError::evaluation(&self.object, error).into())
                }
            })
            .collect()
    }

    fn batch(&self, columns: &[ArrayRef], rows: usize) -> PortResult<RecordBatch> {
        let columns = self
            .reads
            .iter()
            .map(|index| Arc::clone(&columns[*index]))
            .collect();
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns, &options).map_err(
            |error| {
                PortError::invalid(format!(
                    "{}: the columns are not as declared: {error}",
                    self.object
                ))
            },
        )
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
