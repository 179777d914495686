//! `docs/limits.md` from `core/src/limits.rs`: each `pub const` with its value worked out and its
//! doc comment. Values are integers: literals, other limits, `<<`, `*`, `+`, `-`.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail, ensure};

use super::doc::doc_before;

/// Where the limits are.
pub(crate) const SOURCE: &str = "crates/core/src/limits.rs";

const HEAD: &str = "\
# Limits

Written by `cargo run -p xtask -- docs` from `crates/core/src/limits.rs`.

Every buffer, batch, message, window and name has a limit with a name and a unit. A call that reaches one gets an error
that names it; what fills by itself (an outbox, a queue) pushes back instead. Settings may lower most of them; nothing
raises them silently.

| limit | value | of what |
|---|---:|---|
";

/// One limit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Limit {
    /// Its constant.
    pub(crate) name: String,
    /// Line of the constant, from 1.
    pub(crate) line: usize,
    value: i128,
    of: String,
}

/// All limits that `source` declares, in order.
///
/// # Errors
/// A value is more than the module says.
pub(crate) fn limits(source: &str) -> Result<Vec<Limit>> {
    let lines: Vec<&str> = source.lines().collect();
    let mut known: BTreeMap<String, i128> = BTreeMap::new();
    let mut limits = Vec::new();
    for (at, line) in lines.iter().enumerate() {
        let Some(rest) = line.trim().strip_prefix("pub const ") else {
            continue;
        };
        // rustfmt may put the value on the next line.
        let joined = format!("{rest} {}", lines.get(at + 1).unwrap_or(&"").trim());
        let declared = joined.split_once(';').map_or(joined.as_str(), |(it, _)| it);
        let (name, value) = declared
            .split_once(':')
            .and_then(|(name, rest)| Some((name.trim(), rest.split_once('=')?.1)))
            .with_context(|| format!("line {}: not `pub const NAME: type = value;`", at + 1))?;
        let value = evaluate(value, &known).with_context(|| format!("the value of {name}"))?;
        let of = doc_before(&lines, at);
        ensure!(!of.is_empty(), "{name} has no doc comment");
        known.insert(name.to_owned(), value);
        limits.push(Limit {
            name: name.to_owned(),
            line: at + 1,
            value,
            of,
        });
    }
    Ok(limits)
}

/// The page.
pub(super) fn page(source: &str) -> Result<String> {
    let rows = limits(source)?.into_iter().map(|limit| {
        let of = limit.of.trim_end_matches('.').replace('|', "\\|");
        format!("| `{}` | {} | {of} |\n", limit.name, grouped(limit.value))
    });
    Ok(std::iter::once(HEAD.to_owned()).chain(rows).collect())
}

/// An expression of integers, by the precedence of Rust: `*`, then `+` and `-`, then `<<`.
fn evaluate(text: &str, known: &BTreeMap<String, i128>) -> Result<i128> {
    fn fold(
        text: &str,
        operator: &str,
        part: &dyn Fn(&str) -> Result<i128>,
        join: fn(i128, i128) -> Option<i128>,
    ) -> Result<i128> {
        let mut parts = text.split(operator);
        let first = part(parts.next().unwrap_or_default())?;
        parts.try_fold(first, |left, right| {
            join(left, part(right)?).with_context(|| format!("'{text}' overflows"))
        })
    }
    let atom = |text: &str| -> Result<i128> {
        let text = text.trim();
        let name = text.rsplit("::").next().unwrap_or(text);
        if let Some(value) = known.get(name) {
            return Ok(*value);
        }
        let digits: String = text.chars().filter(|c| *c != '_').collect();
        match digits.parse() {
            Ok(value) => Ok(value),
            Err(_) => bail!("'{text}' is neither an integer nor a limit above"),
        }
    };
    let product = |text: &str| fold(text, "*", &atom, i128::checked_mul);
    let difference = |text: &str| fold(text, " - ", &product, i128::checked_sub);
    let sum = |text: &str| fold(text, " + ", &difference, i128::checked_add);
    fold(text, "<<", &sum, |left, right| {
        left.checked_shl(u32::try_from(right).ok()?)
    })
}

/// Digits in groups of three.
fn grouped(value: i128) -> String {
    let digits = value.unsigned_abs().to_string();
    let mut text = String::from(if value < 0 { "-" } else { "" });
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_has_its_value_and_its_sentence() {
        let source = "//! L.\n\n/// Rows of\n/// one thing.\npub const A_MAX_ROWS: usize = 1 << 20;\n\
                      /// More | less.\npub const B_MAX: i64 =\n    10 * 60 * 1_000_000;\n\
                      /// Both.\npub const C: usize = A_MAX_ROWS - 16 << 1;\n";
        let page = page(source).expect("three limits");
        let rows: Vec<&str> = page.lines().filter(|l| l.starts_with("| `")).collect();
        assert_eq!(
            rows,
            [
                "| `A_MAX_ROWS` | 1,048,576 | Rows of one thing |",
                "| `B_MAX` | 600,000,000 | More \\| less |",
                "| `C` | 2,097,120 | Both |"
            ]
        );
        assert_eq!(limits(source).expect("three limits")[1].line, 7);
    }

    #[test]
    fn what_cannot_be_worked_out_is_refused_by_name() {
        for (source, named) in [
            (
                "/// A.\npub const A: usize = size_of::<u8>();\n",
                "value of A",
            ),
            ("pub const B: usize = 1;\n", "B has no doc comment"),
            ("/// C.\npub const C: usize = 1 << 200;\n", "value of C"),
        ] {
            let error = format!("{:#}", page(source).expect_err("refused"));
            assert!(error.contains(named), "{error}");
        }
    }

    #[test]
    fn digits_are_grouped() {
        let cases = [
            (0, "0"),
            (999, "999"),
            (1_000, "1,000"),
            (-1_234_567, "-1,234,567"),
        ];
        for (value, text) in cases {
            assert_eq!(grouped(value), text);
        }
    }
}
