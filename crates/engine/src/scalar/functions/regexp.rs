//! Regular expressions. Patterns are constants, compiled once with a bound on their size, and match
//! in bounded time (`bounded_regex`): so there is no look-around and no back-reference. The text
//! before a start position still counts for anchors and word boundaries.

use forebay_core::fault::FaultKind;
use forebay_core::limits::REGEX_MAX_BYTES;
use regex::{Captures, Regex, RegexBuilder};

use super::form::{Constant, constant_int, constant_text, example, function, takes};
use super::rows::{Bool, Bound, Fixed, Int, Text, TextOut, nulls, texts, values};
use super::text::{chars, times};
use super::text_parts::byte_of;
use crate::scalar::bounded_regex::BoundedRegex;
use crate::scalar::function::Type::{self, BigInt, Boolean};
use crate::scalar::function::{Argument, Function, Reference};

/// The pattern compiled, with flags i (no case), m (lines), s (a dot takes line ends), x (spaces
/// are none) and U (greed swapped); refused with what to write.
pub(super) fn compile(pattern: &str, flags: &str) -> Result<BoundedRegex, String> {
    let mut builder = RegexBuilder::new(pattern);
    for flag in flags.chars() {
        match flag {
            'i' => builder.case_insensitive(true),
            'm' => builder.multi_line(true),
            's' => builder.dot_matches_new_line(true),
            'x' => builder.ignore_whitespace(true),
            'U' => builder.swap_greed(true),
            _ => {
                return Err(format!(
                    "there is no flag '{flag}'; write some of i, m, s, x and U"
                ));
            }
        };
    }
    BoundedRegex::build(&mut builder).map_err(|why| refusal(pattern, &why))
}

fn refusal(pattern: &str, why: &regex::Error) -> String {
    if let regex::Error::CompiledTooBig(_) = why {
        return format!(
            "the pattern '{pattern}' needs more than {REGEX_MAX_BYTES} bytes when compiled; write \
             smaller repetitions"
        );
    }
    let why = why.to_string();
    if why.contains("look-around") {
        return format!(
            "the pattern '{pattern}' looks around, which takes no bounded time; write what stands \
             around as part of the pattern and take a group of it: regexp_extract(text, pattern, 1)"
        );
    }
    if why.contains("backreference") {
        return format!(
            "the pattern '{pattern}' refers back to a group, which takes no bounded time; write \
             the alternatives, joined by |"
        );
    }
    let reason = why.lines().last().unwrap_or_default();
    let reason = reason.trim_start_matches("error: ");
    format!(
        "'{pattern}' is no regular expression: {reason}; write \\ before a character that \
         is meant as itself"
    )
}

/// Pattern and flags of a call; None where one is NULL.
fn regex(arguments: &[Argument<'_>], flags_at: usize) -> Result<Option<BoundedRegex>, String> {
    Ok(regex_and_flags(arguments, flags_at, "")?.map(|(regex, _)| regex))
}

/// The same, with whether `own` is among the flags, which is one of the function's.
fn regex_and_flags(
    arguments: &[Argument<'_>],
    flags_at: usize,
    own: &str,
) -> Result<Option<(BoundedRegex, bool)>, String> {
    let pattern = constant_text(arguments, 1, "the pattern", "'[a-z]+'")?;
    let flags = if arguments.len() > flags_at {
        constant_text(arguments, flags_at, "the flags", "'i'")?
    } else {
        Constant::Value("")
    };
    let (Constant::Value(pattern), Constant::Value(flags)) = (pattern, flags) else {
        return Ok(None);
    };
    let has_own = !own.is_empty() && flags.contains(own);
    let flags = if has_own {
        flags.replace(own, "")
    } else {
        flags.to_owned()
    };
    Ok(Some((compile(pattern, &flags)?, has_own)))
}

/// Matches from a byte on, one behind the other; an empty one does not touch the one before.
fn matches_from<'a>(
    regex: &'a Regex,
    text: &'a str,
    start: usize,
) -> impl Iterator<Item = usize> + 'a {
    let (mut at, mut last_end) = (start, None);
    std::iter::from_fn(move || {
        loop {
            if at > text.len() {
                return None;
            }
            let found = regex.find_at(text, at)?;
            if found.is_empty() && last_end == Some(found.end()) {
                let next = text.get(found.end()..)?.chars().next()?;
                at = found.end() + next.len_utf8();
                last_end = None;
                continue;
            }
            at = found.end();
            last_end = Some(at);
            return Some(found.start());
        }
    })
}

/// Where a search from character `start`, counted from 1, begins.
fn start_byte(text: &str, start: i64) -> Result<Option<usize>, FaultKind> {
    if start < 1 {
        return Err(FaultKind::Range);
    }
    Ok((start - 1 <= chars(text)).then(|| byte_of(text, start - 1)))
}

fn count(regex: &BoundedRegex, text: &str, start: i64) -> Result<Option<i64>, FaultKind> {
    let regex = regex.on(text)?;
    let matches =
        start_byte(text, start)?.map_or(0, |start| matches_from(regex, text, start).count());
    Ok(i64::try_from(matches).ok())
}

fn instr(
    regex: &BoundedRegex,
    text: &str,
    start: i64,
    number: i64,
) -> Result<Option<i64>, FaultKind> {
    let regex = regex.on(text)?;
    if number < 1 {
        return Err(FaultKind::Range);
    }
    let nth = times(number.unsigned_abs() - 1);
    let found = start_byte(text, start)?
        .and_then(|start| matches_from(regex, text, start).nth(nth))
        .and_then(|byte| text.get(..byte));
    Ok(Some(found.map_or(0, |before| chars(before) + 1)))
}

fn regexp_like(arguments: &[Argument<'_>]) -> Bound {
    let Some(regex) = regex(arguments, 2)? else {
        return nulls(Boolean);
    };
    if arguments.len() == 2 {
        values::<(Text, Fixed), Bool, _>(move |(text, ()): (&str, ())| {
            Ok(Some(regex.on(text)?.is_match(text)))
        })
    } else {
        values::<(Text, Fixed, Fixed), Bool, _>(move |(text, (), ()): (&str, (), ())| {
            Ok(Some(regex.on(text)?.is_match(text)))
        })
    }
}

fn regexp_count(arguments: &[Argument<'_>]) -> Bound {
    let Some(regex) = regex(arguments, 3)? else {
        return nulls(BigInt);
    };
    match arguments.len() {
        2 => values::<(Text, Fixed), Int, _>(move |(text, ()): (&str, ())| count(&regex, text, 1)),
        3 => values::<(Text, Fixed, Int), Int, _>(move |(text, (), start): (&str, (), i64)| {
            count(&regex, text, start)
        }),
        _ => values::<(Text, Fixed, Int, Fixed), Int, _>(
            move |(text, (), start, ()): (&str, (), i64, ())| count(&regex, text, start),
        ),
    }
}

fn regexp_instr(arguments: &[Argument<'_>]) -> Bound {
    let Some(regex) = regex(arguments, usize::MAX)? else {
        return nulls(BigInt);
    };
    match arguments.len() {
        2 => {
            values::<(Text, Fixed), Int, _>(move |(text, ()): (&str, ())| instr(&regex, text, 1, 1))
        }
        3 => values::<(Text, Fixed, Int), Int, _>(move |(text, (), start): (&str, (), i64)| {
            instr(&regex, text, start, 1)
        }),
        _ => values::<(Text, Fixed, Int, Int), Int, _>(
            move |(text, (), start, number): (&str, (), i64, i64)| {
                instr(&regex, text, start, number)
            },
        ),
    }
}

fn regexp_extract(arguments: &[Argument<'_>]) -> Bound {
    let Some(regex) = regex(arguments, usize::MAX)? else {
        return nulls(Type::Text);
    };
    let group = if arguments.len() > 2 {
        match constant_int(arguments, 2, "the group of regexp_extract", "1")? {
            Constant::Null => return nulls(Type::Text),
            Constant::Value(group) => group_of(&regex, group)?,
        }
    } else {
        0
    };
    let write = move |text: &str, out: &mut TextOut| {
        let found = regex.on(text)?.captures(text);
        let found = found.and_then(|found| found.get(group));
        out.put(found.map_or("", |found| found.as_str()))
    };
    if arguments.len() > 2 {
        texts::<(Text, Fixed, Fixed), _>(
            move |(text, (), ()): (&str, (), ()), out: &mut TextOut| write(text, out),
        )
    } else {
        texts::<(Text, Fixed), _>(move |(text, ()): (&str, ()), out: &mut TextOut| write(text, out))
    }
}

fn group_of(regex: &BoundedRegex, group: i64) -> Result<usize, String> {
    let groups = regex.groups();
    let own = usize::try_from(group).ok().filter(|group| *group < groups);
    own.ok_or_else(|| {
        format!(
            "the pattern has no group {group}; write 0 for the whole, or one up to {}",
            groups - 1
        )
    })
}

/// A replacement: texts, and groups of the match.
#[derive(Debug)]
struct Template(Vec<Piece>);

#[derive(Debug)]
enum Piece {
    Text(String),
    Group(usize),
}

impl Template {
    /// `\1` to `\9` are groups, `\0` and `\&` the whole match, `\\` is a backslash.
    fn parse(text: &str) -> Self {
        let (mut pieces, mut literal) = (Vec::new(), String::new());
        let mut chars = text.chars();
        while let Some(char) = chars.next() {
            if char != '\\' {
                literal.push(char);
                continue;
            }
            let group = match chars.next() {
                Some('&') => 0,
                Some(digit @ '0'..='9') => usize::from(digit as u8 - b'0'),
                Some('\\') | None => {
                    literal.push('\\');
                    continue;
                }
                Some(other) => {
                    literal.extend(['\\', other]);
                    continue;
                }
            };
            pieces.push(Piece::Text(std::mem::take(&mut literal)));
            pieces.push(Piece::Group(group));
        }
        pieces.push(Piece::Text(literal));
        Self(pieces)
    }

    fn write(&self, found: &Captures<'_>, out: &mut TextOut) -> Result<bool, FaultKind> {
        for piece in &self.0 {
            match piece {
                Piece::Text(text) => out.put(text)?,
                Piece::Group(group) => {
                    out.put(found.get(*group).map_or("", |group| group.as_str()))?
                }
            };
        }
        Ok(true)
    }
}

fn replace(
    regex: &BoundedRegex,
    text: &str,
    template: &Template,
    all: bool,
    out: &mut TextOut,
) -> Result<bool, FaultKind> {
    let mut end = 0;
    for found in regex
        .on(text)?
        .captures_iter(text)
        .take(if all { usize::MAX } else { 1 })
    {
        let whole = found.get_match();
        out.put(text.get(end..whole.start()).unwrap_or_default())?;
        template.write(&found, out)?;
        end = whole.end();
    }
    out.put(text.get(end..).unwrap_or_default())
}

fn regexp_replace(arguments: &[Argument<'_>]) -> Bound {
    let Some((regex, all)) = regex_and_flags(arguments, 3, "g")? else {
        return nulls(Type::Text);
    };
    let flags = arguments.len() > 3;
    if arguments
        .get(2)
        .is_none_or(|argument| argument.constant.is_none())
    {
        let write = move |text: &str, by: &str, out: &mut TextOut| {
            replace(&regex, text, &Template::parse(by), all, out)
        };
        return if flags {
            texts::<(Text, Fixed, Text, Fixed), _>(
                move |(text, (), by, ()): (&str, (), &str, ()), out: &mut TextOut| {
                    write(text, by, out)
                },
            )
        } else {
            texts::<(Text, Fixed, Text), _>(
                move |(text, (), by): (&str, (), &str), out: &mut TextOut| write(text, by, out),
            )
        };
    }
    let template = match constant_text(arguments, 2, "the replacement", "'\\1'")? {
        Constant::Null => return nulls(Type::Text),
        Constant::Value(text) => Template::parse(text),
    };
    let write = move |text: &str, out: &mut TextOut| replace(&regex, text, &template, all, out);
    if flags {
        texts::<(Text, Fixed, Fixed, Fixed), _>(
            move |(text, (), (), ()): (&str, (), (), ()), out: &mut TextOut| write(text, out),
        )
    } else {
        texts::<(Text, Fixed, Fixed), _>(
            move |(text, (), ()): (&str, (), ()), out: &mut TextOut| write(text, out),
        )
    }
}

const T: Type = Type::Text;

const REGEXPS: &[Function] = &[
    function(
        "regexp_like",
        "Whether a regular expression matches somewhere in a text; flags as a third argument: i no \
         case, m lines, s dots take line ends, x no spaces, U greed swapped.",
        &[
            takes(&[T, T], Boolean, regexp_like),
            takes(&[T, T, T], Boolean, regexp_like),
        ],
        Reference::Differs("\\w, \\d and \\b of DuckDB know ASCII alone; ours know Unicode"),
        &[
            example("regexp_like('forebay', '^fo+re')", "true"),
            example("regexp_like('Forebay', '^f', 'i')", "true"),
            example("regexp_like('forebay', '(?=x)')", "error"),
        ],
    )
    .fault("out of range: a text that is too long for the pattern (REGEX_MAX_WORK)"),
    function(
        "regexp_count",
        "How many matches lie behind one another in a text, from a position on, counted in \
         characters from 1; flags as a fourth argument.",
        &[
            takes(&[T, T], BigInt, regexp_count),
            takes(&[T, T, BigInt], BigInt, regexp_count),
            takes(&[T, T, BigInt, T], BigInt, regexp_count),
        ],
        Reference::Differs("DuckDB has no regexp_count; ours is PostgreSQL's"),
        &[
            example("regexp_count('abcabc', 'b')", "2"),
            example("regexp_count('abcabc', 'B', 3, 'i')", "1"),
        ],
    )
    .fault("out of range: a position below 1; a text that is too long for the pattern (REGEX_MAX_WORK)"),
    function(
        "regexp_instr",
        "Where the n-th match (the first if absent) from a position on begins, counted in \
         characters from 1; 0 where there is none.",
        &[
            takes(&[T, T], BigInt, regexp_instr),
            takes(&[T, T, BigInt], BigInt, regexp_instr),
            takes(&[T, T, BigInt, BigInt], BigInt, regexp_instr),
        ],
        Reference::Differs("DuckDB has no regexp_instr; ours is PostgreSQL's"),
        &[
            example("regexp_instr('größe', '[ßx]')", "4"),
            example("regexp_instr('abcabc', 'b', 1, 2)", "5"),
            example("regexp_instr('abcabc', 'x')", "0"),
        ],
    )
    .fault("out of range: a position or a number below 1; a text that is too long for the pattern (REGEX_MAX_WORK)"),
    function(
        "regexp_extract",
        "The first match of a regular expression, or a group of it; '' where there is none.",
        &[
            takes(&[T, T], T, regexp_extract),
            takes(&[T, T, BigInt], T, regexp_extract),
        ],
        Reference::Differs("\\w, \\d and \\b of DuckDB know ASCII alone; ours know Unicode"),
        &[
            example("regexp_extract('order-42-x', '[0-9]+')", "'42'"),
            example(
                "regexp_extract('order-42-x', '([a-z]+)-([0-9]+)', 1)",
                "'order'",
            ),
            example("regexp_extract('abc', '[0-9]')", "''"),
            example("regexp_extract('abc', 'b', 1)", "error"),
        ],
    )
    .fault("out of range: a text that is too long for the pattern (REGEX_MAX_WORK)"),
    function(
        "regexp_replace",
        "The text with the first match replaced, or all with the flag g; \\1 to \\9 in the \
         replacement are groups, \\0 is the match, \\\\ a backslash.",
        &[
            takes(&[T, T, T], T, regexp_replace),
            takes(&[T, T, T, T], T, regexp_replace),
        ],
        Reference::Differs(
            "\\w, \\d and \\b of DuckDB know ASCII alone; ours know Unicode; a backslash before \
             another character is an error there",
        ),
        &[
            example("regexp_replace('a-b-c', '-', '+')", "'a+b-c'"),
            example("regexp_replace('a-b-c', '-', '+', 'g')", "'a+b+c'"),
            example("regexp_replace('ab', '(a)(b)', '\\2\\1')", "'ba'"),
        ],
    )
    .fault("out of range: a result above 1 MiB; a text that is too long for the pattern (REGEX_MAX_WORK)"),
];

/// The functions of this file.
pub(super) const FAMILIES: &[(&str, &[Function])] = &[("regular expressions", REGEXPS)];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_that_are_none_are_refused_with_what_to_write() {
        for (pattern, flags, words) in [
            ("(?=x)", "", "regexp_extract(text, pattern, 1)"),
            ("(?<!x)y", "", "regexp_extract(text, pattern, 1)"),
            (r"(a)\1", "", "joined by |"),
            ("(", "", "unclosed group"),
            ("[a-z", "", "unclosed character class"),
            (r"\w{1000}{1000}", "", "smaller repetitions"),
            ("a", "q", "'q'"),
            ("a", "g", "i, m, s, x and U"),
        ] {
            let why = compile(pattern, flags).expect_err(pattern);
            assert!(why.contains(words), "{pattern}: {why}");
        }
        assert!(compile(r"[\w.+-]+@[\w-]+\.[\w.]+", "i").is_ok());
    }

    #[test]
    fn matches_lie_behind_one_another() {
        let starts = |pattern: &str, text: &str| -> Vec<usize> {
            let regex = compile(pattern, "").expect("a pattern");
            let regex = regex.on(text).expect("a short text");
            let ours: Vec<usize> = matches_from(regex, text, 0).collect();
            let theirs: Vec<usize> = regex.find_iter(text).map(|found| found.start()).collect();
            assert_eq!(ours, theirs, "{pattern} in {text}");
            ours
        };
        assert_eq!(starts("", "äb"), [0, 2, 3]);
        assert_eq!(starts("a*", "baac"), [0, 1, 4]);
        assert_eq!(starts("x", ""), [0_usize; 0]);
        let word = compile(r"\b", "").expect("a pattern");
        let word = word.on("ab cd").expect("a short text");
        assert_eq!(
            matches_from(word, "ab cd", 1).collect::<Vec<_>>(),
            [2, 3, 5]
        );
    }
}
