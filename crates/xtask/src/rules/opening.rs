//! Every Rust file opens with at least two lines of `//!`: what it owns, what it must never do,
//! where data comes from and goes next. A reader who opens any file knows where they are. A file of
//! tests may say in one line what it tests.

use crate::finding::Finding;
use crate::source::Source;

/// Fewest lines.
const LINES: usize = 2;
/// Fewest lines of a file that is all tests.
const LINES_OF_TESTS: usize = 1;

/// Files without their opening.
pub(crate) fn check(source: &Source) -> Option<Finding> {
    let lines = opening_lines(&source.text);
    let least = if source.is_test(1) {
        LINES_OF_TESTS
    } else {
        LINES
    };
    (lines < least).then(|| {
        let problem = match lines {
            0 => "the file does not open with `//!`",
            _ => "the file opens with one line of `//!`",
        };
        let remedy = "say in two lines or more what it owns, what it never does, where data comes from and goes next";
        Finding::new(&source.path, 1, problem, remedy)
    })
}

/// Lines of text in the doc comment that `text` opens with; attributes may stand before it.
fn opening_lines(text: &str) -> usize {
    let lines = text
        .lines()
        .map(str::trim)
        .skip_while(|line| line.is_empty() || line.starts_with("#!["));
    lines
        .take_while(|line| line.starts_with("//!"))
        .filter(|line| line.len() > 3)
        .count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_opening_has_two_lines_of_text() {
        let cases = [
            ("//! One.\n//! Two.\nuse x;\n", 2),
            ("#![allow(x)]\n\n//! One.\n//!\n//! Two.\n\n//! Three.\n", 2),
            ("//! One.\n//!\n", 1),
            ("// No.\n//! One.\n//! Two.\n", 0),
            ("", 0),
        ];
        for (text, lines) in cases {
            assert_eq!(opening_lines(text), lines, "{text:?}");
        }
        let one = "//! One.\n";
        let found = check(&Source::new("crates/a/src/lib.rs", one)).expect("one line");
        assert!(
            found
                .to_string()
                .starts_with("crates/a/src/lib.rs:1: the file opens with one line"),
            "{found}"
        );
        assert!(check(&Source::new("crates/a/src/lib.rs", "//! One.\n//! Two.\n")).is_none());
        assert!(check(&Source::new("crates/a/tests/it/b.rs", one)).is_none());
        assert!(check(&Source::new("crates/a/tests/it/b.rs", "")).is_some());
    }
}
