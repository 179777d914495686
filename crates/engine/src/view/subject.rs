//! Whose plan is matched, and how its columns are told apart: those of the source, and those that
//! stand for aggregates. `matching` and `windows` refuse through it, with the place in the text.

use std::sync::Arc;

use datafusion::common::{Column, TableReference};
use datafusion::logical_expr::Expr;
use datafusion::sql::sqlparser::tokenizer::Location as Position;
use forebay_core::definition::EntityDef;
use forebay_core::source::SourceDef;

use crate::error::{EngineError, Result};
use crate::expression::as_column;
use crate::parse::QueryText;
use crate::patience::Patience;
use crate::scalar::Refusal;

/// Relation of the columns that stand for aggregates in expressions; no SQL name can be it.
pub(super) const AGGREGATE: &str = "_aggregate";

/// The column that stands for aggregate number `index`.
pub(super) fn aggregate_column(index: usize) -> Column {
    Column::new(Some(TableReference::bare(AGGREGATE)), index.to_string())
}

/// Whose plan it is, for errors and for names.
#[derive(Debug, Clone, Copy)]
pub(super) struct Subject<'a> {
    pub(super) object: &'a str,
    pub(super) body: &'a QueryText,
    pub(super) source: &'a SourceDef,
    pub(super) entity: &'a EntityDef,
    /// How long planning may go on.
    pub(super) patience: Option<&'a Arc<Patience>>,
}

/// `refusal` at its word, or at the first one that it tells of.
pub(crate) fn refused(object: &str, body: &QueryText, refusal: Refusal) -> EngineError {
    if let Some(given_up) = refusal.given_up {
        return given_up.into();
    }
    let word = refusal.word.or_else(|| {
        if refusal.near.is_some() {
            return None;
        }
        let first = refusal
            .message
            .split([' ', '(', ':', ','])
            .find(|w| !w.is_empty())?;
        first.rsplit('.').next().map(str::to_owned)
    });
    let at = body.locate_near(word.as_deref(), refusal.near);
    EngineError::refused(at, object, refusal.message)
}

impl Subject<'_> {
    /// An expression of it is not taken.
    pub(super) fn refused(&self, refusal: Refusal) -> EngineError {
        refused(self.object, self.body, refusal)
    }

    /// Refuse it at the first `word` of its text.
    pub(super) fn refuse<T>(&self, word: Option<&str>, message: impl Into<String>) -> Result<T> {
        self.refuse_near(word, None, message)
    }

    /// Refuse it at the `word` of its text that is nearest to `near`.
    pub(super) fn refuse_near<T>(
        &self,
        word: Option<&str>,
        near: Option<Position>,
        message: impl Into<String>,
    ) -> Result<T> {
        let at = self.body.locate_near(word, near);
        Err(EngineError::refused(at, self.object, message))
    }
}

/// Whether `expr` reads an aggregate.
pub(super) fn reads_aggregates(expr: &Expr) -> bool {
    expr.column_refs().iter().any(|column| {
        column
            .relation
            .as_ref()
            .is_some_and(|r| r.table() == AGGREGATE)
    })
}

/// The index in the source of the column that `expr` is.
pub(super) fn source_column(source: &SourceDef, expr: &Expr) -> Option<usize> {
    let column = as_column(expr).filter(|column| column.relation.is_none())?;
    source.columns.iter().position(|c| c.name == column.name)
}
