//! The limits of a parsed tree: how deep its expressions lie in one another, and how many queries
//! it has. Comes between the parser and everything that plans or visits the tree.
//!
//! A visitor recurses; that it may do so here follows from the limits on tokens (`caps`), which
//! bound every tree that the parser can make of them.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{self, Visit, Visitor};
use forebay_core::limits::{SQL_MAX_DEPTH, SQL_MAX_QUERIES};

use crate::error::{EngineError, Location, Result};

/// Check the tree of a text that begins `at`.
///
/// # Errors
/// `Limit`.
pub(super) fn check(at: &Location, tree: &impl Visit) -> Result<()> {
    let mut measure = Measure::default();
    match tree.visit(&mut measure) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(message) => Err(EngineError::Limit {
            at: at.clone(),
            message,
        }),
    }
}

#[derive(Default)]
struct Measure {
    depth: usize,
    queries: usize,
}

impl Visitor for Measure {
    type Break = String;

    fn pre_visit_query(&mut self, _query: &ast::Query) -> ControlFlow<String> {
        self.queries += 1;
        if self.queries <= SQL_MAX_QUERIES {
            return ControlFlow::Continue(());
        }
        ControlFlow::Break(format!(
            "the statement has more than {SQL_MAX_QUERIES} queries (SQL_MAX_QUERIES); compute \
             more in each of them"
        ))
    }

    fn pre_visit_expr(&mut self, _expr: &ast::Expr) -> ControlFlow<String> {
        self.depth += 1;
        if self.depth <= SQL_MAX_DEPTH {
            return ControlFlow::Continue(());
        }
        ControlFlow::Break(format!(
            "an expression is more than {SQL_MAX_DEPTH} operations deep (SQL_MAX_DEPTH); compute \
             the inner part in a subquery of a view, or in a view that a service joins"
        ))
    }

    fn post_visit_expr(&mut self, _expr: &ast::Expr) -> ControlFlow<String> {
        self.depth -= 1;
        ControlFlow::Continue(())
    }
}
