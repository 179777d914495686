//! Files of at most 600 lines and functions of at most 70: what a person reads at a sitting. What
//! was longer when the rule came stands in the ratchet and may only shrink.

use crate::finding::Finding;
use crate::ratchet::{FILE, Ratchet};
use crate::source::Source;

/// Most lines of a file.
const FILE_MAX_LINES: usize = 600;
/// Most lines of a function, from its `fn` to its closing brace.
const FUNCTION_MAX_LINES: usize = 70;

/// What is over its limit and not in the ratchet, what has grown, and where the ratchet is loose.
pub(crate) fn check(sources: &[Source], ratchet: &Ratchet) -> Vec<Finding> {
    let mut findings = Vec::new();
    for source in sources {
        let allowed = ratchet
            .files
            .get(&source.path)
            .copied()
            .unwrap_or(FILE_MAX_LINES);
        if source.lines() > allowed {
            let problem = format!(
                "the file has {} lines; {allowed} are allowed",
                source.lines()
            );
            findings.push(Finding::new(
                &source.path,
                1,
                problem,
                "cut it where its subjects part; tests go to a tests.rs",
            ));
        }
        for function in source.functions() {
            let key = format!("{}::{}", source.path, function.name);
            let allowed = ratchet
                .functions
                .get(&key)
                .copied()
                .unwrap_or(FUNCTION_MAX_LINES);
            if function.lines > allowed {
                let problem = format!(
                    "`{}` has {} lines; {allowed} are allowed",
                    function.name, function.lines
                );
                findings.push(Finding::new(
                    &source.path,
                    function.line,
                    problem,
                    "give its steps names: one function each",
                ));
            }
        }
    }
    findings.extend(loose(ratchet, &offenders(sources)));
    findings
}

/// All that is over a limit now.
pub(crate) fn offenders(sources: &[Source]) -> Ratchet {
    let mut offenders = Ratchet::default();
    for source in sources {
        if source.lines() > FILE_MAX_LINES {
            offenders.files.insert(source.path.clone(), source.lines());
        }
        for function in source
            .functions()
            .into_iter()
            .filter(|f| f.lines > FUNCTION_MAX_LINES)
        {
            let size = offenders
                .functions
                .entry(format!("{}::{}", source.path, function.name))
                .or_default();
            *size = function.lines.max(*size);
        }
    }
    offenders
}

/// A ratchet that would let something grow again.
fn loose(ratchet: &Ratchet, offenders: &Ratchet) -> Option<Finding> {
    let tight = ratchet.tightened(offenders);
    (tight != *ratchet).then(|| {
        let differs = |name: &&String| tight.files.get(*name) != ratchet.files.get(*name);
        let differs_too =
            |name: &&String| tight.functions.get(*name) != ratchet.functions.get(*name);
        let first = ratchet
            .files
            .keys()
            .find(differs)
            .or_else(|| ratchet.functions.keys().find(differs_too));
        let problem = format!(
            "'{}' is smaller than the ratchet says",
            first.map_or("", String::as_str)
        );
        Finding::new(
            FILE,
            1,
            problem,
            "run `cargo run -p xtask -- ratchet` and commit what it writes",
        )
    })
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
        let none = Ratchet::default();
        assert!(check(&[source("crates/a/src/b.rs", 68, 600)], &none).is_empty());
        let found = check(&[source("crates/a/src/b.rs", 69, 601)], &none);
        let problems: Vec<&str> = found.iter().map(|f| f.problem.as_str()).collect();
        assert_eq!(
            problems,
            [
                "the file has 601 lines; 600 are allowed",
                "`f` has 71 lines; 70 are allowed"
            ]
        );
        assert!(found.iter().all(|f| f.line == 1));
    }

    #[test]
    fn the_ratchet_lets_an_offender_stay_but_not_grow_and_must_follow_it_down() {
        let before = [source("crates/a/src/b.rs", 100, 700)];
        let ratchet = offenders(&before);
        assert_eq!(ratchet.functions["crates/a/src/b.rs::f"], 102);
        assert!(check(&before, &ratchet).is_empty());
        assert_eq!(
            check(&[source("crates/a/src/b.rs", 101, 701)], &ratchet).len(),
            2
        );
        let shrunk = check(&[source("crates/a/src/b.rs", 90, 700)], &ratchet);
        assert_eq!(shrunk.len(), 1, "{shrunk:?}");
        assert!(
            shrunk[0].file == FILE && shrunk[0].problem.contains("b.rs::f"),
            "{}",
            shrunk[0]
        );
    }
}
