//! Refusals of what other systems write into column lists and heads of statements, with what to
//! write instead. `clauses` asks at the places where such a word can stand.

use datafusion::sql::sqlparser::tokenizer::Token;

use super::cursor::Cursor;
use crate::error::Result;

impl Cursor<'_> {
    /// Refuse what stands behind the type of `column`, if it is no part of its declaration.
    pub(super) fn behind_type(&self, column: &str) -> Result<()> {
        let word = match self.peek() {
            Token::Word(word) => word.value.to_ascii_uppercase(),
            _ => return Ok(()),
        };
        let instead = match word.as_str() {
            "WITH" | "WITHOUT" => {
                "TIMESTAMP WITH TIME ZONE is not told from others: every TIMESTAMP is a moment in UTC; write TIMESTAMP"
            }
            "UNSIGNED" => "UNSIGNED is not supported; write BIGINT",
            "METADATA" => {
                "METADATA columns are not supported: time, partition and offset of the record are kept beside each \
                 event; drop the column"
            }
            "DEFAULT" => {
                "DEFAULT is not supported: a field that is missing is NULL; write coalesce(column, value) where it is \
                 read"
            }
            "COMMENT" => "COMMENT is not supported; write -- and the words behind the line",
            "PRIMARY" => {
                "PRIMARY KEY is not of a source; drop it, and write CREATE ENTITY e (key VARCHAR)"
            }
            "AS" | "GENERATED" => {
                "computed columns are not supported; compute it where it is read, in the view"
            }
            _ => return Ok(()),
        };
        Err(self.syntax(format!("column {column}: {instead}")))
    }

    /// Refuse a column's `name` that goes on, or is none.
    pub(super) fn behind_column_name(&self, name: &str) -> Result<()> {
        let next = match self.peek() {
            Token::Period => match self.tokens(self.index() + 1, self.index() + 2) {
                [token] => token.token.to_string(),
                _ => String::new(),
            },
            Token::Word(word) if name == "primary" && word.value.eq_ignore_ascii_case("KEY") => {
                return Err(self.syntax(
                    "PRIMARY KEY is not of a source; drop it, and write CREATE ENTITY e (key VARCHAR)",
                ));
            }
            Token::Word(word) if word.value.eq_ignore_ascii_case("AS") => {
                return Err(self.syntax(format!(
                    "column {name} is computed (AS), which is not supported; compute it where it is read, in the view"
                )));
            }
            _ => return Ok(()),
        };
        Err(self.syntax(format!(
            "column {name}.{next} is nested, which is not supported; bring it as a field of its own, at the top of the \
             event: {next} VARCHAR"
        )))
    }

    /// Refuse IF NOT EXISTS, which stands next.
    pub(super) fn refuse_if_not_exists(&self) -> Result<()> {
        let next = self.tokens(self.index() + 1, self.index() + 2);
        let not = matches!(next, [token] if matches!(&token.token, Token::Word(w) if w.value.eq_ignore_ascii_case("NOT")));
        if self.is_word("IF") && not {
            return Err(self.syntax(
                "IF NOT EXISTS is not supported: applying a definition that is there changes nothing; drop it, or \
                 write CREATE OR REPLACE",
            ));
        }
        Ok(())
    }
}
