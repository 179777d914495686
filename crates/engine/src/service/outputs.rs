//! The outputs of a service's plan as expressions over the request and the views, whatever queries
//! stand between: projections over projections over the tables side by side.

use datafusion::common::{Column, TableReference};
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::{Expr, LogicalPlan};

use super::joins::REQUEST;
use crate::nodes::Nodes;
use crate::session::Session;
use crate::substitute::substitute;

/// The outputs of `plan`; columns of the request are of [`REQUEST`], those of a view of its alias.
///
/// # Errors
/// They have too many nodes; planning is given up.
pub(super) fn of(session: &Session, plan: &LogicalPlan) -> Result<Vec<Expr>> {
    walk(session, &Nodes::new(), plan)
}

fn walk(session: &Session, nodes: &Nodes, plan: &LogicalPlan) -> Result<Vec<Expr>> {
    session.goes_on()?;
    match plan {
        LogicalPlan::TableScan(scan) => {
            let columns = scan.projected_schema.columns();
            Ok(columns.into_iter().map(Expr::Column).collect())
        }
        LogicalPlan::SubqueryAlias(alias) => match alias.input.as_ref() {
            // The request has one name, whatever it is called.
            LogicalPlan::TableScan(scan) if scan.table_name.table() == REQUEST => {
                walk(session, nodes, &alias.input)
            }
            LogicalPlan::TableScan(scan) => {
                let columns = scan.projected_schema.columns().into_iter();
                let relation = TableReference::bare(alias.alias.table());
                let of = |column: Column| Column::new(Some(relation.clone()), column.name);
                Ok(columns.map(|column| Expr::Column(of(column))).collect())
            }
            other => walk(session, nodes, other),
        },
        LogicalPlan::Join(join) => {
            let mut columns = walk(session, nodes, &join.left)?;
            columns.extend(walk(session, nodes, &join.right)?);
            Ok(columns)
        }
        LogicalPlan::Projection(projection) => {
            let below = walk(session, nodes, &projection.input)?;
            let schema = projection.input.schema();
            let exprs = projection.expr.iter();
            exprs
                .map(|expr| substitute(nodes, expr, schema, &below))
                .collect()
        }
        other => Err(DataFusionError::Internal(format!(
            "{} is no projection over tables",
            other.display()
        ))),
    }
}
