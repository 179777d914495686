//! Labels of monitors: a boolean expression over the rows of the label's source, compiled once.
//! NULL is no label. `catalog` makes them from monitors; the binary evaluates them on decoded
//! batches and on archived ones.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{BooleanArray, RecordBatch};
use datafusion::common::Column;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::error::DataFusionError;
use datafusion::logical_expr::{Expr, LogicalPlan};
use forebay_core::ports::CompiledLabel;
use forebay_core::source::{self, SourceDef};
use forebay_core::{PortError, PortResult};
use serde::{Deserialize, Serialize};

use crate::error::{EngineError, Result};
use crate::expression::{Columns, Input, Program};
use crate::parse::{QueryText, label_query, refuse_clauses};
use crate::scalar::{Lowering, SavedCode, Type};
use crate::session::Session;
use crate::view::{planning_error, refused};

/// A compiled label as data, which `catalog` keeps beside the text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SavedLabel {
    /// Places of the columns that it reads, in the source.
    columns: Vec<usize>,
    program: SavedCode,
}

impl SavedLabel {
    /// The label of `object` over `source`.
    ///
    /// # Errors
    /// It is none of this build, or of other columns: why, for a log.
    pub(crate) fn restored(&self, object: &str, source: &SourceDef) -> Result<Label, String> {
        let column = |place: &usize| Some((*place, source.columns.get(*place)?));
        let columns = self.columns.iter().map(column).collect::<Option<Vec<_>>>();
        let columns = columns.ok_or_else(|| "a column is not there".to_owned())?;
        let types: Vec<_> = columns.iter().map(|(_, c)| c.data_type.clone()).collect();
        Ok(Label {
            program: Program::restored(object, &self.program, &types)?,
            columns: picked(source, columns),
        })
    }
}

/// These columns of `source`, by their places there.
fn picked(source: &SourceDef, columns: Vec<(usize, &source::Column)>) -> Columns {
    let columns = columns
        .into_iter()
        .map(|(i, c)| (i, c.name.clone(), c.data_type.clone()));
    Columns::new(format!("source {}", source.name), columns.collect())
}

/// A compiled label: the columns that it reads and the program over them.
#[derive(Debug)]
pub(crate) struct Label {
    columns: Columns,
    program: Program,
}

impl Label {
    /// Compile `expression` of `object` over the columns of `source`.
    ///
    /// # Errors
    /// `Syntax`, `Planning` or `Refused`, with the place.
    pub(crate) fn compile(
        session: &Session,
        object: &str,
        expression: &QueryText,
        source: &Arc<SourceDef>,
    ) -> Result<Self> {
        let refuse = |message: &str| {
            Err(EngineError::refused(
                expression.locate(None),
                object,
                message,
            ))
        };
        let query = label_query(expression, &source.name)?;
        refuse_clauses(object, expression, &query, false)?;
        let plan = session
            .plan(query, &[(source.name.clone(), source.schema())])
            .map_err(|unplanned| planning_error(object, expression, unplanned))?;
        let expr = match &plan {
            LogicalPlan::Projection(projection)
                if matches!(*projection.input, LogicalPlan::TableScan(_)) =>
            {
                &projection.expr[0]
            }
            _ => {
                return refuse(
                    "a label is an expression over one row of its source, without aggregates",
                );
            }
        };
        let expr = unqualified(expr).map_err(|error| planning_error(object, expression, error))?;
        let read: Vec<String> = expr
            .column_refs()
            .into_iter()
            .map(|column| column.name.clone())
            .collect();
        let columns: Vec<_> = source
            .columns
            .iter()
            .enumerate()
            .filter(|(_, c)| read.contains(&c.name))
            .collect();
        let inputs: Vec<Input> = columns
            .iter()
            .map(|(_, c)| Input::plain(&c.name, &c.data_type))
            .collect();
        let refused = |refusal| refused(object, expression, refusal);
        let mut lowering = Lowering::new(&inputs).patient(session.patience());
        let typed = lowering.lower(&expr).map_err(refused)?;
        if typed.of != Some(Type::Boolean) {
            return refuse(&format!(
                "a label is true or false, this one is {}; compare it: expression > number",
                typed.sql()
            ));
        }
        let program = Program::of(object, lowering, &[typed.slot]).map_err(refused)?;
        Ok(Self {
            columns: picked(source, columns),
            program,
        })
    }

    /// It as data; None where a constant is of no type of ours.
    pub(crate) fn saved(&self) -> Option<SavedLabel> {
        Some(SavedLabel {
            columns: self.columns.places().collect(),
            program: self.program.saved()?,
        })
    }
}

/// `expr` with its columns named without their relation.
fn unqualified(expr: &Expr) -> std::result::Result<Expr, DataFusionError> {
    let plain = expr.clone().transform_up(|e| match e {
        Expr::Column(column) => {
            let mut plain = Column::new_unqualified(column.name);
            plain.spans = column.spans;
            let column = plain;
            Ok(Transformed::yes(Expr::Column(column)))
        }
        other => Ok(Transformed::no(other)),
    });
    plain.map(|plain| plain.data)
}

impl CompiledLabel for Label {
    fn evaluate(&self, rows: &RecordBatch) -> PortResult<BooleanArray> {
        let columns = self.columns.pick(rows)?;
        // A row without a value fails the call: who asks takes its rows apart.
        let values = self.program.run(&columns, rows.num_rows())?;
        if let Some(fault) = values[0].faults.first() {
            return Err(PortError::invalid(self.program.describe(*fault)));
        }
        Ok(values[0].array.as_boolean().clone())
    }
}
