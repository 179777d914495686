//! The table that the demo ends with, and the same as JSON: counters, the archive's row counts, the
//! monitors' reports. "Lost: nothing" is counted here: sent = read = archived for every source, and
//! each event of a scored source has its predictions, published = read back = archived.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use anyhow::Result;
use forebay_core::ports::Archive;

use forebay_monitor::{MonitorReport, Verdict, WindowReport, WindowState};
use serde::Serialize;

use super::frame::thousands;
use super::pace::Pace;
use crate::instant;
use crate::server::app::App;

/// What the demo says at its end.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Summary {
    /// Events sent, by source.
    pub(crate) sent: BTreeMap<String, u64>,
    /// Events read back, by source, predictions included.
    pub(crate) read: BTreeMap<String, u64>,
    /// Dead letters.
    pub(crate) dead_letters: u64,
    /// Rows too late for the online state.
    pub(crate) late_rows: u64,
    /// Predictions that the events sent ask for.
    pub(crate) predictions_due: u64,
    /// Predictions published.
    pub(crate) predictions: u64,
    /// Events that could not be scored.
    pub(crate) unscored: u64,
    /// Rows in the archive's tables.
    pub(crate) archived: BTreeMap<String, u64>,
    /// Seconds from the first event to the last one done.
    pub(crate) elapsed_seconds: f64,
    /// Greatest resident memory, bytes.
    pub(crate) peak_rss_bytes: u64,
    /// What the monitors say.
    pub(crate) monitors: Vec<MonitorReport>,
}

impl Summary {
    /// Gather it from `app`, which has been flushed and got what `pace` sent in `elapsed`.
    ///
    /// # Errors
    /// The archive cannot be read.
    pub(crate) fn of(app: &App, pace: &Pace<'_>, elapsed: Duration) -> Result<Self> {
        let status = app.status();
        let mut archived = BTreeMap::new();
        for name in status.sources.keys() {
            archived.insert(
                name.clone(),
                app.runtime.block_on(app.archive.snapshot(name))?.rows,
            );
        }
        Ok(Self {
            sent: pace.sent().clone(),
            read: status
                .sources
                .iter()
                .map(|(name, s)| (name.clone(), s.rows))
                .collect(),
            dead_letters: status.sources.values().map(|s| s.dead_letters).sum(),
            late_rows: status.late_rows,
            predictions_due: pace.predictions_due(),
            predictions: status.predictions,
            unscored: status.unscored,
            archived,
            elapsed_seconds: elapsed.as_secs_f64(),
            peak_rss_bytes: peak_rss_bytes(),
            monitors: app.reports(),
        })
    }

    /// Whether every event that was sent was read, archived, and, where a deployment asks for it,
    /// scored.
    #[must_use]
    pub(crate) fn is_complete(&self) -> bool {
        self.sent.iter().all(|(source, sent)| {
            self.read.get(source) == Some(sent)
                && self.archived.get(source).is_some_and(|rows| rows == sent)
        }) && self.dead_letters == 0
            && self.unscored == 0
            && [
                self.predictions,
                self.of_predictions(&self.read),
                self.of_predictions(&self.archived),
            ]
            .iter()
            .all(|count| *count == self.predictions_due)
    }

    /// Rows in `counts` that are predictions: those of sources to which nothing was sent.
    fn of_predictions(&self, counts: &BTreeMap<String, u64>) -> u64 {
        counts
            .iter()
            .filter(|(source, _)| !self.sent.contains_key(*source))
            .map(|(_, rows)| rows)
            .sum()
    }

    /// For people.
    #[must_use]
    pub(crate) fn text(&self) -> String {
        let mut out = String::from("\n");
        let line = |out: &mut String, name: &str, value: String| {
            // Writing to a String does not fail.
            let _infallible = writeln!(out, "  {name:<24} {value}");
        };
        for (source, sent) in &self.sent {
            let read = self.read.get(source).copied().unwrap_or(0);
            let archived = self.archived.get(source).copied().unwrap_or(0);
            let counts = format!(
                "{} sent, {} read, {} archived",
                thousands(*sent),
                thousands(read),
                thousands(archived)
            );
            line(&mut out, source, counts);
        }
        line(
            &mut out,
            "predictions",
            format!(
                "{} published, {} read, {} archived, {} not scored",
                thousands(self.predictions),
                thousands(self.of_predictions(&self.read)),
                thousands(self.of_predictions(&self.archived)),
                thousands(self.unscored)
            ),
        );
        line(&mut out, "dead letters", thousands(self.dead_letters));
        line(
            &mut out,
            "lost",
            if self.is_complete() {
                "nothing (counted)".into()
            } else {
                "see above".into()
            },
        );
        let rate = self.sent.values().sum::<u64>() as f64 / self.elapsed_seconds.max(1e-9);
        line(
            &mut out,
            "events/s",
            format!(
                "{} over {:.1} s",
                thousands(rate as u64),
                self.elapsed_seconds
            ),
        );
        line(
            &mut out,
            "memory",
            format!("{} MiB at most", self.peak_rss_bytes >> 20),
        );
        for report in &self.monitors {
            monitor_text(&mut out, report);
        }
        out
    }
}

/// Greatest resident memory of this process so far, bytes; 0 where the system does not tell.
fn peak_rss_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|rest| {
        rest.trim()
            .trim_end_matches(" kB")
            .trim()
            .parse::<u64>()
            .ok()
    });
    kib.unwrap_or(0) << 10
}

fn monitor_text(out: &mut String, report: &MonitorReport) {
    for series in &report.series {
        let _infallible = writeln!(
            out,
            "\n  {} version {} against {}\n\n  {:<12} {:>7} {:>7} {:>7} {:>7} {:>7} {:>7} {:>9}  drifted features",
            report.monitor,
            series.version,
            report.reference,
            "week of",
            "scored",
            "AUC",
            "logloss",
            "prec.",
            "recall",
            "F1",
            "coverage"
        );
        for window in series
            .windows
            .iter()
            .filter(|w| w.state == WindowState::Closed)
        {
            let _infallible = writeln!(out, "{}", window_text(window));
        }
        if let Some(overall) = &series.overall {
            let figure =
                |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |v| format!("{v:.4}"));
            let _infallible = writeln!(
                out,
                "  {:<12} {:>7} {:>7} {:>7} {:>7} {:>7} {:>7} {:>9}",
                "all",
                thousands(overall.predictions),
                figure(overall.auc),
                figure(overall.log_loss),
                figure(overall.precision),
                figure(overall.recall),
                figure(overall.f1),
                figure(overall.coverage)
            );
        }
    }
}

fn window_text(window: &WindowReport) -> String {
    let quality = window.quality.clone().unwrap_or_default();
    let figure = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |v| format!("{v:.3}"));
    format!(
        "  {:<12} {:>7} {:>7} {:>7} {:>7} {:>7} {:>7} {:>9}  {}",
        &instant::format(window.start_us)[..10],
        thousands(window.rows),
        figure(quality.auc),
        figure(quality.log_loss),
        figure(quality.precision),
        figure(quality.recall),
        figure(quality.f1),
        figure(quality.coverage),
        drifted(window).join(" ")
    )
}

/// Names of the drifted columns, worst first.
#[must_use]
pub(crate) fn drifted(window: &WindowReport) -> Vec<String> {
    let mut columns: Vec<_> = window
        .columns
        .iter()
        .filter(|c| c.verdict == Verdict::Drifted)
        .collect();
    columns.sort_by(|a, b| b.psi.unwrap_or(0.0).total_cmp(&a.psi.unwrap_or(0.0)));
    columns.into_iter().map(|c| c.column.clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(of: &[(&str, u64)]) -> BTreeMap<String, u64> {
        of.iter()
            .map(|(source, rows)| ((*source).to_owned(), *rows))
            .collect()
    }

    fn complete() -> Summary {
        Summary {
            sent: counts(&[("arrivals", 3), ("departures", 5)]),
            read: counts(&[("arrivals", 3), ("departures", 5), ("predictions_late", 5)]),
            dead_letters: 0,
            late_rows: 0,
            predictions_due: 5,
            predictions: 5,
            unscored: 0,
            archived: counts(&[("arrivals", 3), ("departures", 5), ("predictions_late", 5)]),
            elapsed_seconds: 2.0,
            peak_rss_bytes: 0,
            monitors: Vec::new(),
        }
    }

    #[test]
    fn nothing_is_lost_only_where_every_prediction_came_back_and_was_archived() {
        assert!(complete().is_complete());
        assert!(
            complete()
                .text()
                .contains("5 published, 5 read, 5 archived, 0 not scored"),
            "{}",
            complete().text()
        );
        assert!(complete().text().contains("nothing (counted)"));
        let breaks: [fn(&mut Summary); 7] = [
            |s| s.predictions = 4,
            |s| s.predictions_due = 6,
            |s| s.unscored = 1,
            |s| s.dead_letters = 1,
            |s| s.read.extend([("predictions_late".to_owned(), 4)]),
            |s| s.archived.extend([("predictions_late".to_owned(), 4)]),
            |s| s.archived.extend([("arrivals".to_owned(), 2)]),
        ];
        for (number, broken) in breaks.into_iter().enumerate() {
            let mut summary = complete();
            broken(&mut summary);
            assert!(!summary.is_complete(), "break {number}");
            assert!(summary.text().contains("see above"), "break {number}");
        }
    }
}
