//! One finding of the doctor and how findings are printed. Pure. Each part of the doctor makes
//! them, the command prints them and ends with 1 when one of them failed.

/// How a thing is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Ok,
    Note,
    Failed,
}

/// What was found out about one thing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Finding {
    state: State,
    object: &'static str,
    text: String,
}

impl Finding {
    /// It is as it should be.
    pub(super) fn ok(object: &'static str, text: impl Into<String>) -> Self {
        Self {
            state: State::Ok,
            object,
            text: text.into(),
        }
    }

    /// Worth knowing; no failure.
    pub(super) fn note(object: &'static str, text: impl Into<String>) -> Self {
        Self {
            state: State::Note,
            object,
            text: text.into(),
        }
    }

    /// A server would not start or not work; the text says the remedy.
    pub(super) fn failed(object: &'static str, text: impl Into<String>) -> Self {
        Self {
            state: State::Failed,
            object,
            text: text.into(),
        }
    }

    /// Whether it is a failure.
    pub(super) fn is_failed(&self) -> bool {
        self.state == State::Failed
    }

    /// Its words.
    pub(super) fn text(&self) -> &str {
        &self.text
    }
}

/// One line a finding and a verdict.
pub(super) fn render(findings: &[Finding]) -> String {
    let width = findings
        .iter()
        .map(|finding| finding.object.len())
        .max()
        .unwrap_or(0);
    let mut out = String::new();
    for Finding {
        state,
        object,
        text,
    } in findings
    {
        let state = match state {
            State::Ok => "ok  ",
            State::Note => "note",
            State::Failed => "FAIL",
        };
        out.push_str(&format!("{state}  {object:<width$}  {text}\n"));
    }
    let failed = findings
        .iter()
        .filter(|finding| finding.is_failed())
        .count();
    out.push_str(&match failed {
        0 => "\neverything that was looked at works\n".to_owned(),
        _ => format!("\n{failed} of {} things need attention\n", findings.len()),
    });
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn findings_are_aligned_and_counted() {
        let findings = [
            Finding::ok("broker", "answers"),
            Finding::failed("data directory", "is full"),
            Finding::note("gpu", "none"),
        ];
        let text = render(&findings);
        assert!(
            text.contains(
                "ok    broker          answers\nFAIL  data directory  is full\nnote  gpu "
            ),
            "{text}"
        );
        assert!(text.ends_with("\n1 of 3 things need attention\n"));
        assert!(render(&findings[..1]).ends_with("\neverything that was looked at works\n"));
    }
}
