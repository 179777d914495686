//! What came of the tests, as text for people and as one JSON object for programs. Pure: outcomes
//! in, text out.

use std::time::Duration;

use forebay_engine::{Branch, Location};
use serde_json::{Value as Json, json};

use super::compare::{Difference, literal};
use super::coverage::{Coverage, Covered, ViewCoverage};
use super::events::Undecoded;
use crate::instant;

/// Differences of one test that are written out; more are counted.
const DIFFERENCES_SHOWN: usize = 20;

/// All tests.
#[derive(Debug)]
pub(super) struct Report {
    pub(super) tests: Vec<Tested>,
    pub(super) coverage: Option<Coverage>,
    /// How long all of them took; each has its own part.
    pub(super) took: Duration,
    seed: u64,
    orders: u32,
}

/// One test that has been run.
#[derive(Debug)]
pub(super) struct Tested {
    pub(super) name: String,
    pub(super) at: Location,
    pub(super) took: Duration,
    pub(super) differences: Vec<Difference>,
    pub(super) failures: Vec<Failure>,
    pub(super) left_out: Vec<LeftOutRow>,
    pub(super) undecoded: Vec<Undecoded>,
}

/// A path that has no answer.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) path: String,
    pub(super) words: String,
}

/// An event that a view leaves out.
#[derive(Debug)]
pub(super) struct LeftOutRow {
    pub(super) view: String,
    pub(super) source: String,
    pub(super) at: Location,
    pub(super) why: String,
}

impl Tested {
    pub(super) fn has_passed(&self) -> bool {
        self.differences.is_empty() && self.failures.is_empty()
    }

    /// Why it fails: what differs, and what was kept from being counted.
    pub(super) fn details(&self) -> String {
        let mut text = String::new();
        for Failure { path, words } in &self.failures {
            line(&mut text, &format!("  no answer by {path}: {words}"));
        }
        for difference in self.differences.iter().take(DIFFERENCES_SHOWN) {
            describe(&mut text, difference);
        }
        if let Some(more) = self.differences.len().checked_sub(DIFFERENCES_SHOWN + 1) {
            line(&mut text, &format!("  and {} more", more + 1));
        }
        for row in &self.left_out {
            let LeftOutRow {
                view,
                source,
                at,
                why,
            } = row;
            let words = format!("  view {view} leaves out the event of {source} at {at}: {why}");
            line(&mut text, &words);
        }
        for Undecoded { at, source, why } in &self.undecoded {
            line(
                &mut text,
                &format!("  the record at {at} is no row of {source}: {why}"),
            );
        }
        text
    }
}

fn line(text: &mut String, words: &str) {
    text.push_str(words);
    text.push('\n');
}

fn key_of(difference: &Difference) -> String {
    let key = difference.key.iter();
    let key: Vec<String> = key
        .map(|(name, value)| format!("{name} = {}", literal(value)))
        .collect();
    key.join(", ")
}

fn describe(text: &mut String, difference: &Difference) {
    let Difference {
        at,
        object,
        feature,
        at_us,
        expected,
        got,
        is_expected_by_some,
        ..
    } = difference;
    line(
        text,
        &format!(
            "  {feature} of {object} for {} at {} ({at})",
            key_of(difference),
            instant::format(*at_us)
        ),
    );
    line(text, &format!("    expected  {}", literal(expected)));
    for (value, paths) in got {
        let by = if got.len() == 1 && !is_expected_by_some {
            "every path".to_owned()
        } else {
            paths.join("; ")
        };
        line(text, &format!("    got       {}  by {by}", literal(value)));
    }
}

impl Report {
    /// Of no test yet, by `seed` and so many `orders`.
    pub(super) fn new(seed: u64, orders: u32) -> Self {
        Self {
            tests: Vec::new(),
            coverage: None,
            took: Duration::ZERO,
            seed,
            orders,
        }
    }

    /// How many tests have failed.
    pub(super) fn failed(&self) -> usize {
        self.tests.iter().filter(|test| !test.has_passed()).count()
    }

    /// For people.
    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        for test in &self.tests {
            let word = if test.has_passed() {
                "ok    "
            } else {
                "FAILED"
            };
            let ms = test.took.as_secs_f64() * 1e3;
            line(
                &mut text,
                &format!("{word} {} ({}, {ms:.1} ms)", test.name, test.at),
            );
            if !test.has_passed() {
                text.push_str(&test.details());
            }
        }
        let (tests, failed) = (self.tests.len(), self.failed());
        line(
            &mut text,
            &format!(
                "{} of {tests} tests passed in {} ms, each by both paths of training, by the stream as given, and in {} orders of \
                 seed {}",
                tests - failed,
                self.took.as_millis(),
                self.orders,
                self.seed
            ),
        );
        if let Some(coverage) = &self.coverage {
            text.push_str(&coverage_text(coverage));
        }
        text
    }

    /// For programs.
    pub(super) fn json(&self) -> Json {
        let tests: Vec<Json> = self.tests.iter().map(test_json).collect();
        json!({
            "tests": tests, "passed": self.tests.len() - self.failed(), "failed": self.failed(),
            "seed": self.seed, "orders": self.orders, "ms": self.took.as_secs_f64() * 1e3,
            "coverage": self.coverage.as_ref().map(coverage_json),
        })
    }
}

fn place(at: &Location) -> Json {
    json!({"file": at.file, "line": at.line, "column": at.column})
}

fn test_json(test: &Tested) -> Json {
    let differences = test.differences.iter().map(|difference| {
        let key = difference.key.iter();
        let key: Vec<Json> = key
            .map(|(name, value)| json!({"column": name, "value": literal(value)}))
            .collect();
        let got = difference.got.iter();
        let got: Vec<Json> = got
            .map(|(value, paths)| json!({"value": literal(value), "paths": paths}))
            .collect();
        json!({
            "at": place(&difference.at), "object": difference.object, "feature": difference.feature,
            "key": key, "time": instant::format(difference.at_us),
            "expected": literal(&difference.expected), "got": got,
        })
    });
    let failures = test.failures.iter();
    let left_out = test.left_out.iter().map(
        |row| json!({"view": row.view, "source": row.source, "at": place(&row.at), "why": row.why}),
    );
    let undecoded = test
        .undecoded
        .iter()
        .map(|row| json!({"source": row.source, "at": place(&row.at), "why": row.why}));
    json!({
        "name": test.name, "at": place(&test.at), "passed": test.has_passed(),
        "ms": test.took.as_secs_f64() * 1e3,
        "differences": differences.collect::<Vec<_>>(),
        "failures": failures.map(|f| json!({"path": f.path, "why": f.words})).collect::<Vec<_>>(),
        "left_out": left_out.collect::<Vec<_>>(),
        "undecoded": undecoded.collect::<Vec<_>>(),
    })
}

/// How many are reached, of how many.
fn count(reached: impl Iterator<Item = bool>) -> (usize, usize) {
    reached.fold((0, 0), |(some, all), is| (some + usize::from(is), all + 1))
}

fn coverage_text(coverage: &Coverage) -> String {
    let views = || coverage.views.values();
    let windows = || views().flat_map(|view| &view.windows);
    let services = coverage.services.values().flatten();
    let counts = [
        (
            "features of views",
            count(views().flat_map(|v| &v.features).map(|f| f.is_reached)),
        ),
        (
            "features of services",
            count(services.map(|f| f.is_reached)),
        ),
        ("windows", count(windows().map(|w| w.is_reached))),
        (
            "far ends of windows",
            count(windows().filter_map(|w| w.is_passed)),
        ),
        ("TTLs", count(views().filter_map(|view| view.ttl))),
        (
            "branches of CASE",
            count(coverage.branches().map(|(_, _, branch)| branch.is_taken)),
        ),
    ];
    let counts = counts.map(|(what, (some, all))| format!("{some} of {all} {what}"));
    let mut text = format!("reached: {}\n", counts.join(", "));
    for (name, view) in &coverage.views {
        view_gaps(&mut text, name, view);
    }
    for (name, features) in &coverage.services {
        gap(&mut text, &format!("feature service {name}"), features);
    }
    let untaken = coverage.branches().filter(|(_, _, of)| !of.is_taken);
    for (kind, name, Branch { text: branch, .. }) in untaken {
        line(
            &mut text,
            &format!("  {kind} {name}: no row takes {branch}"),
        );
    }
    text
}

fn gap(text: &mut String, object: &str, features: &[Covered]) {
    let gaps = features.iter().filter(|feature| !feature.is_reached);
    let gaps: Vec<&str> = gaps.map(|feature| feature.name.as_str()).collect();
    if !gaps.is_empty() {
        line(
            text,
            &format!("  {object}: no test expects {}", gaps.join(", ")),
        );
    }
}

fn view_gaps(text: &mut String, name: &str, view: &ViewCoverage) {
    gap(text, &format!("feature view {name}"), &view.features);
    for window in &view.windows {
        let words = match (window.is_reached, window.is_passed) {
            (false, _) => "no event lies in",
            (true, Some(false)) => "no event has left",
            _ => continue,
        };
        line(
            text,
            &format!(
                "  feature view {name}: {words} the window of {} ({})",
                window.length(),
                window.features(view).join(", ")
            ),
        );
    }
    if view.ttl == Some(false) {
        line(
            text,
            &format!("  feature view {name}: no test asks beyond its TTL"),
        );
    }
}

fn coverage_json(coverage: &Coverage) -> Json {
    let features = |features: &[Covered]| -> Vec<Json> {
        let features = features.iter();
        features
            .map(|f| json!({"name": f.name, "reached": f.is_reached}))
            .collect()
    };
    let views = coverage.views.iter().map(|(name, view)| {
        let windows = view.windows.iter().map(|window| {
            json!({"length": window.length(), "features": window.features(view),
                   "reached": window.is_reached, "far_end": window.is_passed})
        });
        json!({"name": name, "features": features(&view.features),
               "windows": windows.collect::<Vec<_>>(), "ttl": view.ttl})
    });
    let services = coverage.services.iter();
    let services = services.map(|(name, of)| json!({"name": name, "features": features(of)}));
    let branches = coverage.branches().map(|(kind, name, branch)| {
        json!({"kind": kind.to_string(), "name": name, "branch": branch.text,
               "taken": branch.is_taken})
    });
    json!({"views": views.collect::<Vec<_>>(), "services": services.collect::<Vec<_>>(),
           "branches": branches.collect::<Vec<_>>()})
}
