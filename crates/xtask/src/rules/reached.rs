//! Each limit of `core/src/limits.rs` is named by a test: one that reaches it, or goes one over. A
//! limit that no test knows is a number that somebody may change without anybody noticing. Limits
//! that no test named when the rule came stand in the ratchet.
//!
//! To be named is to stand in the body of a function of a test: a comment, an import, a constant
//! beside the tests, an example and a stand-in of `testkit` or `sim` reach nothing.

use crate::finding::Finding;
use crate::pages::limits::{self, Limit};
use crate::ratchet::Offence;
use crate::source::{Source, words};

/// Parts of the paths of files that serve tests and are none.
const NO_TESTS: [&str; 4] = [
    "/examples/",
    "/benches/",
    "crates/testkit/src/",
    "crates/sim/src/",
];

/// Limits that no test names.
pub(crate) fn offences(limits: &[Limit], sources: &[Source]) -> Vec<Offence> {
    let bodies: Vec<Bodies<'_>> = sources.iter().filter_map(Bodies::of).collect();
    let named = |limit: &Limit| bodies.iter().any(|bodies| bodies.name(&limit.name));
    let unnamed = limits.iter().filter(|limit| !named(limit));
    unnamed
        .map(|limit| Offence {
            section: "limits",
            key: limit.name.clone(),
            size: 1,
            finding: Finding::new(
                limits::SOURCE,
                limit.line,
                format!("no test names {}", limit.name),
                "write one that reaches the limit, and one over it, by its name",
            ),
        })
        .collect()
}

/// The bodies of a file's functions.
struct Bodies<'a> {
    source: &'a Source,
    /// First and last line of each.
    lines: Vec<(usize, usize)>,
}

impl<'a> Bodies<'a> {
    /// None of a file that has no tests.
    fn of(source: &'a Source) -> Option<Self> {
        if NO_TESTS.iter().any(|part| source.path.contains(part)) {
            return None;
        }
        let functions = source.functions().into_iter();
        let functions = functions.filter(|function| source.is_test(function.line));
        let lines = functions.map(|f| (f.line, f.line + f.lines - 1));
        Some(Self {
            source,
            lines: lines.collect(),
        })
    }

    fn name(&self, limit: &str) -> bool {
        words(self.source.code(), limit).any(|at| {
            let line = self.source.line_of(at);
            let text = self.source.code().lines().nth(line - 1).unwrap_or_default();
            let inside = |(first, last): &(usize, usize)| (*first..=*last).contains(&line);
            self.lines.iter().any(inside) && !text.trim_start().starts_with("use ")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_named_in_the_body_of_a_test_and_nowhere_else() {
        let declared = "/// A.\npub const A_MAX: usize = 1;\n/// B.\npub const A_MAX_BYTES: usize = 2;\n\
                        /// C.\npub const C: usize = 3;\n/// D.\npub const D: usize = 3;\n";
        let limits = limits::limits(declared).expect("four limits");
        let sources = [
            Source::new(
                "crates/a/src/b.rs",
                "fn f() { A_MAX; }\n#[cfg(test)]\nmod t {\n    use x::{\n        A_MAX,\n        D,\n    };\n    \
                 fn g() {\n        use x::D;\n        f(A_MAX_BYTES);\n    }\n    const E: usize = D;\n}\n",
            ),
            Source::new(
                "crates/a/tests/it/c.rs",
                "// A_MAX\nconst T: &str = \"A_MAX\";\nfn f() { C + 1 }\n",
            ),
            Source::new("crates/a/examples/d.rs", "fn f() { A_MAX }\n"),
            Source::new("crates/testkit/src/e.rs", "fn f() { D }\n"),
        ];
        let found = offences(&limits, &sources);
        let found: Vec<(&str, usize)> = found
            .iter()
            .map(|o| (o.key.as_str(), o.finding.line))
            .collect();
        assert_eq!(found, [("A_MAX", 2), ("D", 8)]);
    }
}
