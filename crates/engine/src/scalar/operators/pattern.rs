//! LIKE, ILIKE and SIMILAR TO, each over a constant pattern that is read when the definition is
//! compiled. The whole text has to match. In LIKE `%` is any text, `_` any one character, and `\`
//! (or the ESCAPE character) takes the meaning of what follows it away; ILIKE makes no difference
//! of case, by Unicode's simple folding. SIMILAR TO has `| * + ? {m,n} ( ) [..]` besides, as SQL
//! has them: `.`, `^` and `$` are themselves.

use std::iter::Peekable;
use std::str::Chars;
use std::sync::Arc;

use arrow_array::{ArrayRef, BooleanArray};
use arrow_buffer::{BooleanBuffer, NullBuffer};
use forebay_core::PortResult;
use forebay_core::fault::FaultKind;
use regex::RegexBuilder;

use super::column::{Texts, nulls_of};
use crate::scalar::bounded_regex::BoundedRegex;
use crate::scalar::kernel::{Kernel, Operand, RowFaults};

/// A pattern, ready to be asked.
#[derive(Debug, Clone)]
pub(crate) enum Pattern {
    /// The whole text.
    Equal(String),
    Prefix(String),
    Suffix(String),
    Within(String),
    Regex(BoundedRegex),
}

impl Pattern {
    fn matches(&self, text: &str) -> Result<bool, FaultKind> {
        Ok(match self {
            Self::Equal(all) => text == all,
            Self::Prefix(start) => text.starts_with(start.as_str()),
            Self::Suffix(end) => text.ends_with(end.as_str()),
            Self::Within(part) => text.contains(part.as_str()),
            Self::Regex(regex) => regex.on(text)?.is_match(text),
        })
    }
}

impl Kernel for Pattern {
    fn run(
        &self,
        operands: &[Operand<'_>],
        rows: usize,
        faults: &mut RowFaults,
    ) -> PortResult<ArrayRef> {
        let texts = Texts::of(operands[0]);
        let nulls = nulls_of(operands, rows);
        let is_null = |row| nulls.as_ref().is_some_and(|nulls| nulls.is_null(row));
        let found = BooleanBuffer::collect_bool(rows, |row| {
            if is_null(row) {
                return false;
            }
            self.matches(texts.value(row)).unwrap_or_else(|kind| {
                faults.push(row, kind);
                false
            })
        });
        if faults.is_empty() {
            return Ok(Arc::new(BooleanArray::new(found, nulls)));
        }
        let mut failed = faults.iter().peekable();
        let sound = BooleanBuffer::collect_bool(rows, |row| {
            failed.next_if(|(at, _)| *at as usize == row).is_none()
        });
        let nulls = NullBuffer::union(nulls.as_ref(), Some(&NullBuffer::new(sound)));
        Ok(Arc::new(BooleanArray::new(found, nulls)))
    }
}

/// A piece of a LIKE pattern.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Piece {
    Any,
    One,
    Char(char),
}

/// The pattern of LIKE, or of ILIKE where `any_case`.
///
/// # Errors
/// It ends with its escape character; it is too big.
pub(crate) fn like(pattern: &str, escape: Option<char>, any_case: bool) -> Result<Pattern, String> {
    let escape = escape.unwrap_or('\\');
    let mut pieces = Vec::with_capacity(pattern.len());
    let mut chars = pattern.chars();
    while let Some(char) = chars.next() {
        pieces.push(if char == escape {
            let Some(next) = chars.next() else {
                return Err(format!(
                    "the pattern '{pattern}' ends with its escape character; write {escape}{escape} for the character \
                     itself"
                ));
            };
            Piece::Char(next)
        } else {
            match char {
                '%' => Piece::Any,
                '_' => Piece::One,
                char => Piece::Char(char),
            }
        });
    }
    pieces.dedup_by(|a, b| *a == Piece::Any && *b == Piece::Any);
    if !any_case && let Some(plain) = plain(&pieces) {
        return Ok(plain);
    }
    let mut regex = String::with_capacity(pattern.len() + 16);
    regex.push_str(r"\A(?:");
    for piece in &pieces {
        match piece {
            Piece::Any => regex.push_str(".*"),
            Piece::One => regex.push('.'),
            Piece::Char(char) => literal(&mut regex, *char),
        }
    }
    regex.push_str(r")\z");
    compiled(&regex, pattern, any_case)
}

/// A pattern that needs no regular expression.
fn plain(pieces: &[Piece]) -> Option<Pattern> {
    let text = |pieces: &[Piece]| {
        pieces
            .iter()
            .map(|piece| match piece {
                Piece::Char(char) => Some(*char),
                Piece::Any | Piece::One => None,
            })
            .collect::<Option<String>>()
    };
    match pieces {
        [Piece::Any, inner @ .., Piece::Any] => text(inner).map(Pattern::Within),
        [inner @ .., Piece::Any] => text(inner).map(Pattern::Prefix),
        [Piece::Any, inner @ ..] => text(inner).map(Pattern::Suffix),
        all => text(all).map(Pattern::Equal),
    }
}

/// The pattern of SIMILAR TO.
///
/// # Errors
/// It is none; it is too big.
pub(crate) fn similar(pattern: &str, escape: Option<char>) -> Result<Pattern, String> {
    let escape = escape.unwrap_or('\\');
    let mut regex = String::with_capacity(pattern.len() + 16);
    regex.push_str(r"\A(?:");
    let mut chars = pattern.chars().peekable();
    let mut in_class = false;
    while let Some(char) = chars.next() {
        if char == escape {
            let Some(next) = chars.next() else {
                return Err(format!(
                    "the pattern '{pattern}' ends with its escape character; write {escape}{escape} for the character \
                     itself"
                ));
            };
            literal(&mut regex, next);
            continue;
        }
        match char {
            ']' if in_class => {
                in_class = false;
                regex.push(']');
            }
            '[' if in_class && matches!(chars.peek(), Some(':' | '.' | '=')) => {
                regex.push_str(&named_class(pattern, &mut chars)?);
            }
            // Ranges and a leading ^ are those of SQL; set operations of the library are not.
            '-' | '^' if in_class => regex.push(char),
            _ if in_class => literal(&mut regex, char),
            '[' => {
                in_class = true;
                regex.push('[');
                if chars.next_if_eq(&'^').is_some() {
                    regex.push('^');
                }
            }
            '%' => regex.push_str(".*"),
            '_' => regex.push('.'),
            // A group that nothing is captured of.
            '(' => regex.push_str("(?:"),
            '|' | '*' | '+' | '?' | ')' | '{' | '}' => regex.push(char),
            char => literal(&mut regex, char),
        }
    }
    regex.push_str(r")\z");
    // `??` and the like would be lazy, not repeated: the same texts match.
    compiled(&regex, pattern, false)
}

/// `[:alpha:]` and the like within brackets, behind its first one.
fn named_class(pattern: &str, chars: &mut Peekable<Chars<'_>>) -> Result<String, String> {
    const NAMES: [&str; 12] = [
        "alnum", "alpha", "blank", "cntrl", "digit", "graph", "lower", "print", "punct", "space",
        "upper", "xdigit",
    ];
    let named: String = chars.by_ref().take_while(|char| *char != ']').collect();
    let name = named.strip_prefix(':').and_then(|n| n.strip_suffix(':'));
    match name.filter(|name| NAMES.contains(name)) {
        Some(name) => Ok(format!("[:{name}:]")),
        None => Err(format!(
            "the pattern '{pattern}' has a class [{named}] that there is not; write one of {}, as in \
             [[:alpha:]], or its characters",
            NAMES.map(|name| format!("[:{name}:]")).join(", ")
        )),
    }
}

fn literal(regex: &mut String, char: char) {
    if regex_syntax_char(char) {
        regex.push('\\');
    }
    regex.push(char);
}

fn regex_syntax_char(char: char) -> bool {
    char.is_ascii_punctuation() && char != '<' && char != '>' && char != '_'
}

fn compiled(regex: &str, pattern: &str, any_case: bool) -> Result<Pattern, String> {
    let mut builder = RegexBuilder::new(regex);
    builder
        .case_insensitive(any_case)
        .dot_matches_new_line(true);
    BoundedRegex::build(&mut builder)
        .map(Pattern::Regex)
        .map_err(|error| match error {
            regex::Error::CompiledTooBig(limit) => format!(
                "the pattern '{pattern}' makes more than {limit} bytes (REGEX_MAX_BYTES); write a shorter one"
            ),
            _ => format!(
                "the pattern '{pattern}' is none: brackets do not close, or there is nothing to repeat; write them \
                 with the escape character where they are meant themselves"
            ),
        })
}
