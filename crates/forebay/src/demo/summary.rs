//! The table that the demo ends with, and the same as JSON: counters, the archive's row counts, the monitors' reports.
//! "Lost: nothing" is counted here: sent = read = archived for every source.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use anyhow::Result;
use forebay_core::ports::Archive;

use forebay_monitor::{MonitorReport, Verdict, WindowReport, WindowState};
use serde::Serialize;

use super::frame::thousands;
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
    /// Gather it from `app`, which has been flushed and was sent `sent` events in `elapsed`.
    ///
    /// # Errors
    /// The archive cannot be read.
    pub(crate) fn of(app: &App, sent: &BTreeMap<String, u64>, elapsed: Duration) -> Result<Self> {
        let status = app.status();
        let mut archived = BTreeMap::new();
        for name in status.sources.keys() {
            archived.insert(name.clone(), app.runtime.block_on(app.archive.snapshot(name))?.rows);
        }
        Ok(Self {
            sent: sent.clone(),
            read: status.sources.iter().map(|(name, s)| (name.clone(), s.rows)).collect(),
            dead_letters: status.sources.values().map(|s| s.dead_letters).sum(),
            late_rows: status.late_rows,
            predictions: status.predictions,
            unscored: status.unscored,
            archived,
            elapsed_seconds: elapsed.as_secs_f64(),
            peak_rss_bytes: peak_rss_bytes(),
            monitors: app.reports(),
        })
    }

    /// Whether every event that was sent was read, archived, and, where a deployment asks for it, scored.
    #[must_use]
    pub(crate) fn is_complete(&self) -> bool {
        self.sent.iter().all(|(source, sent)| {
            self.read.get(source) == Some(sent) && self.archived.get(source).is_some_and(|rows| rows == sent)
        }) && self.dead_letters == 0
            && self.unscored == 0
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
            let counts =
                format!("{} sent, {} read, {} archived", thousands(*sent), thousands(read), thousands(archived));
            line(&mut out, source, counts);
        }
        line(
            &mut out,
            "predictions",
            format!("{} published, {} not scored", thousands(self.predictions), self.unscored),
        );
        line(&mut out, "dead letters", thousands(self.dead_letters));
        line(&mut out, "lost", if self.is_complete() { "nothing (counted)".into() } else { "see above".into() });
        let rate = self.sent.values().sum::<u64>() as f64 / self.elapsed_seconds.max(1e-9);
        line(&mut out, "events/s", format!("{} over {:.1} s", thousands(rate as u64), self.elapsed_seconds));
        line(&mut out, "memory", format!("{} MiB at most", self.peak_rss_bytes >> 20));
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
    let kib = line.and_then(|rest| rest.trim().trim_end_matches(" kB").trim().parse::<u64>().ok());
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
        for window in series.windows.iter().filter(|w| w.state == WindowState::Closed) {
            let _infallible = writeln!(out, "{}", window_text(window));
        }
        if let Some(overall) = &series.overall {
            let figure = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |v| format!("{v:.4}"));
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
    let mut columns: Vec<_> = window.columns.iter().filter(|c| c.verdict == Verdict::Drifted).collect();
    columns.sort_by(|a, b| b.psi.unwrap_or(0.0).total_cmp(&a.psi.unwrap_or(0.0)));
    columns.into_iter().map(|c| c.column.clone()).collect()
}
