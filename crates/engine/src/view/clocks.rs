//! Refuses expressions whose value is no function of the data: the clock, chance, parameters. A
//! stored value that depends on them could never be computed again. Runs on every plan, before
//! anything is folded into a constant.

use datafusion::common::plan_err;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::error::Result;
use datafusion::logical_expr::{Expr, LogicalPlan, Volatility};

/// Refuse a plan that reads the clock, chance or a parameter.
///
/// # Errors
/// A planning error that names the function.
pub(crate) fn refuse_clocks(plan: &LogicalPlan) -> Result<()> {
    plan.apply_with_subqueries(|node| node.apply_expressions(|expr| expr.apply(refuse_node)))?;
    Ok(())
}

fn refuse_node(expr: &Expr) -> Result<TreeNodeRecursion> {
    match expr {
        Expr::ScalarFunction(call) if call.func.signature().volatility != Volatility::Immutable => {
            plan_err!(
                "function '{}' is no function of the data, so that its value could not be computed again; use the \
                 event-time column, or a request column that brings the value",
                call.func.name()
            )
        }
        Expr::Placeholder(parameter) => {
            plan_err!(
                "parameter '{}' has no value in a definition; write the value",
                parameter.id
            )
        }
        _ => Ok(TreeNodeRecursion::Continue),
    }
}
