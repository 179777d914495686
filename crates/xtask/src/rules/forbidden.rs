//! Words that production code does not use: `unwrap()`, which says nothing when it fails, and what
//! is left over from writing (`todo!`, `dbg!`, `unimplemented!`). Clippy says so too, but not in
//! build scripts, not behind a macro, and not where somebody allowed it. Tests may use them.

use crate::finding::Finding;
use crate::source::Source;

/// Each word and what to write instead.
const WORDS: &[(&str, &str)] = &[
    (
        ".unwrap()",
        "return the error, or `expect(\"the invariant that makes it safe\")`",
    ),
    (".unwrap_err()", "match on the result"),
    ("todo!", "write it, or leave it out"),
    ("unimplemented!", "write it, or return a typed error"),
    ("dbg!", "use `tracing`"),
];

/// Uses of [`WORDS`] outside tests.
pub(crate) fn check(source: &Source) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (number, line) in source.code_lines() {
        if source.is_test(number) {
            continue;
        }
        for (word, remedy) in WORDS {
            if has_word(line, word) {
                findings.push(Finding::new(
                    &source.path,
                    number,
                    format!("`{word}` outside a test"),
                    *remedy,
                ));
            }
        }
    }
    findings
}

/// Whether `word` stands in `line` and is not the end of a longer name.
fn has_word(line: &str, word: &str) -> bool {
    let joined = |before: &str| before.ends_with(|c: char| c.is_alphanumeric() || c == '_');
    line.match_indices(word)
        .any(|(at, _)| word.starts_with('.') || !joined(&line[..at]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_found_in_code_and_not_in_tests_comments_or_strings() {
        let text = "//! A.\n//! B.\nfn a() { b.unwrap(); }\n// c.unwrap()\nconst D: &str = \".unwrap() todo!\";\n\
                    fn e() { my_todo!(); todo!(); }\nfn f() { g.unwrap_or(1); }\n\
                    #[cfg(test)]\nmod tests {\n    fn h() { i.unwrap(); }\n}\n";
        let found: Vec<(usize, String)> = check(&Source::new("crates/a/src/lib.rs", text))
            .into_iter()
            .map(|f| (f.line, f.problem))
            .collect();
        assert_eq!(
            found,
            [
                (3, "`.unwrap()` outside a test".to_owned()),
                (6, "`todo!` outside a test".to_owned())
            ]
        );
        assert!(check(&Source::new("crates/a/tests/it/main.rs", text)).is_empty());
        assert_eq!(
            check(&Source::new(
                "crates/a/build.rs",
                "fn main() { a().unwrap() }"
            ))
            .len(),
            1
        );
    }
}
