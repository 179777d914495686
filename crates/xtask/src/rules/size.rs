//! Files of at most 600 lines and functions of at most 70: what a person reads at a sitting. What
//! was longer when the rule came stands in the ratchet and may only shrink.

use crate::finding::Finding;
use crate::ratchet::Offence;
use crate::source::Source;

/// Most lines of a file.
const FILE_MAX_LINES: usize = 600;
/// Most lines of a function, from its `fn` to its closing brace.
const FUNCTION_MAX_LINES: usize = 70;

/// What is over its limit.
pub(crate) fn offences(sources: &[Source]) -> Vec<Offence> {
    let mut offences = Vec::new();
    for source in sources {
        if source.lines() > FILE_MAX_LINES {
            let problem = format!(
                "the file has {} lines; {FILE_MAX_LINES} are allowed",
                source.lines()
            );
            let remedy = "cut it where its subjects part; tests go to a tests.rs";
            offences.push(Offence {
                section: "files",
                key: source.path.clone(),
                size: source.lines(),
                finding: Finding::new(&source.path, 1, problem, remedy),
            });
        }
        let long = source.functions().into_iter();
        for function in long.filter(|function| function.lines > FUNCTION_MAX_LINES) {
            let problem = format!(
                "`{}` has {} lines; {FUNCTION_MAX_LINES} are allowed",
                function.name, function.lines
            );
            let remedy = "give its steps names: one function each";
            offences.push(Offence {
                section: "functions",
                key: format!("{}::{}", source.path, function.name),
                size: function.lines,
                finding: Finding::new(&source.path, function.line, problem, remedy),
            });
        }
    }
    offences
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(path: &str, body_lines: usize, file_lines: usize) -> Source {
        let body = "    a();\n".repeat(body_lines);
        let function = format!("fn f() {{\n{body}}}\n");
        let filler = "//\n".repeat(file_lines.saturating_sub(body_lines + 2));
        Source::new(path, &format!("{function}{filler}"))
    }

    #[test]
    fn the_limits_are_reached_and_not_passed() {
        assert!(offences(&[source("crates/a/src/b.rs", 68, 600)]).is_empty());
        let found = offences(&[source("crates/a/src/b.rs", 69, 601)]);
        let found: Vec<(&str, &str, usize)> = found
            .iter()
            .map(|o| (o.section, o.finding.problem.as_str(), o.size))
            .collect();
        assert_eq!(
            found,
            [
                ("files", "the file has 601 lines; 600 are allowed", 601),
                ("functions", "`f` has 71 lines; 70 are allowed", 71)
            ]
        );
    }
}
