//! Parts of texts: cut out by position, split at a delimiter, trimmed. Positions count characters
//! from 1; every part is a slice of the text that it is cut from.

use std::collections::HashSet;

use forebay_core::fault::FaultKind;

use super::form::{example, function, takes};
use super::rows::{Bound, Int, Text, TextOut, texts};
use super::text::{chars, times};
use crate::scalar::function::Type::{self, BigInt};
use crate::scalar::function::{Function, Overload, Reference};

const TEXT: &[Type] = &[Type::Text];
const TEXTS: &[Type] = &[Type::Text, Type::Text];
const TEXT_INT: &[Type] = &[Type::Text, BigInt];

/// A set of characters that is searched from its beginning.
const SHORT_SET_BYTES: usize = 64;

/// Where the character at `index`, counted from 0, begins; the text's end where there is none.
pub(super) fn byte_of(text: &str, index: i64) -> usize {
    let Ok(index) = usize::try_from(index) else {
        return 0;
    };
    // No character is shorter than a byte.
    if index >= text.len() {
        return text.len();
    }
    text.char_indices()
        .nth(index)
        .map_or(text.len(), |(byte, _)| byte)
}

/// Characters `from` to before `to`, counted from 0; both may lie outside.
pub(super) fn slice(text: &str, from: i64, to: i64) -> &str {
    let start = byte_of(text, from.max(0));
    let rest = text.get(start..).unwrap_or_default();
    let length = to.saturating_sub(from.max(0)).max(0);
    rest.get(..byte_of(rest, length)).unwrap_or_default()
}

/// The first `count` characters; all but the last `-count` where that is below zero.
fn left(text: &str, count: i64) -> &str {
    let to = if count < 0 {
        chars(text).saturating_add(count)
    } else {
        count
    };
    slice(text, 0, to)
}

/// The last `count` characters; all but the first `-count` where that is below zero.
fn right(text: &str, count: i64) -> &str {
    let from = if count < 0 {
        count.saturating_neg()
    } else {
        chars(text).saturating_sub(count)
    };
    slice(text, from, i64::MAX)
}

/// What lies from `start`, counted from 1, to before `start + count`, of what there is of it.
fn substr(text: &str, start: i64, count: i64) -> Result<&str, FaultKind> {
    if count < 0 {
        return Err(FaultKind::Range);
    }
    let from = start.saturating_sub(1);
    Ok(slice(text, from, from.saturating_add(count)))
}

/// Piece `number` between delimiters, counted from 1, or from the end by -1; "" where there is
/// none. An empty delimiter leaves one piece.
fn split_part<'a>(text: &'a str, delimiter: &str, number: i64) -> Result<&'a str, FaultKind> {
    let nth = times(number.unsigned_abs().saturating_sub(1));
    let piece = match number {
        0 => return Err(FaultKind::Range),
        -1 | 1 if delimiter.is_empty() => Some(text),
        _ if delimiter.is_empty() => None,
        1.. => text.split(delimiter).nth(nth),
        // Delimiters are told from the left, also where they overlap.
        ..0 => text
            .matches(delimiter)
            .count()
            .checked_sub(nth)
            .and_then(|from_left| text.split(delimiter).nth(from_left)),
    };
    Ok(piece.unwrap_or_default())
}

/// What lies before the delimiter that is `count`-th from the left, or behind the one that is
/// `-count`-th from the right; all where there are fewer.
fn substr_index<'a>(text: &'a str, delimiter: &str, count: i64) -> &'a str {
    if delimiter.is_empty() || count == 0 {
        return "";
    }
    let nth = times(count.unsigned_abs() - 1);
    let part = if count > 0 {
        text.match_indices(delimiter)
            .nth(nth)
            .map(|(start, _)| text.get(..start))
    } else {
        text.rmatch_indices(delimiter)
            .nth(nth)
            .map(|(start, delimiter)| text.get(start + delimiter.len()..))
    };
    part.map_or(text, Option::unwrap_or_default)
}

/// Which ends of a text are trimmed.
#[derive(Clone, Copy)]
enum Ends {
    Left,
    Right,
    Both,
}

fn trimmed<'a>(text: &'a str, set: &str, ends: Ends) -> &'a str {
    // A long set is looked up in, or a row of two long texts would take the square of their length.
    let large: Option<HashSet<char>> = (set.len() > SHORT_SET_BYTES).then(|| set.chars().collect());
    let within = |char: char| match &large {
        None => set.contains(char),
        Some(large) => large.contains(&char),
    };
    match ends {
        Ends::Left => text.trim_start_matches(within),
        Ends::Right => text.trim_end_matches(within),
        Ends::Both => text.trim_matches(within),
    }
}

fn trim_spaces(ends: Ends) -> Bound {
    texts::<(Text,), _>(move |(text,): (&str,), out: &mut TextOut| {
        out.put(trimmed(text, " ", ends))
    })
}

fn trim_set(ends: Ends) -> Bound {
    texts::<(Text, Text), _>(move |(text, set): (&str, &str), out: &mut TextOut| {
        out.put(trimmed(text, set, ends))
    })
}

const TRIM: &[Overload] = &[
    takes(TEXT, Type::Text, |_| trim_spaces(Ends::Both)),
    takes(TEXTS, Type::Text, |_| trim_set(Ends::Both)),
];
const LTRIM: &[Overload] = &[
    takes(TEXT, Type::Text, |_| trim_spaces(Ends::Left)),
    takes(TEXTS, Type::Text, |_| trim_set(Ends::Left)),
];
const RTRIM: &[Overload] = &[
    takes(TEXT, Type::Text, |_| trim_spaces(Ends::Right)),
    takes(TEXTS, Type::Text, |_| trim_set(Ends::Right)),
];

const TRIMS: &[Function] = &[
    function(
        "btrim",
        "The text without the spaces at both ends, or without the characters of a second text.",
        TRIM,
        Reference::DuckDb("trim(a, ' ')"),
        &[
            example("btrim('  a b ')", "'a b'"),
            example("btrim('xyaxy', 'xy')", "'a'"),
        ],
    )
    .aliases(&["trim"]),
    function(
        "ltrim",
        "The text without the spaces at its beginning, or without the characters of a second text.",
        LTRIM,
        Reference::DuckDb("ltrim(a, ' ')"),
        &[
            example("ltrim('  a ')", "'a '"),
            example("ltrim('007', '0')", "'7'"),
        ],
    ),
    function(
        "rtrim",
        "The text without the spaces at its end, or without the characters of a second text.",
        RTRIM,
        Reference::DuckDb("rtrim(a, ' ')"),
        &[
            example("rtrim(' a  ')", "' a'"),
            example("rtrim('1.500', '0')", "'1.5'"),
        ],
    ),
];

const CUTS: &[Function] = &[
    function(
        "left",
        "The first n characters; with n below zero all but the last -n.",
        &[takes(TEXT_INT, Type::Text, |_| {
            texts::<(Text, Int), _>(|(text, count): (&str, i64), out: &mut TextOut| {
                out.put(left(text, count))
            })
        })],
        Reference::DuckDb(
            "CASE WHEN b IS NOT NULL THEN left(a, least(greatest(b, -1000000), 1000000)) END",
        ),
        &[
            example("left('forebay', 4)", "'fore'"),
            example("left('forebay', -3)", "'fore'"),
        ],
    ),
    function(
        "right",
        "The last n characters; with n below zero all but the first -n.",
        &[takes(TEXT_INT, Type::Text, |_| {
            texts::<(Text, Int), _>(|(text, count): (&str, i64), out: &mut TextOut| {
                out.put(right(text, count))
            })
        })],
        Reference::DuckDb(
            "CASE WHEN b IS NOT NULL THEN right(a, least(greatest(b, -1000000), 1000000)) END",
        ),
        &[
            example("right('forebay', 3)", "'bay'"),
            example("right('forebay', -4)", "'bay'"),
        ],
    ),
    function(
        "substr",
        "The characters from a position, counted from 1, to the end or as many as a third argument \
         says; a position below 1 counts characters that are not there.",
        &[
            takes(TEXT_INT, Type::Text, |_| {
                texts::<(Text, Int), _>(|(text, start): (&str, i64), out: &mut TextOut| {
                    out.put(slice(text, start.saturating_sub(1), i64::MAX))
                })
            }),
            takes(&[Type::Text, BigInt, BigInt], Type::Text, |_| {
                texts::<(Text, Int, Int), _>(
                    |(text, start, count): (&str, i64, i64), out: &mut TextOut| {
                        out.put(substr(text, start, count)?)
                    },
                )
            }),
        ],
        Reference::Differs(
            "DuckDB counts a position below 1 from the end, and takes a count below zero; ours is \
             PostgreSQL's and the standard's",
        ),
        &[
            example("substr('forebay', 5)", "'bay'"),
            example("substr('forebay', 2, 3)", "'ore'"),
            example("substr('forebay', -1, 4)", "'fo'"),
            example("substr('forebay', 1, -1)", "error"),
        ],
    )
    .aliases(&["substring"])
    .fault("out of range: a count below zero"),
    function(
        "split_part",
        "The n-th piece of a text between delimiters, counted from 1, or from the end by -1; '' \
         where there is none.",
        &[takes(&[Type::Text, Type::Text, BigInt], Type::Text, |_| {
            texts::<(Text, Text, Int), _>(
                |(text, delimiter, number): (&str, &str, i64), out: &mut TextOut| {
                    out.put(split_part(text, delimiter, number)?)
                },
            )
        })],
        Reference::Differs(
            "DuckDB takes piece 0 as the first and splits at an empty delimiter into characters; \
             ours is PostgreSQL's",
        ),
        &[
            example("split_part('a-b-c', '-', 2)", "'b'"),
            example("split_part('a-b-c', '-', -1)", "'c'"),
            example("split_part('a---b', '--', -1)", "'-b'"),
            example("split_part('a-b-c', '-', 4)", "''"),
            example("split_part('a-b-c', '-', 0)", "error"),
        ],
    )
    .fault("out of range: piece 0"),
    function(
        "substr_index",
        "What lies before the n-th delimiter from the left, or with n below zero behind the -n-th \
         from the right; all where there are fewer, '' for 0.",
        &[takes(&[Type::Text, Type::Text, BigInt], Type::Text, |_| {
            texts::<(Text, Text, Int), _>(
                |(text, delimiter, count): (&str, &str, i64), out: &mut TextOut| {
                    out.put(substr_index(text, delimiter, count))
                },
            )
        })],
        Reference::Differs("DuckDB has no substr_index; ours is MySQL's substring_index"),
        &[
            example("substr_index('www.forebay.io', '.', 2)", "'www.forebay'"),
            example("substr_index('www.forebay.io', '.', -1)", "'io'"),
        ],
    )
    .aliases(&["substring_index"]),
];

/// The functions of this file.
pub(super) const FAMILIES: &[(&str, &[Function])] =
    &[("trimming text", TRIMS), ("parts of text", CUTS)];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cuts_hold_at_the_edges() {
        assert_eq!(slice("größe", 2, 4), "öß");
        assert_eq!(slice("größe", -5, 2), "gr");
        assert_eq!(slice("größe", 5, 9), "");
        assert_eq!(left("größe", i64::MIN), "");
        assert_eq!(left("größe", i64::MAX), "größe");
        assert_eq!(left("größe", -2), "grö");
        assert_eq!(right("größe", i64::MIN), "");
        assert_eq!(right("größe", i64::MAX), "größe");
        assert_eq!(right("größe", -2), "öße");
        assert_eq!(substr("größe", 0, 2), Ok("g"));
        assert_eq!(substr("größe", i64::MIN, i64::MAX), Ok(""));
        assert_eq!(substr("größe", i64::MAX, i64::MAX), Ok(""));
        assert_eq!(substr("größe", 3, 0), Ok(""));
    }

    #[test]
    fn pieces_are_counted_from_both_ends() {
        assert_eq!(split_part("a--b--c", "--", 3), Ok("c"));
        assert_eq!(split_part("a--b--c", "--", -3), Ok("a"));
        assert_eq!(split_part("a--b--c", "--", i64::MIN), Ok(""));
        assert_eq!(split_part("abc", "", 1), Ok("abc"));
        assert_eq!(split_part("abc", "", 2), Ok(""));
        assert_eq!(substr_index("a.b.c", ".", 5), "a.b.c");
        assert_eq!(substr_index("a.b.c", ".", -2), "b.c");
        assert_eq!(substr_index("a.b.c", ".", i64::MIN), "a.b.c");
    }
}
