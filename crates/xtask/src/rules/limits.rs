//! Every limit of `core/src/limits.rs` stands in the README's table of limits: a user who meets one
//! finds it there. Checked once the README has a heading that says Limits.

use anyhow::{Context, Result};

use crate::finding::Finding;
use crate::tree::Tree;

const README: &str = "README.md";
const LIMITS: &str = "crates/core/src/limits.rs";

/// Limits that the README does not name.
///
/// # Errors
/// There is no file of limits.
pub(crate) fn check(tree: &Tree) -> Result<Vec<Finding>> {
    let limits = tree
        .file(LIMITS)
        .with_context(|| format!("{LIMITS} is not there"))?;
    let readme = tree.file(README).and_then(|readme| section(&readme.text));
    Ok(readme
        .map(|section| missing(&limits.text, section))
        .unwrap_or_default())
}

/// The part of a Markdown text below its heading `Limits`, up to the next heading that is not below
/// it.
fn section(readme: &str) -> Option<&str> {
    let level = |line: &str| line.bytes().take_while(|byte| *byte == b'#').count();
    let mut start = None;
    let (mut at, mut fenced) = (0, false);
    for line in readme.split_inclusive('\n') {
        fenced ^= line.trim_start().starts_with("```");
        let heading = if fenced { 0 } else { level(line) };
        match start {
            None if heading > 0 && line.to_lowercase().contains("limits") => {
                start = Some((at + line.len(), heading))
            }
            Some((from, of)) if heading > 0 && heading <= of => return readme.get(from..at),
            _ => {}
        }
        at += line.len();
    }
    start.and_then(|(from, _)| readme.get(from..))
}

fn missing(limits: &str, section: &str) -> Vec<Finding> {
    let names = limits.lines().enumerate().filter_map(|(number, line)| {
        let name = line.trim().strip_prefix("pub const ")?.split_once(':')?.0;
        Some((number + 1, name))
    });
    let absent = names.filter(|(_, name)| !mentions(section, name));
    absent
        .map(|(line, name)| {
            let problem = format!("the README's table of limits does not name {name}");
            Finding::new(
                LIMITS,
                line,
                problem,
                "add a row: what it bounds, its value with the unit, what happens at it",
            )
        })
        .collect()
}

/// Whether `name` stands in `text` as a whole word.
fn mentions(text: &str, name: &str) -> bool {
    let word = |c: char| c.is_alphanumeric() || c == '_';
    text.match_indices(name).any(|(at, _)| {
        let after = text[at + name.len()..].chars().next();
        !text[..at].ends_with(word) && !after.is_some_and(word)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const CODE: &str =
        "/// A.\npub const A_MAX: usize = 1;\n/// B.\npub const A_MAX_BYTES: usize = 2;\n";

    #[test]
    fn a_limit_that_the_table_lacks_is_found_with_its_line() {
        assert!(missing(CODE, "| `A_MAX` | 1 |\n| `A_MAX_BYTES` | 2 |").is_empty());
        let found = missing(CODE, "| `A_MAX_BYTES` | 2 |");
        assert_eq!((found.len(), found[0].line), (1, 2));
        assert!(found[0].problem.ends_with("name A_MAX"), "{}", found[0]);
    }

    #[test]
    fn the_section_ends_at_the_next_heading_of_its_level() {
        let readme = "# F\n```\n# limits\n```\n## Limits\nA\n### more\nB\n## After\nC\n";
        assert_eq!(section(readme), Some("A\n### more\nB\n"));
        assert_eq!(section("# F\n## All limits\nA"), Some("A"));
        assert_eq!(section("# F\nlimits\n"), None);
    }
}
