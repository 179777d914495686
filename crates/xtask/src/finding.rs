//! What a rule found: where, what, and what to do about it. One line each, in the form that editors
//! and terminals turn into links; sorted by place.

use std::fmt;

/// One finding.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Finding {
    /// Path from the repository's root.
    pub(crate) file: String,
    /// From 1.
    pub(crate) line: usize,
    /// What is wrong.
    pub(crate) problem: String,
    /// What to do.
    pub(crate) remedy: String,
}

impl Finding {
    pub(crate) fn new(
        file: impl Into<String>,
        line: usize,
        problem: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self {
            file: file.into(),
            line,
            problem: problem.into(),
            remedy: remedy.into(),
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}:{}: {}; {}",
            self.file, self.line, self.problem, self.remedy
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_reads_as_place_problem_remedy() {
        let finding = Finding::new("crates/core/src/lib.rs", 7, "it is wrong", "make it right");
        assert_eq!(
            finding.to_string(),
            "crates/core/src/lib.rs:7: it is wrong; make it right"
        );
    }
}
