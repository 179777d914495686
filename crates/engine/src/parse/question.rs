//! `SHOW`, `DESCRIBE` and `EXPLAIN`: questions about the objects of a catalog. They change nothing
//! and stand in no file of definitions; `catalog` answers them.

use super::caps;
use super::cursor::Cursor;
use super::grammar::all_behind;
use super::statement::ObjectKind;
use super::{split_statements, tokens_of};
use crate::error::Result;

/// What is asked.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Question {
    /// `SHOW FEATURE VIEWS`.
    Show(ObjectKind),
    /// `DESCRIBE [FEATURE VIEW] name`; of a model `name/version`, where its version is written.
    Describe {
        kind: Option<ObjectKind>,
        name: String,
    },
    /// `EXPLAIN FEATURE VIEW name`.
    Explain { view: String },
}

/// What errors call the text of a question.
const FILE: &str = "statement";

/// The question that `text` is.
///
/// # Errors
/// `Syntax` or `Limit`, with the place.
pub(crate) fn parse_question(text: &str) -> Result<Question> {
    let mut statements = split_statements(tokens_of(FILE, text)?);
    let more = (statements.len() > 1).then(|| statements.swap_remove(1));
    let tokens = statements.into_iter().next().unwrap_or_default();
    caps::check(FILE, text, &tokens)?;
    let question = Cursor::new(FILE, text, tokens).question()?;
    match more {
        None => Ok(question),
        Some(tokens) => Cursor::new(FILE, text, tokens).expected("one statement, no second one"),
    }
}

impl Cursor<'_> {
    fn question(mut self) -> Result<Question> {
        let question = if self.take_word("SHOW") {
            match self.take_kind(true)? {
                Some(kind) => Question::Show(kind),
                None => return self.expected(&all_behind("SHOW", true)),
            }
        } else if self.take_word("DESCRIBE") {
            let kind = self.take_kind(false)?;
            let mut name = self.name("the name of an object")?;
            let is_model = kind.is_none_or(|kind| kind == ObjectKind::Model);
            if is_model && self.take_word("VERSION") {
                name = format!("{name}/{}", self.whole_number("the model's version")?);
            }
            Question::Describe { kind, name }
        } else if self.take_word("EXPLAIN") {
            self.expect_words(&["FEATURE", "VIEW"])?;
            Question::Explain {
                view: self.name("the name of the feature view")?,
            }
        } else {
            return self.expected(
                "SHOW kind, DESCRIBE [kind] name or EXPLAIN FEATURE VIEW name (definitions are applied from files)",
            );
        };
        self.end()?;
        Ok(question)
    }
}
