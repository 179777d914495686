//! Where a conversion can fail, no value is invented: `u32::try_from(row).unwrap_or(u32::MAX)`
//! turns a defect into a wrong row number that nobody sees. A typed index is built once where its
//! bound holds, or `expect` states the invariant. Asking (`try_from(x).ok()`) and returning the
//! error stay free; tests may do as they like. What was there when the rule came is counted by
//! file.

use crate::finding::Finding;
use crate::ratchet::Offence;
use crate::source::Source;

/// Conversions.
const CONVERSIONS: [&str; 2] = ["try_from(", "try_into("];
/// What must not follow one. `map_or` with a constant first is the same in other words.
const INVENTIONS: [&str; 4] = [
    ".unwrap_or(",
    ".unwrap_or_default()",
    ".unwrap_or_else(",
    ".map_or(",
];

/// One offence for a file with inventions; its size is their number.
pub(crate) fn offence(source: &Source) -> Option<Offence> {
    let mut lines: Vec<usize> = inventions(source.code())
        .into_iter()
        .map(|at| source.line_of(at))
        .filter(|line| !source.is_test(*line))
        .collect();
    lines.sort_unstable();
    let first = *lines.first()?;
    let problem = match lines.len() {
        1 => "a value is invented where a conversion fails".to_owned(),
        n => format!("{n} values are invented where a conversion fails, at lines {lines:?}"),
    };
    let remedy = "build a typed index where the bound holds, return the error, or `expect(\"the invariant\")`";
    Some(Offence {
        section: "invented",
        key: source.path.clone(),
        size: lines.len(),
        finding: Finding::new(&source.path, first, problem, remedy),
    })
}

/// Where a conversion is followed by an invention.
fn inventions(code: &str) -> Vec<usize> {
    let calls = CONVERSIONS.iter().flat_map(|call| {
        let found = code.match_indices(call);
        found.filter_map(|(at, call)| closing(code, at + call.len()).map(|end| (at, end)))
    });
    calls
        .filter(|(_, end)| {
            let rest = code[*end..].trim_start();
            INVENTIONS
                .iter()
                .any(|invention| rest.starts_with(invention))
        })
        .map(|(at, _)| at)
        .collect()
}

/// One past the parenthesis that closes the one before `from`.
fn closing(code: &str, from: usize) -> Option<usize> {
    let mut depth = 1_usize;
    for (at, c) in code[from..].char_indices() {
        match c {
            '(' => depth += 1,
            ')' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return Some(from + at + 1);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_invented_value_is_found_over_lines_and_not_in_tests() {
        let text = "//! A.\nfn a() { u32::try_from(f(b)).unwrap_or(u32::MAX); }\n\
                    fn c() { u16::try_from(d)\n    .unwrap_or_default(); }\n\
                    fn e(x: usize) { let y: u32 = x.try_into().map_or(0, |y| y); }\n\
                    #[cfg(test)]\nmod tests {\n    fn f() { u32::try_from(1).unwrap_or(0); }\n}\n";
        let offence = offence(&Source::new("crates/a/src/b.rs", text)).expect("three");
        assert_eq!((offence.size, offence.finding.line), (3, 2));
        assert!(
            offence.finding.problem.contains("[2, 3, 5]"),
            "{}",
            offence.finding
        );
    }

    #[test]
    fn what_asks_or_returns_is_free() {
        for text in [
            "u32::try_from(a).ok()",
            "u32::try_from(a)?",
            "u32::try_from(a).map_err(|_| E)?",
            "u32::try_from(a).expect(\"small\")",
            "b.unwrap_or(u32::MAX)",
            "let n = u32::try_from(a); c.unwrap_or(0)",
            "u32::try_from(a",
        ] {
            assert!(
                offence(&Source::new("crates/a/src/b.rs", text)).is_none(),
                "{text}"
            );
        }
    }
}
