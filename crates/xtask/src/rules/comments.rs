//! A comment fits in 100 columns, as code does: rustfmt leaves comments alone. Rows of a table and
//! a word that cannot be broken may be longer.

use crate::finding::Finding;
use crate::source::Source;

/// Most columns.
const COLUMNS_MAX: usize = 100;

/// Comment lines that are longer.
pub(crate) fn check(source: &Source) -> impl Iterator<Item = Finding> {
    let long = source
        .text
        .lines()
        .zip(1..)
        .filter(|(line, _)| is_long(line));
    long.map(|(line, number)| {
        let columns = line.chars().count();
        let problem = format!("a comment has {columns} columns; {COLUMNS_MAX} are allowed");
        Finding::new(&source.path, number, problem, "wrap its paragraph anew")
    })
}

fn is_long(line: &str) -> bool {
    let Some(words) = line.trim_start().strip_prefix("//") else {
        return false;
    };
    let words = words.trim_start_matches(['/', '!']).trim();
    let is_breakable = words.contains(' ') && !words.starts_with('|');
    is_breakable && line.chars().count() > COLUMNS_MAX
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_reach_the_limit_and_do_not_pass_it() {
        let fill = |prefix: &str, columns: usize| {
            let words = "a ".repeat(columns);
            format!("{prefix}{words}")[..columns - 1].to_owned() + "b"
        };
        for prefix in ["//! ", "    /// ", "// "] {
            assert!(!is_long(&fill(prefix, COLUMNS_MAX)), "{prefix}");
            assert!(is_long(&fill(prefix, COLUMNS_MAX + 1)), "{prefix}");
        }
        assert!(!is_long(&fill("//! | ", 140)), "a row of a table");
        assert!(!is_long(&fill("let a = \"", 140)), "code is rustfmt's");
        let link = format!("// {}", "x".repeat(140));
        assert!(!is_long(&link), "one word");
    }
}
