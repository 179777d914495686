//! Why an expression is not taken, and what to write instead. Some refusals are made where only
//! DataFusion's error can leave (coercion of a call's arguments); they travel inside of its words,
//! between two control characters that no text has, and are taken out again where errors end.

use std::fmt;

use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::error::DataFusionError;
use datafusion::logical_expr::Expr;
use datafusion::sql::sqlparser::tokenizer::{Location as Position, Span};

use crate::patience::GivenUp;

const BEGIN: char = '\u{2}';
const BETWEEN: char = '\u{1f}';
const END: char = '\u{3}';

/// An expression that is not taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// A word of the text, where it stands.
    pub(crate) word: Option<String>,
    /// Which of the words: the nearest to this place.
    pub(crate) near: Option<Position>,
    /// What is not taken, and what to write.
    pub(crate) message: String,
    /// Nobody waits for the answer any more: nothing is wrong with the text.
    pub(crate) given_up: Option<GivenUp>,
}

impl From<GivenUp> for Refusal {
    fn from(given_up: GivenUp) -> Self {
        Self {
            message: given_up.to_string(),
            given_up: Some(given_up),
            word: None,
            near: None,
        }
    }
}

impl Refusal {
    /// What stands nowhere in particular.
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self {
            word: None,
            near: None,
            message: message.into(),
            given_up: None,
        }
    }

    /// What stands at `word`.
    pub(crate) fn at(word: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            word: Some(word.into()),
            near: None,
            message: message.into(),
            given_up: None,
        }
    }

    /// The same, about what stands at `near`, if nothing nearer is known.
    pub(crate) fn near(mut self, near: Option<Position>) -> Self {
        self.near = self.near.or(near);
        self
    }

    /// The same, about a piece of a syntax tree.
    pub(crate) fn within_span(self, span: Span) -> Self {
        let known = span != Span::empty();
        self.near(known.then_some(span.start))
    }

    /// The refusal that travels in `error`, if one does.
    pub(crate) fn within(error: &DataFusionError) -> Option<Self> {
        let words = error.to_string();
        let (_, rest) = words.split_once(BEGIN)?;
        let (word, rest) = rest.split_once(BETWEEN)?;
        let (near, rest) = rest.split_once(BETWEEN)?;
        let (message, _) = rest.split_once(END)?;
        let near = near.split_once(':').and_then(|(line, column)| {
            Some(Position {
                line: line.parse().ok()?,
                column: column.parse().ok()?,
            })
        });
        Some(Self {
            word: (!word.is_empty()).then(|| word.to_owned()),
            near,
            message: message.to_owned(),
            given_up: None,
        })
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl From<Refusal> for DataFusionError {
    fn from(refusal: Refusal) -> Self {
        let word = refusal.word.unwrap_or_default();
        let near = refusal.near;
        let near = near.map_or_else(String::new, |near| format!("{}:{}", near.line, near.column));
        Self::Plan(format!(
            "{BEGIN}{word}{BETWEEN}{near}{BETWEEN}{}{END}",
            refusal.message
        ))
    }
}

/// Where the first column of `expr` stands in the text, if it has one.
pub(crate) fn position_of(expr: &Expr) -> Option<Position> {
    let mut found = None;
    let walked = expr.apply(|e| {
        if let Expr::Column(column) = e
            && let Some(span) = column.spans.first()
        {
            found = Some(Position {
                line: span.start.line,
                column: span.start.column,
            });
            return Ok(TreeNodeRecursion::Stop);
        }
        Ok(TreeNodeRecursion::Continue)
    });
    walked.ok().and(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_comes_out_of_any_words_around_it() {
        let refusal = Refusal::at("lower", "lower takes VARCHAR; write CAST(..)");
        let inner = DataFusionError::from(refusal.clone());
        let outer = DataFusionError::Execution(format!("coercion failed with: {inner}; really"));
        assert_eq!(Refusal::within(&outer), Some(refusal.clone()));
        let placed = refusal.near(Some(Position { line: 3, column: 7 }));
        assert_eq!(Refusal::within(&placed.clone().into()), Some(placed));
        let plain = Refusal::new("nothing is there");
        assert_eq!(Refusal::within(&plain.clone().into()), Some(plain));
        assert_eq!(Refusal::within(&DataFusionError::Plan("x".into())), None);
    }
}
