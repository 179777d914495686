//! Each limit of `core/src/limits.rs` is named by a test: one that reaches it, or goes one over. A
//! limit that no test knows is a number that somebody may change without anybody noticing. Limits
//! that no test named when the rule came stand in the ratchet.

use crate::finding::Finding;
use crate::pages::limits::{self, Limit};
use crate::ratchet::Offence;
use crate::source::{Source, words};

/// Limits that no test names.
pub(crate) fn offences(limits: &[Limit], sources: &[Source]) -> Vec<Offence> {
    let named = |limit: &Limit| sources.iter().any(|source| names(source, &limit.name));
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

fn names(source: &Source, limit: &str) -> bool {
    words(source.code(), limit).any(|at| {
        let line = source.line_of(at);
        let text = source.code().lines().nth(line - 1).unwrap_or_default();
        source.is_test(line) && !text.trim_start().starts_with("use ")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_named_in_the_code_of_a_test_and_nowhere_else() {
        let declared = "/// A.\npub const A_MAX: usize = 1;\n/// B.\npub const A_MAX_BYTES: usize = 2;\n\
                        /// C.\npub const C: usize = 3;\n/// D.\npub const D: usize = 3;\n";
        let limits = limits::limits(declared).expect("four limits");
        let sources = [
            Source::new(
                "crates/a/src/b.rs",
                "fn f() { A_MAX; }\n#[cfg(test)]\nmod t {\n    use x::D;\n    f(A_MAX_BYTES);\n}\n",
            ),
            Source::new(
                "crates/a/tests/it/c.rs",
                "// A_MAX\nconst T: &str = \"A_MAX\";\nfn f() { C + 1 }\n",
            ),
        ];
        let found = offences(&limits, &sources);
        let found: Vec<(&str, usize)> = found
            .iter()
            .map(|o| (o.key.as_str(), o.finding.line))
            .collect();
        assert_eq!(found, [("A_MAX", 2), ("D", 8)]);
    }
}
