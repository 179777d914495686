//! How large the expressions of one definition may become. A short text can stand for a large tree:
//! a query over a query whose columns it names twice doubles them. Counted before and after
//! whatever makes a tree larger, so that none is made that does not fit.
//!
//! `session` counts plans, `view::matching` what it puts in the place of columns.

use std::cell::Cell;

use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::{Expr, LogicalPlan};
use forebay_core::limits::EXPRESSION_MAX_NODES;

use crate::error::EngineError;
use crate::parse::QueryText;
use crate::patience::GivenUp;

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
