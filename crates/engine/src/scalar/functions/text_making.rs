//! Texts made of others: case, padding, replacement, joining. All are written through `TextOut`, so
//! none is longer than `TEXT_MAX_BYTES`; where a count could ask for more, it is judged before the
//! first byte is written. Case follows the Unicode tables of the standard library that built us.

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef};
use forebay_core::PortResult;
use forebay_core::fault::FaultKind;
use forebay_core::limits::TEXT_MAX_BYTES;

use super::form::{example, function, takes, takes_many};
use super::rows::{Bound, Int, Text, TextColumn, TextOut, texts};
use super::text::{chars, times};
use super::text_parts::slice;
use crate::scalar::function::Type::{self, BigInt};
use crate::scalar::function::{Function, Overload, Reference};
use crate::scalar::kernel::{Kernel, Operand, RowFaults};

const TEXT: &[Type] = &[Type::Text];
const TEXT_INT: &[Type] = &[Type::Text, BigInt];
const TOO_LONG: &str = "out of range: a result above 1 MiB";

/// Whether the row has a value, which it has unless it fails.
type Written = Result<bool, FaultKind>;

fn initcap(text: &str, out: &mut TextOut) -> Written {
    let mut within = false;
    for char in text.chars() {
        if within {
            for lower in char.to_lowercase() {
                out.put_char(lower)?;
            }
        } else {
            for upper in char.to_uppercase() {
                out.put_char(upper)?;
            }
        }
        within = char.is_alphanumeric();
    }
    Ok(true)
}

/// `fill` over and over, `count` characters of it, which is not below zero.
fn put_fill(fill: &str, count: i64, out: &mut TextOut) -> Written {
    if fill.is_empty() {
        return Ok(true);
    }
    // No character is shorter than a byte.
    let count = times(count.unsigned_abs());
    if count > TEXT_MAX_BYTES {
        return Err(FaultKind::Range);
    }
    for char in fill.chars().cycle().take(count) {
        out.put_char(char)?;
    }
    Ok(true)
}

fn pad(text: &str, length: i64, fill: &str, before: bool, out: &mut TextOut) -> Written {
    let missing = length.saturating_sub(chars(text));
    if missing <= 0 {
        return out.put(slice(text, 0, length));
    }
    if before {
        put_fill(fill, missing, out)?;
        out.put(text)
    } else {
        out.put(text)?;
        put_fill(fill, missing, out)
    }
}

fn replace(text: &str, from: &str, to: &str, out: &mut TextOut) -> Written {
    if from.is_empty() {
        return out.put(text);
    }
    let mut pieces = text.split(from);
    out.put(pieces.next().unwrap_or_default())?;
    for piece in pieces {
        out.put(to)?;
        out.put(piece)?;
    }
    Ok(true)
}

fn translate(text: &str, from: &str, to: &str, out: &mut TextOut) -> Written {
    // Sorted by character, then by place: the first place of a character counts.
    let mut to = to.chars();
    let mut table: Vec<_> = from.chars().map(|from| (from, to.next())).collect();
    table.sort_by_key(|(from, _)| *from);
    table.dedup_by_key(|(from, _)| *from);
    for char in text.chars() {
        match table.binary_search_by_key(&char, |(from, _)| *from) {
            Err(_) => out.put_char(char)?,
            Ok(index) => match table[index].1 {
                Some(char) => out.put_char(char)?,
                None => true,
            },
        };
    }
    Ok(true)
}

fn overlay(text: &str, part: &str, start: i64, count: i64, out: &mut TextOut) -> Written {
    if start < 1 || count < 0 {
        return Err(FaultKind::Range);
    }
    out.put(slice(text, 0, start - 1))?;
    out.put(part)?;
    out.put(slice(text, (start - 1).saturating_add(count), i64::MAX))
}

fn repeat(text: &str, count: i64, out: &mut TextOut) -> Written {
    if text.is_empty() || count <= 0 {
        return Ok(true);
    }
    let count = times(count.unsigned_abs());
    if text.len().saturating_mul(count) > TEXT_MAX_BYTES {
        return Err(FaultKind::Range);
    }
    for _ in 0..count {
        out.put(text)?;
    }
    Ok(true)
}

/// The character of a number. PostgreSQL has no character 0 either: C ends a text by it.
fn chr(number: i64, out: &mut TextOut) -> Written {
    let char = u32::try_from(number)
        .ok()
        .filter(|number| *number > 0)
        .and_then(char::from_u32);
    out.put_char(char.ok_or(FaultKind::Range)?)
}

/// `concat` and, with a separator first, `concat_ws`: they pass over NULL.
#[derive(Debug)]
struct Joined {
    separated: bool,
}

impl Kernel for Joined {
    fn run(
        &self,
        operands: &[Operand<'_>],
        rows: usize,
        faults: &mut RowFaults,
    ) -> PortResult<ArrayRef> {
        let text_at = |operand: &Operand<'_>, row: usize| {
            let index = operand.index(row);
            let column = operand.array.as_string_opt::<i32>()?;
            (!column.is_null(index)).then(|| column.value(index).to_owned())
        };
        let (separators, parts) = operands.split_at(usize::from(self.separated));
        let mut column = TextColumn::new(rows);
        for row in 0..rows {
            column.push(row, faults, |out| {
                let separator = match separators.first() {
                    None => String::new(),
                    Some(separator) => match text_at(separator, row) {
                        None => return Ok(false),
                        Some(separator) => separator,
                    },
                };
                let present = parts.iter().filter_map(|part| text_at(part, row));
                for (index, text) in present.enumerate() {
                    if index > 0 {
                        out.put(&separator)?;
                    }
                    out.put(&text)?;
                }
                Ok(true)
            })?;
        }
        Ok(column.finish())
    }
}

fn joined(separated: bool) -> Bound {
    Ok(std::sync::Arc::new(Joined { separated }))
}

const LPAD: &[Overload] = &[
    takes(TEXT_INT, Type::Text, |_| {
        texts::<(Text, Int), _>(|(text, length): (&str, i64), out: &mut TextOut| {
            pad(text, length, " ", true, out)
        })
    }),
    takes(&[Type::Text, BigInt, Type::Text], Type::Text, |_| {
        texts::<(Text, Int, Text), _>(
            |(text, length, fill): (&str, i64, &str), out: &mut TextOut| {
                pad(text, length, fill, true, out)
            },
        )
    }),
];
const RPAD: &[Overload] = &[
    takes(TEXT_INT, Type::Text, |_| {
        texts::<(Text, Int), _>(|(text, length): (&str, i64), out: &mut TextOut| {
            pad(text, length, " ", false, out)
        })
    }),
    takes(&[Type::Text, BigInt, Type::Text], Type::Text, |_| {
        texts::<(Text, Int, Text), _>(
            |(text, length, fill): (&str, i64, &str), out: &mut TextOut| {
                pad(text, length, fill, false, out)
            },
        )
    }),
];

const PADDING: Reference = Reference::Differs(
    "DuckDB refuses a row whose padding is empty; ours leaves the text as it is, as PostgreSQL",
);

const CASE: &[Function] = &[
    function(
        "upper",
        "The text in upper case.",
        &[takes(TEXT, Type::Text, |_| {
            texts::<(Text,), _>(|(text,): (&str,), out: &mut TextOut| out.put(&text.to_uppercase()))
        })],
        Reference::Differs(
            "DuckDB maps one character to one; ours has Unicode's full mapping: 'ß' gives 'SS'",
        ),
        &[example("upper('größe')", "'GRÖSSE'")],
    )
    .fault(TOO_LONG),
    function(
        "lower",
        "The text in lower case.",
        &[takes(TEXT, Type::Text, |_| {
            texts::<(Text,), _>(|(text,): (&str,), out: &mut TextOut| out.put(&text.to_lowercase()))
        })],
        Reference::Differs(
            "DuckDB maps one character to one; ours has Unicode's full mapping, with a sigma's \
             form at the end of a word",
        ),
        &[example("lower('GRÖSSE')", "'grösse'")],
    )
    .fault(TOO_LONG),
    function(
        "initcap",
        "The text with each word's first letter in upper case and the others in lower case; a word \
         is a run of letters and digits.",
        &[takes(TEXT, Type::Text, |_| {
            texts::<(Text,), _>(|(text,): (&str,), out: &mut TextOut| initcap(text, out))
        })],
        Reference::Differs("DuckDB has no initcap; ours is PostgreSQL's"),
        &[example("initcap('hello wORLD-wide')", "'Hello World-Wide'")],
    )
    .fault(TOO_LONG),
    function(
        "reverse",
        "The characters in reverse order.",
        &[takes(TEXT, Type::Text, |_| {
            texts::<(Text,), _>(|(text,): (&str,), out: &mut TextOut| {
                text.chars()
                    .rev()
                    .try_fold(true, |_, char| out.put_char(char))
            })
        })],
        Reference::Differs(
            "DuckDB keeps combined characters together; ours turns the code points around, as \
             PostgreSQL",
        ),
        &[example("reverse('abc')", "'cba'")],
    ),
    function(
        "chr",
        "The character of a number in Unicode.",
        &[takes(&[BigInt], Type::Text, |_| {
            texts::<(Int,), _>(|(number,), out: &mut TextOut| chr(number, out))
        })],
        Reference::Differs("DuckDB takes 0; a fault here, as in PostgreSQL"),
        &[
            example("chr(65)", "'A'"),
            example("chr(0)", "error"),
            example("chr(-1)", "error"),
        ],
    )
    .fault("out of range: no character, 0 among them"),
    function(
        "to_hex",
        "The number in hexadecimal digits, in two's complement below zero.",
        &[takes(&[BigInt], Type::Text, |_| {
            texts::<(Int,), _>(|(number,), out: &mut TextOut| {
                out.put_fmt(format_args!("{number:x}"))
            })
        })],
        Reference::DuckDb("lower(to_hex(a))"),
        &[
            example("to_hex(255)", "'ff'"),
            example("to_hex(-1)", "'ffffffffffffffff'"),
        ],
    ),
];

const JOINING: &[Function] = &[
    function(
        "concat",
        "The texts one behind the other.",
        &[takes_many(TEXT, Type::Text, Type::Text, |_| joined(false))],
        Reference::DuckDb("concat(a, b)"),
        &[example("concat('a', NULL, 'b')", "'ab'")],
    )
    .null("NULL arguments are passed over; never NULL")
    .fault(TOO_LONG),
    function(
        "concat_ws",
        "The texts behind the first, joined by the first.",
        &[takes_many(
            &[Type::Text, Type::Text],
            Type::Text,
            Type::Text,
            |_| joined(true),
        )],
        Reference::DuckDb("concat_ws(a, b, c)"),
        &[example("concat_ws('-', 'a', NULL, 'b')", "'a-b'")],
    )
    .null("NULL where the first is; others that are NULL are passed over")
    .fault(TOO_LONG),
    function(
        "repeat",
        "The text n times; '' for n of 0 and below.",
        &[takes(TEXT_INT, Type::Text, |_| {
            texts::<(Text, Int), _>(|(text, count): (&str, i64), out: &mut TextOut| {
                repeat(text, count, out)
            })
        })],
        Reference::DuckDb(
            "CASE WHEN b <= 0 THEN repeat(a, 0) WHEN strlen(a)::HUGEINT * b > 1048576 \
             THEN error('range') ELSE repeat(a, b) END",
        ),
        &[
            example("repeat('ab', 3)", "'ababab'"),
            example("repeat('ab', -1)", "''"),
        ],
    )
    .fault(TOO_LONG),
    function(
        "lpad",
        "The text filled up on the left to n characters with spaces or a third text; cut to n \
         characters where it is longer.",
        LPAD,
        PADDING,
        &[
            example("lpad('7', 3, '0')", "'007'"),
            example("lpad('abc', 2)", "'ab'"),
        ],
    )
    .fault(TOO_LONG),
    function(
        "rpad",
        "The text filled up on the right to n characters with spaces or a third text; cut to n \
         characters where it is longer.",
        RPAD,
        PADDING,
        &[
            example("rpad('7', 3, '.')", "'7..'"),
            example("rpad('abc', 2)", "'ab'"),
        ],
    )
    .fault(TOO_LONG),
];

const CHANGES: &[Function] = &[
    function(
        "replace",
        "The text with every occurrence of the second replaced by the third; unchanged where the \
         second is empty.",
        &[takes(
            &[Type::Text, Type::Text, Type::Text],
            Type::Text,
            |_| {
                texts::<(Text, Text, Text), _>(
                    |(text, from, to): (&str, &str, &str), out: &mut TextOut| {
                        replace(text, from, to, out)
                    },
                )
            },
        )],
        Reference::DuckDb("replace(a, b, c)"),
        &[example("replace('a-b-c', '-', '+')", "'a+b+c'")],
    )
    .fault(TOO_LONG),
    function(
        "translate",
        "The text with each character of the second replaced by the one at its place in the third, \
         and left out where the third is shorter.",
        &[takes(
            &[Type::Text, Type::Text, Type::Text],
            Type::Text,
            |_| {
                texts::<(Text, Text, Text), _>(
                    |(text, from, to): (&str, &str, &str), out: &mut TextOut| {
                        translate(text, from, to, out)
                    },
                )
            },
        )],
        Reference::DuckDb("translate(a, b, c)"),
        &[example("translate('12345', '143', 'ax')", "'a2x5'")],
    )
    .fault(TOO_LONG),
    function(
        "overlay",
        "The text with the second in place of the characters from a position, counted from 1: as \
         many as the second has, or as a fourth argument says.",
        &[
            takes(&[Type::Text, Type::Text, BigInt], Type::Text, |_| {
                texts::<(Text, Text, Int), _>(
                    |(text, part, start): (&str, &str, i64), out: &mut TextOut| {
                        overlay(text, part, start, chars(part), out)
                    },
                )
            }),
            takes(
                &[Type::Text, Type::Text, BigInt, BigInt],
                Type::Text,
                |_| {
                    texts::<(Text, Text, Int, Int), _>(
                        |(text, part, start, count): (&str, &str, i64, i64), out: &mut TextOut| {
                            overlay(text, part, start, count, out)
                        },
                    )
                },
            ),
        ],
        Reference::Differs("DuckDB has no overlay; ours is PostgreSQL's"),
        &[
            example("overlay('Txxxxas', 'hom', 2, 4)", "'Thomas'"),
            example("overlay('abc', 'X', 0)", "error"),
        ],
    )
    .fault("out of range: a position below 1, a count below 0, a result above 1 MiB"),
];

/// The functions of this file.
pub(super) const FAMILIES: &[(&str, &[Function])] = &[
    ("case and characters", CASE),
    ("joining and filling text", JOINING),
    ("changes of text", CHANGES),
];
