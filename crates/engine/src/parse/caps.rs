//! The limits of one statement, counted on its tokens before a tree exists: bytes, tokens, chained
//! operators, levels of nesting, branches of set operations, and what may nest in one another over
//! all levels. Measured: a chain of a few thousand operators overflows a 2 MiB stack and plans in
//! quadratic time.
//!
//! No list says what nests: every token counts but names, literals and separators, so that an
//! operator of a later parser counts too. A tree is never deeper than what is counted for it: a
//! path to its deepest leaf passes the operators of one element of a list, and then one bracket or
//! CASE of that element.

use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan, Word};
use forebay_core::limits::{
    SQL_MAX_BYTES, SQL_MAX_CHAINED_OPERATORS, SQL_MAX_NESTED_TOKENS, SQL_MAX_NESTING,
    SQL_MAX_SET_BRANCHES, SQL_MAX_TOKENS,
};

use super::text::{location, source_slice};
use crate::error::{EngineError, Location, Result};

/// Check one statement's tokens (without white space; not empty).
pub(super) fn check(file: &str, text: &str, tokens: &[TokenWithSpan]) -> Result<()> {
    let (Some(first), Some(last)) = (tokens.first(), tokens.last()) else {
        return Ok(());
    };
    let at = location(file, first.span.start);
    check_size(
        &at,
        source_slice(text, first.span.start, last.span.end),
        tokens,
    )?;
    let mut counts = Counts::default();
    for token in tokens {
        counts.note(&token.token);
        counts.check(&location(file, token.span.start))?;
    }
    // A bracket that is left open closes with the statement.
    while !counts.outer.is_empty() {
        counts.close();
    }
    counts.check(&at)
}

/// Bytes and tokens of a statement.
fn check_size(at: &Location, text: &str, tokens: &[TokenWithSpan]) -> Result<()> {
    refuse_above(
        at,
        text.len(),
        SQL_MAX_BYTES,
        "bytes",
        "SQL_MAX_BYTES",
        "split the statement",
    )?;
    refuse_above(
        at,
        tokens.len(),
        SQL_MAX_TOKENS,
        "tokens",
        "SQL_MAX_TOKENS",
        "split the statement",
    )
}

/// What opens and ends a level.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
enum Bracket {
    #[default]
    Round,
    /// `[` and `{`.
    Other,
    Case,
}

/// Tokens between two brackets, or between CASE and END. A comma, a clause, or WHEN, THEN and ELSE
/// begin another element of it.
#[derive(Clone, Copy, Default)]
struct Level {
    bracket: Bracket,
    /// Operators of this element.
    operators: usize,
    /// Operators, keywords and periods of this element.
    links: usize,
    /// Depth of the deepest level that has ended in this element.
    inside: usize,
    /// Depth of the deepest element before this one.
    before: usize,
}

impl Level {
    fn depth(&self) -> usize {
        self.before.max(self.links + self.inside)
    }

    fn next_element(&mut self) {
        *self = Self {
            bracket: self.bracket,
            before: self.depth(),
            ..Self::default()
        };
    }
}

#[derive(Default)]
struct Counts {
    /// The levels around `level`.
    outer: Vec<Level>,
    level: Level,
    /// UNION and the like.
    set_operators: usize,
    /// Types with parameters in angle brackets, which may hold one another.
    angles: usize,
    /// The word before this token, or no keyword.
    last: Option<Keyword>,
}

impl Counts {
    fn note(&mut self, token: &Token) {
        match token {
            Token::LParen => self.open(Bracket::Round),
            Token::LBracket | Token::LBrace => self.open(Bracket::Other),
            Token::RParen => self.close_to(Bracket::Round),
            Token::RBracket | Token::RBrace => {
                self.close_to(Bracket::Other);
                // A subscript takes what stands before it as its operand.
                self.level.links += 1;
            }
            Token::Comma => self.level.next_element(),
            Token::Period => self.level.links += 1,
            Token::Word(word) => self.word(word),
            other if is_operator(other) => {
                let typed = [Keyword::ARRAY, Keyword::STRUCT, Keyword::MAP];
                let of_type = self.last.is_some_and(|word| typed.contains(&word));
                self.angles += usize::from(*other == Token::Lt && of_type);
                self.level.links += 1;
                self.level.operators += 1;
            }
            _ => {}
        }
        self.last = match token {
            Token::Word(word) => Some(word.keyword),
            _ => None,
        };
    }

    fn word(&mut self, word: &Word) {
        let is_case = self.level.bracket == Bracket::Case;
        match word.keyword {
            Keyword::NoKeyword => {}
            Keyword::CASE => self.open(Bracket::Case),
            Keyword::END if is_case => self.close(),
            Keyword::WHEN | Keyword::THEN | Keyword::ELSE if is_case => self.level.next_element(),
            Keyword::UNION | Keyword::INTERSECT | Keyword::EXCEPT => {
                self.set_operators += 1;
                self.level.next_element();
            }
            // IS DISTINCT FROM is an operator.
            Keyword::FROM if self.last == Some(Keyword::DISTINCT) => self.level.links += 1,
            Keyword::SELECT | Keyword::FROM | Keyword::WHERE | Keyword::WINDOW | Keyword::ORDER => {
                self.level.next_element();
            }
            keyword => {
                self.level.links += 1;
                self.level.operators += usize::from(is_operator_word(keyword));
            }
        }
    }

    fn open(&mut self, bracket: Bracket) {
        let level = Level {
            bracket,
            ..Level::default()
        };
        self.outer.push(std::mem::replace(&mut self.level, level));
    }

    /// End this level, if it is not the statement itself.
    fn close(&mut self) {
        if let Some(outer) = self.outer.pop() {
            let depth = 1 + self.level.depth();
            self.level = outer;
            self.level.inside = self.level.inside.max(depth);
        }
    }

    /// End this level with `bracket`, and each CASE in it that has no END: a column may have that
    /// name.
    fn close_to(&mut self, bracket: Bracket) {
        while self.level.bracket == Bracket::Case && bracket != Bracket::Case {
            self.close();
        }
        self.close();
    }

    fn check(&self, at: &Location) -> Result<()> {
        refuse_above(
            at,
            self.level.operators,
            SQL_MAX_CHAINED_OPERATORS,
            "chained operators",
            "SQL_MAX_CHAINED_OPERATORS",
            "use IN for a long list of OR, or compute the rest in a subquery",
        )?;
        refuse_above(
            at,
            self.outer.len().max(self.angles),
            SQL_MAX_NESTING,
            "levels of brackets and CASE",
            "SQL_MAX_NESTING",
            "compute the inner part in a subquery of a view, or in a view that a service joins",
        )?;
        refuse_above(
            at,
            self.level.depth(),
            SQL_MAX_NESTED_TOKENS,
            "operators and keywords nested in one another",
            "SQL_MAX_NESTED_TOKENS",
            "compute the inner part in a subquery of a view, or in a view that a service joins",
        )?;
        refuse_above(
            at,
            1 + self.set_operators,
            SQL_MAX_SET_BRANCHES,
            "branches of UNION",
            "SQL_MAX_SET_BRANCHES",
            "write one definition for each part",
        )
    }
}

/// Whether a keyword takes an operand on its left or right.
fn is_operator_word(keyword: Keyword) -> bool {
    matches!(
        keyword,
        Keyword::AND
            | Keyword::OR
            | Keyword::NOT
            | Keyword::LIKE
            | Keyword::ILIKE
            | Keyword::SIMILAR
            | Keyword::RLIKE
            | Keyword::REGEXP
            | Keyword::IN
            | Keyword::IS
            | Keyword::NOTNULL
            | Keyword::AT
            | Keyword::COLLATE
            | Keyword::XOR
            | Keyword::DIV
            | Keyword::OVERLAPS
            | Keyword::MEMBER
            | Keyword::JOIN
    )
}

fn refuse_above(
    at: &Location,
    found: usize,
    limit: usize,
    unit: &str,
    name: &str,
    remedy: &str,
) -> Result<()> {
    if found <= limit {
        return Ok(());
    }
    let message = format!("the statement has more than {limit} {unit} ({name}); {remedy}");
    Err(EngineError::Limit {
        at: at.clone(),
        message,
    })
}

/// Whether a token chains operands: every one but names, literals and separators, so that an
/// operator of a later parser counts too.
fn is_operator(token: &Token) -> bool {
    !matches!(
        token,
        Token::EOF
            | Token::Word(_)
            | Token::Number(..)
            | Token::Char(_)
            | Token::SingleQuotedString(_)
            | Token::DoubleQuotedString(_)
            | Token::NationalStringLiteral(_)
            | Token::EscapedStringLiteral(_)
            | Token::UnicodeStringLiteral(_)
            | Token::HexStringLiteral(_)
            | Token::DollarQuotedString(_)
            | Token::Whitespace(_)
            | Token::Comma
            | Token::Period
            | Token::SemiColon
            | Token::LParen
            | Token::RParen
            | Token::LBracket
            | Token::RBracket
            | Token::LBrace
            | Token::RBrace
    )
}
