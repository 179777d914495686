//! The report as JUnit XML, which continuous integration reads: one suite a file, one case a test.
//! Pure: what `report` has is written, nothing is decided here.

use std::fmt::Write as _;

use super::report::{Report, Tested};

/// `report` as a document.
pub(super) fn render(report: &Report) -> String {
    let mut text = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites>\n");
    for suite in report.tests.chunk_by(|a, b| a.at.file == b.at.file) {
        let failed = suite.iter().filter(|test| !test.has_passed()).count();
        let seconds: f64 = suite.iter().map(|test| test.took.as_secs_f64()).sum();
        let _infallible = writeln!(
            text,
            "  <testsuite name=\"{}\" tests=\"{}\" failures=\"{failed}\" time=\"{seconds:.6}\">",
            escaped(&suite[0].at.file),
            suite.len()
        );
        suite.iter().for_each(|test| case(&mut text, test));
        text.push_str("  </testsuite>\n");
    }
    text.push_str("</testsuites>\n");
    text
}

fn case(text: &mut String, test: &Tested) {
    let _infallible = write!(
        text,
        "    <testcase name=\"{}\" classname=\"{}\" file=\"{}\" line=\"{}\" time=\"{:.6}\"",
        escaped(&test.name),
        escaped(&test.at.file),
        escaped(&test.at.file),
        test.at.line,
        test.took.as_secs_f64()
    );
    if test.has_passed() {
        text.push_str("/>\n");
        return;
    }
    let (different, unanswered) = (test.differences.len(), test.failures.len());
    let _infallible = write!(
        text,
        ">\n      <failure message=\"{different} values differ, {unanswered} paths have no answer\">{}</failure>\n    \
         </testcase>\n",
        escaped(&test.details())
    );
}

/// `words` as text of an element or an attribute. XML 1.0 has no other control characters than
/// these.
fn escaped(words: &str) -> String {
    let mut out = String::with_capacity(words.len());
    for c in words.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\n' | '\t' => out.push(c),
            c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}
