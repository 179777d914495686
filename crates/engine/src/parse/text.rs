//! Pieces of SQL text with their tokens and places: what lets an error point to file, line and
//! column. Also the one dialect in which all texts are read. Knows no statement.

use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::tokenizer::{Location as Position, Span, Token, TokenWithSpan};

use crate::error::Location;

pub(crate) static DIALECT: GenericDialect = GenericDialect {};

/// A piece of SQL with its tokens, so that an error can point into it.
#[derive(Debug, Clone)]
pub(crate) struct QueryText {
    pub(crate) file: String,
    pub(crate) tokens: Vec<TokenWithSpan>,
}

impl QueryText {
    /// Where `word` first stands in it (any case), else where it begins.
    pub(crate) fn locate(&self, word: Option<&str>) -> Location {
        self.locate_near(word, None)
    }

    /// Where `word` stands nearest to `near` (any case); `near` itself where there is no word.
    pub(crate) fn locate_near(&self, word: Option<&str>, near: Option<Position>) -> Location {
        let of_near = near.map(|near| self.tokens.partition_point(|t| t.span.start < near));
        let places = (0..self.tokens.len()).filter(|place| {
            word.is_some_and(|word| match &self.tokens[*place].token {
                Token::Word(w) => w.value.eq_ignore_ascii_case(word),
                other => other.to_string() == word,
            })
        });
        let found = match of_near {
            // Of two the later one.
            Some(of_near) => places.min_by_key(|place| (place.abs_diff(of_near), *place < of_near)),
            None => places.min(),
        };
        let found = found.map(|place| self.tokens[place].span.start);
        found
            .or(near)
            .or_else(|| self.tokens.first().map(|t| t.span.start))
            .map_or_else(Location::default, |at| location(&self.file, at))
    }
}

impl QueryText {
    /// Its words, keywords among them; None where a star stands for all columns of a table.
    pub(crate) fn words(&self) -> Option<impl Iterator<Item = &str>> {
        let is_star = |pair: &[TokenWithSpan]| {
            let before = match &pair[0].token {
                Token::Comma | Token::Period => true,
                Token::Word(word) => ["select", "all", "distinct"]
                    .iter()
                    .any(|keyword| word.value.eq_ignore_ascii_case(keyword)),
                _ => false,
            };
            before && pair[1].token == Token::Mul
        };
        (!self.tokens.windows(2).any(is_star)).then(|| self.tokens.iter().filter_map(word_of))
    }
}

fn word_of(token: &TokenWithSpan) -> Option<&str> {
    match &token.token {
        Token::Word(word) => Some(&word.value),
        _ => None,
    }
}

/// Where a piece of a syntax tree begins, if it knows.
pub(crate) fn position(span: Span) -> Option<Position> {
    (span != Span::empty()).then_some(span.start)
}

/// `position` in `file`.
pub(crate) fn location(file: &str, position: Position) -> Location {
    Location {
        file: file.to_owned(),
        line: position.line,
        column: position.column,
    }
}

/// The text between two positions (the end is exclusive, as the tokenizer has it).
pub(super) fn source_slice(text: &str, start: Position, end: Position) -> &str {
    text.get(byte_offset(text, start)..byte_offset(text, end))
        .unwrap_or_default()
}

fn byte_offset(text: &str, position: Position) -> usize {
    let mut offset = 0;
    for _ in 1..position.line {
        match text.get(offset..).and_then(|rest| rest.find('\n')) {
            Some(newline) => offset += newline + 1,
            None => return text.len(),
        }
    }
    let columns =
        usize::try_from(position.column.saturating_sub(1)).expect("a column of a text in memory");
    text.get(offset..)
        .and_then(|rest| rest.char_indices().nth(columns))
        .map_or(text.len(), |(i, _)| offset + i)
}

/// `text` with its first letter in lower case.
pub(crate) fn lower_first(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| {
        first.to_lowercase().chain(chars).collect()
    })
}
