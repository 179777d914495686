//! Which columns of its source a view reads: what a scan of the archive must decode for it, and
//! nothing else. The plan says so, after DataFusion has simplified it; what runs on batches later
//! was compiled from the same plan.

use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::logical_expr::LogicalPlan;
use forebay_core::source::SourceDef;

use crate::error::{EngineError, Result};

/// The columns of `source` that `plan` names, ascending; the event time always counts as named.
pub(super) fn referenced_columns(plan: &LogicalPlan, source: &SourceDef) -> Result<Vec<usize>> {
    let mut named: Vec<bool> = (0..source.columns.len())
        .map(|index| index == source.time_column)
        .collect();
    plan.apply_with_subqueries(|node| {
        node.apply_expressions(|expr| {
            for column in expr.column_refs() {
                if let Some(index) = source.columns.iter().position(|c| c.name == column.name) {
                    named[index] = true;
                }
            }
            Ok(TreeNodeRecursion::Continue)
        })
    })
    .map_err(|e| {
        EngineError::Internal(format!(
            "the columns of a plan over source {}: {e}",
            source.name
        ))
    })?;
    Ok((0..named.len()).filter(|index| named[*index]).collect())
}
