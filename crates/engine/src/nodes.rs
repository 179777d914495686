//! How large the expressions of one definition may become. A short text can stand for a large tree:
//! a query over a query whose columns it names twice doubles them, and so does a simplification
//! that writes an operand down twice. Counted before and after whatever makes a tree larger, so
//! that none is made that does not fit.
//!
//! `session` counts plans, `view::matching` what it puts in the place of columns.

use std::cell::Cell;

use datafusion::common::ScalarValue;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::expr::Case;
use datafusion::logical_expr::{Expr, LogicalPlan};
use forebay_core::limits::EXPRESSION_MAX_NODES;

use crate::error::EngineError;
use crate::parse::QueryText;
use crate::patience::GivenUp;

/// A simplification takes away again some of what it writes down; what it makes meanwhile may be so
/// many times the limit.
const GROWS_AT_MOST: usize = 2;

/// Expressions have more than [`EXPRESSION_MAX_NODES`] nodes.
#[derive(Debug, thiserror::Error)]
#[error(
    "its expressions have more than {EXPRESSION_MAX_NODES} nodes when they are written out \
     (EXPRESSION_MAX_NODES); name a column of a subquery fewer times, or split the definition"
)]
pub(crate) struct TooManyNodes;

impl From<TooManyNodes> for DataFusionError {
    fn from(error: TooManyNodes) -> Self {
        Self::External(Box::new(error))
    }
}

/// What `error` says of `object`, whose text is `body`, where it is one of ours that went through
/// DataFusion: [`TooManyNodes`] or [`GivenUp`].
pub(crate) fn limit(
    error: &DataFusionError,
    object: &str,
    body: &QueryText,
) -> Option<EngineError> {
    let DataFusionError::External(cause) = error.find_root() else {
        return None;
    };
    if let Some(given_up) = cause.downcast_ref::<GivenUp>() {
        return Some(given_up.clone().into());
    }
    cause.is::<TooManyNodes>().then(|| EngineError::Limit {
        at: body.locate(None),
        message: format!("{object}: {TooManyNodes}"),
    })
}

/// What is left of the nodes that one definition may have.
#[derive(Debug)]
pub(crate) struct Nodes {
    left: Cell<usize>,
}

impl Nodes {
    /// None is used.
    pub(crate) fn new() -> Self {
        Self {
            left: Cell::new(EXPRESSION_MAX_NODES),
        }
    }

    /// Use one for each node of `expr`.
    ///
    /// # Errors
    /// There are not so many left. No more of `expr` is looked at then.
    pub(crate) fn take(&self, expr: &Expr) -> Result<()> {
        expr.apply(|_| match self.left.get().checked_sub(1) {
            Some(left) => {
                self.left.set(left);
                Ok(TreeNodeRecursion::Continue)
            }
            None => Err(TooManyNodes.into()),
        })?;
        Ok(())
    }
}

/// Count the expressions of `plan`.
///
/// # Errors
/// They have too many nodes.
pub(crate) fn check(plan: &LogicalPlan) -> Result<()> {
    let nodes = Nodes::new();
    plan.apply_with_subqueries(|node| {
        node.apply_expressions(|expr| {
            nodes.take(expr)?;
            Ok(TreeNodeRecursion::Continue)
        })
    })?;
    Ok(())
}

/// Count what simplifying makes of the expressions of `plan`.
///
/// # Errors
/// They would have too many nodes.
pub(crate) fn check_simplified(plan: &LogicalPlan) -> Result<()> {
    let mut most = 0_usize;
    plan.apply_with_subqueries(|node| {
        node.apply_expressions(|expr| {
            most = most.saturating_add(simplified(expr));
            Ok(TreeNodeRecursion::Continue)
        })
    })?;
    if most > GROWS_AT_MOST * EXPRESSION_MAX_NODES {
        return Err(TooManyNodes.into());
    }
    Ok(())
}

/// Nodes that `expr` has at most while DataFusion simplifies it: its rules write some operands down
/// again.
fn simplified(expr: &Expr) -> usize {
    let twice = |expr: &Expr| simplified(expr).saturating_mul(2);
    match expr {
        Expr::Case(case) if becomes_logic(case) => logic(case),
        // WHEN x IS NOT NULL THEN x: all but the last.
        Expr::ScalarFunction(call)
            if matches!(call.func.name(), "coalesce" | "nvl" | "ifnull" | "nvl2") =>
        {
            call.args
                .iter()
                .fold(1, |sum: usize, arg| sum.saturating_add(twice(arg)))
        }
        // A function that is compared with a literal becomes two comparisons of its argument.
        Expr::BinaryExpr(binary)
            if binary.op.supports_propagation()
                && matches!(*binary.left, Expr::ScalarFunction(_)) =>
        {
            twice(&binary.left).saturating_add(simplified(&binary.right))
        }
        other => {
            let mut sum = 1_usize;
            let counted = other.apply_children(|child| {
                sum = sum.saturating_add(simplified(child));
                Ok(TreeNodeRecursion::Continue)
            });
            counted.map_or(usize::MAX, |_| sum)
        }
    }
}

/// Whether a CASE of truth values is written as AND and OR, as far as its branches say so.
fn becomes_logic(case: &Case) -> bool {
    let literal = |expr: &Expr| matches!(expr, Expr::Literal(ScalarValue::Boolean(_), _));
    let branches = &case.when_then_expr;
    case.expr.is_none() && (branches.len() < 3 || branches.iter().all(|(_, then)| literal(then)))
}

/// Each condition stands once for itself and once in each branch behind it.
fn logic(case: &Case) -> usize {
    let branches = case.when_then_expr.len();
    let whens = case
        .when_then_expr
        .iter()
        .enumerate()
        .map(|(place, (when, then))| {
            let times = branches - place + 1;
            simplified(when)
                .saturating_mul(times)
                .saturating_add(simplified(then))
        });
    let otherwise = case.else_expr.iter().map(|expr| simplified(expr));
    whens.chain(otherwise).fold(1, usize::saturating_add)
}
