//! Texts measured, compared and searched. Positions and lengths count characters (Unicode scalar
//! values) from 1, as PostgreSQL counts them, unless a name says bytes or bits. Parts of texts are
//! in `text_parts`, texts that are made anew in `text_making`.

use forebay_core::fault::FaultKind;
use forebay_core::limits::LEVENSHTEIN_MAX_CHARS;

use super::form::{example, function, takes};
use super::rows::{Bool, Bound, Int, Row, Text, values};
use crate::scalar::function::Type::{self, BigInt, Boolean};
use crate::scalar::function::{Function, Overload, Reference};

const TEXT: &[Type] = &[Type::Text];
const TEXTS: &[Type] = &[Type::Text, Type::Text];

fn measure(f: fn(&str) -> i64) -> Bound {
    values::<(Text,), Int, _>(move |(text,): (&str,)| Ok(Some(f(text))))
}

fn judge(f: fn(&str, &str) -> bool) -> Bound {
    values::<(Text, Text), Bool, _>(move |(text, other): (&str, &str)| Ok(Some(f(text, other))))
}

fn locate(f: fn(&str, &str) -> i64) -> Bound {
    values::<(Text, Text), Int, _>(move |(text, other): (&str, &str)| Ok(Some(f(text, other))))
}

/// A number of bytes or characters. No text is longer than a BIGINT can say.
fn count(number: usize) -> i64 {
    i64::try_from(number).expect("a text has fewer than 2^63 bytes")
}

/// How often, as an iterator counts it.
pub(super) fn times(number: u64) -> usize {
    usize::try_from(number).expect("a machine of 64 bits")
}

pub(super) fn chars(text: &str) -> i64 {
    count(text.chars().count())
}

fn position(text: &str, part: &str) -> i64 {
    text.find(part)
        .map_or(0, |start| chars(text.get(..start).unwrap_or_default()) + 1)
}

fn find_in_set(text: &str, set: &str) -> i64 {
    if set.is_empty() {
        return 0;
    }
    let found = set.split(',').position(|item| item == text);
    found.map_or(0, |index| count(index) + 1)
}

/// Wagner and Fischer's table, one row of it at a time.
fn levenshtein((a, b): (&str, &str)) -> Row<i64> {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    if a.len().max(b.len()) > LEVENSHTEIN_MAX_CHARS {
        return Err(FaultKind::Range);
    }
    let mut costs: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.iter().enumerate() {
        let mut diagonal = costs[0];
        costs[0] = i + 1;
        for (j, to) in b.iter().enumerate() {
            let kept = diagonal + usize::from(from != to);
            diagonal = costs[j + 1];
            costs[j + 1] = kept.min(diagonal + 1).min(costs[j] + 1);
        }
    }
    Ok(Some(count(costs[b.len()])))
}

const CHAR_LENGTH: &[Overload] = &[takes(TEXT, BigInt, |_| measure(chars))];

const MEASURES: &[Function] = &[
    function(
        "length",
        "The number of characters (Unicode scalar values).",
        CHAR_LENGTH,
        Reference::DuckDb("length(a)"),
        &[example("length('größe')", "5"), example("length('')", "0")],
    )
    .aliases(&["char_length", "character_length"]),
    function(
        "octet_length",
        "The number of bytes in UTF-8.",
        &[takes(TEXT, BigInt, |_| measure(|text| count(text.len())))],
        Reference::DuckDb("strlen(a)"),
        &[example("octet_length('größe')", "7")],
    ),
    function(
        "bit_length",
        "The number of bits in UTF-8.",
        &[takes(TEXT, BigInt, |_| {
            measure(|text| count(text.len()) * 8)
        })],
        Reference::DuckDb("bit_length(a)"),
        &[example("bit_length('ab')", "16")],
    ),
    function(
        "ascii",
        "The number of the first character in Unicode, 0 for an empty text.",
        &[takes(TEXT, BigInt, |_| {
            measure(|text| {
                text.chars()
                    .next()
                    .map_or(0, |first| i64::from(u32::from(first)))
            })
        })],
        Reference::DuckDb("ascii(a)"),
        &[example("ascii('A')", "65"), example("ascii('')", "0")],
    ),
    function(
        "levenshtein",
        "The fewest characters to insert, delete or replace that make one text of the other.",
        &[takes(TEXTS, BigInt, |_| {
            values::<(Text, Text), Int, _>(levenshtein)
        })],
        Reference::Differs("DuckDB counts bytes; ours counts characters, as PostgreSQL"),
        &[example("levenshtein('kitten', 'sitting')", "3")],
    )
    .fault("out of range: a text longer than 1,024 characters"),
];

const SEARCHES: &[Function] = &[
    function(
        "strpos",
        "Where the second text first occurs in the first, counted in characters from 1; 0 where \
         it does not, 1 for an empty text.",
        &[takes(TEXTS, BigInt, |_| locate(position))],
        Reference::DuckDb("CASE WHEN b = '' AND a IS NOT NULL THEN 1 ELSE strpos(a, b) END"),
        &[
            example("strpos('forebay', 'bay')", "5"),
            example("strpos('forebay', 'x')", "0"),
        ],
    )
    .aliases(&["instr", "position"]),
    function(
        "starts_with",
        "Whether the first text begins with the second.",
        &[takes(TEXTS, Boolean, |_| {
            judge(|text, part| text.starts_with(part))
        })],
        Reference::DuckDb("starts_with(a, b)"),
        &[example("starts_with('forebay', 'fore')", "true")],
    ),
    function(
        "ends_with",
        "Whether the first text ends with the second.",
        &[takes(TEXTS, Boolean, |_| {
            judge(|text, part| text.ends_with(part))
        })],
        Reference::DuckDb("ends_with(a, b)"),
        &[example("ends_with('forebay', 'bay')", "true")],
    ),
    function(
        "contains",
        "Whether the second text occurs in the first.",
        &[takes(TEXTS, Boolean, |_| {
            judge(|text, part| text.contains(part))
        })],
        Reference::DuckDb("contains(a, b)"),
        &[
            example("contains('forebay', 'reb')", "true"),
            example("contains('a', '')", "true"),
        ],
    ),
    function(
        "find_in_set",
        "Which item of a comma-separated list the text is, counted from 1; 0 where it is none.",
        &[takes(TEXTS, BigInt, |_| locate(find_in_set))],
        Reference::Differs("DuckDB has no find_in_set; ours is MySQL's"),
        &[
            example("find_in_set('b', 'a,b,c')", "2"),
            example("find_in_set('x', 'a,b,c')", "0"),
        ],
    ),
];

/// The functions of this file.
pub(super) const FAMILIES: &[(&str, &[Function])] =
    &[("measures of text", MEASURES), ("search in text", SEARCHES)];
