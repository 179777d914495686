//! Puts what a column is below in the place of the column, counted, because a column that is named
//! twice is copied: each level of a query over a query can double what it reads.
//!
//! `view` and `service` walk plans with it.

use datafusion::common::DFSchema;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::error::Result;
use datafusion::logical_expr::Expr;

use crate::nodes::Nodes;

/// `expr` over the columns of `schema`, with each column replaced by what `below` has for it.
///
/// # Errors
/// There are no `nodes` left, or the plan contradicts itself.
pub(crate) fn substitute(
    nodes: &Nodes,
    expr: &Expr,
    schema: &DFSchema,
    below: &[Expr],
) -> Result<Expr> {
    nodes.take(expr)?;
    let replaced = expr.clone().transform_up(|e| match &e {
        Expr::Column(column) => {
            let mut inner = below[schema.index_of_column(column)?].clone();
            // Before it is copied.
            nodes.take(&inner)?;
            if let Expr::Column(inner) = &mut inner {
                // Where the text names it.
                inner.spans.clone_from(&column.spans);
            }
            Ok(Transformed::yes(inner))
        }
        _ => Ok(Transformed::no(e)),
    })?;
    Ok(unaliased(replaced.data))
}

fn unaliased(expr: Expr) -> Expr {
    match expr {
        Expr::Alias(alias) => unaliased(*alias.expr),
        other => other,
    }
}
