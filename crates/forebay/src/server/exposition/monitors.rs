//! The last closed window of each monitor and live version as metrics, and their end once no route
//! leads to the version any more. Several monitors may watch one model: each has its own series.

use forebay_core::prediction::Role;
use forebay_monitor::{
    MonitorReport, QualityReport, SeriesReport, Verdict, WindowReport, WindowState,
};
use forebay_telemetry::Metrics;

/// Show what `report` says of its newest closed windows.
pub(super) fn monitor(metrics: &Metrics, report: &MonitorReport) {
    for series in report.series.iter().filter(|s| s.role == Role::Live) {
        if !series.is_routed {
            retire(metrics, report, series);
        } else if let Some(window) = series
            .windows
            .iter()
            .rev()
            .find(|w| w.state == WindowState::Closed)
        {
            last_window(metrics, report, series, window);
        }
    }
}

fn last_window(
    metrics: &Metrics,
    report: &MonitorReport,
    series: &SeriesReport,
    window: &WindowReport,
) {
    let (model, version, name) = (
        report.model.as_str(),
        series.version.to_string(),
        report.monitor.as_str(),
    );
    let version = version.as_str();
    metrics
        .monitor_window_rows
        .with([model, version, name])
        .set(window.rows as f64);
    metrics
        .monitor_evaluation
        .with([name])
        .set_time_us(window.end_us);
    if let Some(ratio) = window.drifted_ratio {
        metrics
            .monitor_drifted_features
            .with([model, version, name])
            .set(ratio);
    }
    for column in &window.columns {
        let feature = column.column.as_str();
        let scores = [("psi", column.psi), ("ks", column.ks), ("js", column.js)];
        for (method, score) in scores
            .into_iter()
            .filter_map(|(method, score)| Some((method, score?)))
        {
            metrics
                .monitor_drift_score
                .with([model, version, name, feature, method, &report.reference])
                .set(score);
        }
        if let Some(threshold) = column.threshold {
            metrics
                .monitor_drift_threshold
                .with([model, version, name, feature, &report.reference])
                .set(threshold);
        }
        let raised = series
            .alarms
            .iter()
            .any(|alarm| alarm.column == column.column && alarm.role == column.role);
        if raised || column.verdict != Verdict::NoReference {
            let value = if raised { 1.0 } else { 0.0 };
            metrics
                .monitor_alarm
                .with([model, version, name, feature])
                .set(value);
        }
    }
    if let Some(quality) = &window.quality {
        let labels = (model, version, name);
        last_quality(metrics, labels, quality);
    }
}

/// A version that no route leads to any more says nothing of the present.
fn retire(metrics: &Metrics, report: &MonitorReport, series: &SeriesReport) {
    let (model, version, name) = (
        report.model.as_str(),
        series.version.to_string(),
        report.monitor.as_str(),
    );
    let of_monitor = [model, version.as_str(), name];
    metrics.monitor_window_rows.remove(of_monitor);
    metrics.monitor_drifted_features.remove(of_monitor);
    metrics.monitor_label_coverage.remove(of_monitor);
    metrics.monitor_label_maturity.remove(of_monitor);
    for metric in QUALITY {
        let labels = [model, version.as_str(), name, metric];
        metrics.monitor_quality.remove(labels);
    }
    for column in series.windows.iter().flat_map(|window| &window.columns) {
        let (feature, reference) = (column.column.as_str(), report.reference.as_str());
        for method in ["psi", "ks", "js"] {
            let labels = [model, version.as_str(), name, feature, method, reference];
            metrics.monitor_drift_score.remove(labels);
        }
        let labels = [model, version.as_str(), name, feature, reference];
        metrics.monitor_drift_threshold.remove(labels);
        let labels = [model, version.as_str(), name, feature];
        metrics.monitor_alarm.remove(labels);
    }
}

/// Names of the quality figures.
const QUALITY: [&str; 6] = ["auc", "log_loss", "precision", "recall", "f1", "brier"];

fn last_quality(
    metrics: &Metrics,
    (model, version, monitor): (&str, &str, &str),
    quality: &QualityReport,
) {
    let figures = [
        quality.auc,
        quality.log_loss,
        quality.precision,
        quality.recall,
        quality.f1,
        quality.brier,
    ];
    for (metric, value) in QUALITY
        .into_iter()
        .zip(figures)
        .filter_map(|(metric, value)| Some((metric, value?)))
    {
        metrics
            .monitor_quality
            .with([model, version, monitor, metric])
            .set(value);
    }
    if let Some(coverage) = quality.coverage {
        metrics
            .monitor_label_coverage
            .with([model, version, monitor])
            .set(coverage);
    }
    if let Some(maturity) = quality.maturity {
        metrics
            .monitor_label_maturity
            .with([model, version, monitor])
            .set(maturity);
    }
}

#[cfg(test)]
mod tests {
    use forebay_monitor::{ColumnReport, ColumnRole, InputCounts};

    use super::*;

    fn column() -> ColumnReport {
        ColumnReport {
            column: "distance".to_owned(),
            role: ColumnRole::Feature,
            values: 1,
            nulls: 0,
            nans: 0,
            null_ratio: None,
            reference_null_ratio: None,
            unseen: None,
            mean: None,
            reference_mean: None,
            bins: 1,
            psi: Some(0.1),
            js: Some(0.2),
            ks: Some(0.3),
            ks_p: None,
            chi_square: None,
            chi_square_p: None,
            outer_ratio: None,
            p: None,
            threshold: Some(0.5),
            calibration: None,
            verdict: Verdict::Stable,
        }
    }

    /// Monitor `name` on version 1 of a model, whose last window has this AUC.
    fn report(name: &str, auc: f64, is_routed: bool) -> MonitorReport {
        let quality = QualityReport {
            auc: Some(auc),
            coverage: Some(1.0),
            maturity: Some(1.0),
            ..QualityReport::default()
        };
        let window = WindowReport {
            start_us: 0,
            end_us: 60,
            state: WindowState::Closed,
            revision: 0,
            rows: 7,
            columns: vec![column()],
            drifted_ratio: Some(0.0),
            quality: Some(quality),
        };
        MonitorReport {
            monitor: name.into(),
            model: "late".into(),
            reference: "r".into(),
            reference_digest: String::new(),
            window_us: 60,
            watermark_us: None,
            labels_watermark_us: None,
            input: InputCounts::default(),
            labels: None,
            series: vec![SeriesReport {
                version: 1,
                role: Role::Live,
                is_routed,
                windows: vec![window],
                alarms: Vec::new(),
                overall: None,
            }],
        }
    }

    /// The series of `metrics` that name a version of the model.
    fn shown(metrics: &Metrics) -> Vec<String> {
        let text = metrics.text().expect("encodes");
        let lines = text.lines().filter(|line| line.contains("model=\"late\""));
        lines.map(str::to_owned).collect()
    }

    #[test]
    fn two_monitors_of_one_model_have_their_own_series_which_go_with_each() {
        let metrics = Metrics::new().expect("valid");
        for (name, auc) in [("week", 0.75), ("day", 0.5)] {
            monitor(&metrics, &report(name, auc, true));
        }
        for (name, auc) in [("week", 0.75), ("day", 0.5)] {
            let quality = metrics.monitor_quality.with(["late", "1", name, "auc"]);
            assert_eq!(quality.value().to_bits(), f64::to_bits(auc), "{name}");
        }
        let all = shown(&metrics);
        metrics.retire("monitor", "week");
        let left = shown(&metrics);
        assert_eq!(left.len() * 2, all.len(), "{left:#?}");
        assert!(
            left.iter().all(|line| line.contains("monitor=\"day\"")),
            "{left:#?}"
        );
    }

    #[test]
    fn a_version_that_no_route_leads_to_any_more_has_no_series_left() {
        let metrics = Metrics::new().expect("valid");
        monitor(&metrics, &report("day", 0.5, true));
        assert!(!shown(&metrics).is_empty());
        monitor(&metrics, &report("day", 0.5, false));
        assert_eq!(shown(&metrics), Vec::<String>::new());
    }
}
