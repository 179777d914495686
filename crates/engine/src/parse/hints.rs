//! What to write for words of other systems that the grammar has no place for, and the parser's own
//! words made plain. Everything here is an error already; these texts say what it means.

use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};

use super::text::lower_first;

const FRAME: &str = "RANGE BETWEEN INTERVAL '1' HOUR PRECEDING AND CURRENT ROW";

/// What cuts events into windows in other systems.
const WINDOW_FUNCTIONS: [&str; 4] = ["TUMBLE", "HOP", "SESSION", "CUMULATE"];

/// Whether `name` cuts events into windows in other systems.
pub(super) fn is_window_function(name: &str) -> bool {
    WINDOW_FUNCTIONS
        .iter()
        .any(|own| own.eq_ignore_ascii_case(name))
}

/// What to write in the place of a window function `name`.
pub(super) fn instead_of_window(name: &str) -> String {
    format!(
        "{name} is not supported: windows end with the moment that is asked for; write FROM source, and each aggregate \
         as count(*) OVER (PARTITION BY key ORDER BY event_time {FRAME})"
    )
}

/// Words that the parser stops at, and what they mean there.
fn instead_of(found: &str) -> Option<&'static str> {
    Some(match found.to_ascii_uppercase().as_str() {
        "EXCLUDE" => {
            "a frame ends with the moment itself, of which nothing is left out; drop EXCLUDE"
        }
        "SYSTEM_TIME" => {
            "FOR SYSTEM_TIME AS OF is not supported; write a feature view for each source: a feature service joins \
             them as of the request's time"
        }
        "ROWS_RANGE" => "write RANGE BETWEEN INTERVAL '1' HOUR PRECEDING AND CURRENT ROW",
        _ if found.starts_with(['\u{2018}', '\u{2019}', '\u{201c}', '\u{201d}']) => {
            "this is a typographic quote; write ' around a text and \" around a name"
        }
        _ => return None,
    })
}

/// The parser's `text` about a statement of these `tokens`, in plain words.
pub(super) fn parser_message(text: &str, tokens: &[TokenWithSpan]) -> String {
    let word = |token: &TokenWithSpan| match &token.token {
        Token::Word(word) => Some(word.value.clone()),
        _ => None,
    };
    let window = tokens
        .iter()
        .filter_map(word)
        .find(|w| is_window_function(w));
    if let Some(name) = window {
        return instead_of_window(&name);
    }
    let plain = text
        .strip_prefix("Expected: ")
        .and_then(|rest| rest.split_once(", found: "));
    let Some((expected, found)) = plain else {
        return lower_first(text);
    };
    let stands = match found {
        "EOF" => "the statement ends".to_owned(),
        found => format!("found {found}"),
    };
    let said = format!("expected {expected}, {stands}");
    if let Some(instead) = instead_of(found) {
        return format!("{said}: {instead}");
    }
    match expected {
        ")" => format!("{said}: a bracket before it is open still; close it, or drop it"),
        _ => said,
    }
}
