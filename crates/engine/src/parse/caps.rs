//! The limits of one statement, counted on its tokens before a tree exists: bytes, tokens, chained
//! operators, branches of set operations. Measured: a chain of a few thousand operators overflows a
//! 2 MiB stack and plans in quadratic time.

use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};
use forebay_core::limits::{
    SQL_MAX_BYTES, SQL_MAX_CHAINED_OPERATORS, SQL_MAX_SET_BRANCHES, SQL_MAX_TOKENS,
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
    let mut branches = 1;
    // One counter for each open parenthesis: operators since the last comma or clause at that
    // level.
    let mut chains = vec![0_usize];
    for token in tokens {
        note(&token.token, &mut chains, &mut branches);
        let at = || location(file, token.span.start);
        refuse_above(
            &at(),
            *chains
                .last()
                .expect("starts with one, and the last one stays"),
            SQL_MAX_CHAINED_OPERATORS,
            "chained operators",
            "SQL_MAX_CHAINED_OPERATORS",
            "use IN for a long list of OR, or compute the rest in a subquery",
        )?;
        refuse_above(
            &at(),
            branches,
            SQL_MAX_SET_BRANCHES,
            "branches of UNION",
            "SQL_MAX_SET_BRANCHES",
            "write one definition for each part",
        )?;
    }
    Ok(())
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

/// Count one token: a parenthesis opens and closes a level, a comma or a clause begins a chain
/// anew.
fn note(token: &Token, chains: &mut Vec<usize>, branches: &mut usize) {
    match token {
        Token::LParen | Token::LBracket => chains.push(0),
        Token::RParen | Token::RBracket if chains.len() > 1 => drop(chains.pop()),
        Token::Comma => reset(chains),
        Token::Word(word) => match word.keyword {
            Keyword::UNION | Keyword::INTERSECT | Keyword::EXCEPT => {
                *branches += 1;
                reset(chains);
            }
            Keyword::SELECT | Keyword::FROM | Keyword::WHERE | Keyword::WINDOW | Keyword::ORDER => {
                reset(chains);
            }
            Keyword::AND
            | Keyword::OR
            | Keyword::NOT
            | Keyword::WHEN
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
            | Keyword::JOIN => count(chains),
            _ => {}
        },
        other if is_operator(other) => count(chains),
        _ => {}
    }
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

fn reset(chains: &mut [usize]) {
    if let Some(chain) = chains.last_mut() {
        *chain = 0;
    }
}

fn count(chains: &mut [usize]) {
    if let Some(chain) = chains.last_mut() {
        *chain += 1;
    }
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
