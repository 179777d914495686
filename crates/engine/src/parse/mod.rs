//! From the text of definition files to statements. Owns the grammar of `docs/sql.md`; the
//! bodies of views, services and labels stay SQL and are parsed by DataFusion's parser, so that
//! they are its dialect.
//!
//! Text comes from `catalog`, which compiles what leaves here. Nothing is looked up here: whether a
//! name exists is the catalog's business. Limits are checked three times: on tokens, before any
//! tree exists (`caps`), because a deep tree overflows the stack of whoever walks it; while
//! sqlparser tries its readings (`steps`); and on the tree, before it is planned (`bounds`).

mod bounds;
mod caps;
mod clauses;
mod cursor;
mod feature_test;
mod foreign;
mod grammar;
mod hints;
mod interval;
mod monitor;
mod objects;
mod query;
mod question;
mod serving;
mod statement;
mod steps;
#[cfg(test)]
mod tests;
mod text;
mod windows;

pub(crate) use cursor::{Cursor, label_query, parse_query};
pub(crate) use feature_test::{
    Cell, ExpectClause, GivenClause, GivenWords, Literal, Table, TestStatement,
};
pub(crate) use interval::{Interval, parse_interval};
pub(crate) use query::{ident_name, plain_name, refuse_clauses, relations};
pub(crate) use question::{Question, parse_question};
pub use statement::ObjectKind;
pub(crate) use statement::{
    Definition, MonitorStatement, ServiceStatement, Statement, ViewStatement,
};
#[cfg(test)]
pub(crate) use steps::Steps;
pub(crate) use text::{DIALECT, QueryText, lower_first, position};

use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan, Tokenizer, TokenizerError};
use forebay_core::limits::DEFINITION_FILE_MAX_BYTES;

use crate::error::{EngineError, Location, Result};
use crate::patience::Patience;

/// All statements of one file, in order.
///
/// # Errors
/// `Syntax`, `Limit` or `Refused`, each with its place; planning is given up.
pub(crate) fn parse_file(file: &str, text: &str, patience: &Patience) -> Result<Vec<Statement>> {
    let mut statements = Vec::new();
    for tokens in split_statements(tokens_of(file, text)?) {
        patience.ask()?;
        caps::check(file, text, &tokens)?;
        statements.push(Cursor::new(file, text, tokens).statement()?);
    }
    Ok(statements)
}

/// All tests of one file, in order. They hold literals alone: no tree is made of them.
///
/// # Errors
/// `Syntax` or `Limit`, each with its place.
pub(crate) fn parse_tests(file: &str, text: &str) -> Result<Vec<TestStatement>> {
    let statements = split_statements(tokens_of(file, text)?).into_iter();
    statements
        .map(|tokens| Cursor::new(file, text, tokens).test())
        .collect()
}

fn tokens_of(file: &str, text: &str) -> Result<Vec<TokenWithSpan>> {
    let at = Location {
        file: file.to_owned(),
        line: 1,
        column: 1,
    };
    if text.len() > DEFINITION_FILE_MAX_BYTES {
        let message = format!(
            "the file has {} bytes, more than {DEFINITION_FILE_MAX_BYTES} (DEFINITION_FILE_MAX_BYTES); split it",
            text.len()
        );
        return Err(EngineError::Limit { at, message });
    }
    // Editors put a mark of the byte order in front, which no one sees.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    Tokenizer::new(&DIALECT, text)
        .tokenize_with_location()
        .map_err(|e| tokenizer_error(file, &e))
}

/// Split at semicolons and drop statements of white space and comments alone.
fn split_statements(tokens: Vec<TokenWithSpan>) -> Vec<Vec<TokenWithSpan>> {
    let mut statements = vec![Vec::new()];
    for token in tokens {
        match token.token {
            Token::SemiColon => statements.push(Vec::new()),
            Token::Whitespace(_) | Token::EOF => {}
            _ => statements.last_mut().expect("starts with one").push(token),
        }
    }
    statements.retain(|tokens| !tokens.is_empty());
    statements
}

fn tokenizer_error(file: &str, error: &TokenizerError) -> EngineError {
    let at = Location {
        file: file.to_owned(),
        line: error.location.line,
        column: error.location.column,
    };
    EngineError::Syntax {
        at,
        message: format!(
            "the text cannot be split into tokens: {}",
            lower_first(&error.message)
        ),
    }
}
