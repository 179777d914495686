//! The table holds what it promises: every metric registers, is exposed under its name, and
//! recording reaches the text; logs come out in the chosen form.

use std::collections::HashSet;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use std::{fs, io};

use crate::logs::{LogFormat, subscriber};
use crate::names::{MetricKind, MetricName};
use crate::{Metrics, TelemetryError, Timing};

#[test]
fn every_metric_registers_and_follows_the_naming_rules() {
    Metrics::new().expect("the table is valid");
    let mut seen = HashSet::new();
    for metric in MetricName::ALL {
        let name = metric.name();
        assert!(seen.insert(name), "{name} occurs twice");
        assert!(name.starts_with("forebay_"), "{name}");
        assert_eq!(
            name.ends_with("_total"),
            metric.kind() == MetricKind::Counter,
            "{name}"
        );
        assert!(
            !metric.help().is_empty() && !metric.help().ends_with('.'),
            "{name}"
        );
        for label in metric.labels() {
            assert!(
                !["key", "offset", "le"].contains(label),
                "{name} has the label {label}"
            );
        }
    }
}

/// The sources of every crate but this one, tests left out.
fn other_sources(dir: &Path, text: &mut String) {
    for entry in fs::read_dir(dir)
        .expect("a readable folder")
        .map(|entry| entry.expect("a readable entry").path())
    {
        let name = entry
            .file_name()
            .and_then(|name| name.to_str())
            .unwrap_or_default();
        if entry.is_dir() && !["telemetry", "tests", "examples", "xtask"].contains(&name) {
            other_sources(&entry, text);
        } else if name.ends_with(".rs") && name != "tests.rs" {
            text.push_str(&fs::read_to_string(&entry).expect("a readable source"));
        }
    }
}

#[test]
fn every_metric_is_recorded_somewhere() {
    let mut sources = String::new();
    other_sources(
        &Path::new(env!("CARGO_MANIFEST_DIR")).join(".."),
        &mut sources,
    );
    let is_used = |field: &str| {
        let access = format!(".{field}");
        sources.match_indices(&access).any(|(at, _)| {
            sources[at + access.len()..]
                .trim_start()
                .starts_with(".with(")
        })
    };
    let unused: Vec<_> = MetricName::ALL
        .iter()
        .filter(|m| !is_used(m.field()))
        .map(|m| m.name())
        .collect();
    assert!(
        unused.is_empty(),
        "nothing records {unused:?}; record them or take them out of the table"
    );
}

#[test]
fn shipped_alerts_ask_for_metrics_that_there_are() {
    let rules =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../config/prometheus/forebay-rules.yml");
    let rules = fs::read_to_string(rules).expect("the shipped rules");
    let is_known = |name: &str| {
        MetricName::ALL.iter().any(|metric| {
            let parts: &[&str] = match metric.kind() {
                MetricKind::Histogram => &["_bucket", "_sum", "_count"],
                MetricKind::Counter | MetricKind::Gauge => &[""],
            };
            let rest = name.strip_prefix(metric.name());
            rest.is_some_and(|rest| parts.contains(&rest))
        })
    };
    let mut asked = 0;
    for expression in rules
        .lines()
        .filter_map(|line| line.trim().strip_prefix("expr:"))
    {
        let words = expression.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        for name in words.filter(|word| word.starts_with("forebay_")) {
            assert!(is_known(name), "{name} is no metric");
            asked += 1;
        }
    }
    assert!(asked >= 4, "{asked} metrics were found in the rules");
}

#[test]
fn each_alert_has_a_case_in_which_it_fires_and_one_in_which_it_does_not() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../config/prometheus");
    let text = |name| fs::read_to_string(dir.join(name)).expect("shipped");
    let (rules, cases) = (text("forebay-rules.yml"), text("forebay-rules.test.yml"));
    let mut lines = cases.lines().map(str::trim);
    let mut seen = HashSet::new();
    while let Some(line) = lines.next() {
        if let Some(alert) = line.strip_prefix("alertname: ") {
            let expected = lines.next().expect("what is expected");
            seen.insert((alert, expected == "exp_alerts: []"));
        }
    }
    let alerts = rules.lines().map(str::trim);
    for alert in alerts.filter_map(|line| line.strip_prefix("- alert: ")) {
        for is_silent in [false, true] {
            assert!(seen.contains(&(alert, is_silent)), "{alert}: {is_silent}");
        }
    }
}

#[test]
fn what_is_recorded_is_exposed_under_its_labels() {
    let metrics = Metrics::new().expect("the table is valid");
    let ok = metrics
        .serving_requests
        .with(["DoGet", "delay_features", "ok"]);
    ok.inc();
    ok.add(2);
    metrics.serving_in_flight.with([]).set(4.0);
    metrics
        .watermark
        .with(["departures"])
        .set_time_us(1_500_000);
    metrics
        .serving_duration
        .with(["DoGet", "delay_features"])
        .observe(3e-6);
    let text = metrics.text().expect("encodes");
    for line in [
        "# TYPE forebay_serving_requests_total counter",
        r#"forebay_serving_requests_total{code="ok",method="DoGet",service="delay_features"} 3"#,
        "forebay_serving_in_flight_requests 4",
        r#"forebay_watermark_timestamp_seconds{source="departures"} 1.5"#,
        r#"forebay_serving_request_duration_seconds_bucket{method="DoGet",service="delay_features",le="0.000002"} 0"#,
        r#"forebay_serving_request_duration_seconds_bucket{method="DoGet",service="delay_features",le="0.000004"} 1"#,
    ] {
        assert!(
            text.lines().any(|l| l == line),
            "{line} is missing in\n{text}"
        );
    }
}

#[test]
fn the_series_of_what_is_gone_are_exposed_no_more_and_those_of_others_stay() {
    let metrics = Metrics::new().expect("the table is valid");
    for source in ["rides", "fares"] {
        metrics.ingest_records.with([source, "ok"]).inc();
        metrics.ingest_lag_records.with([source, "0"]).set(1.0);
        metrics.backfill_duration.with([source]).observe(1.0);
        metrics.append_duration.with([source]).show(&Arc::default());
    }
    let lines_of = |name: &str| {
        let text = metrics.text().expect("encodes");
        let quoted = format!("\"{name}\"");
        text.lines().filter(|line| line.contains(&quoted)).count()
    };
    let (all, others) = (lines_of("rides"), lines_of("fares"));
    assert!(all > 3 && all == others);
    metrics.retire("source", "rides");
    assert_eq!(
        lines_of("rides"),
        all - 2,
        "a view and a table have the name"
    );
    metrics.retire("view", "rides");
    metrics.retire("table", "rides");
    assert_eq!((lines_of("rides"), lines_of("fares")), (0, others));
    metrics.retire("source", "rides");
    metrics.ingest_records.with(["rides", "ok"]).inc();
    assert_eq!(lines_of("rides"), 1, "one that comes back begins anew");
}

#[test]
fn a_timing_is_exposed_as_a_histogram_under_its_labels_and_goes_on_by_itself() {
    let metrics = Metrics::new().expect("the table is valid");
    let timing = Arc::<Timing>::default();
    for _ in 0..2 {
        metrics.append_duration.with(["events"]).show(&timing);
    }
    timing.record(Duration::from_micros(150));
    timing.record(Duration::from_secs(10_000));
    let text = metrics.text().expect("encodes");
    for line in [
        "# TYPE forebay_archive_append_duration_seconds histogram",
        r#"forebay_archive_append_duration_seconds_bucket{table="events",le="0.0001"} 0"#,
        r#"forebay_archive_append_duration_seconds_bucket{table="events",le="0.0002"} 1"#,
        r#"forebay_archive_append_duration_seconds_bucket{table="events",le="+Inf"} 2"#,
        r#"forebay_archive_append_duration_seconds_sum{table="events"} 10000.00015"#,
        r#"forebay_archive_append_duration_seconds_count{table="events"} 2"#,
        "forebay_epoch_duration_seconds_count 0",
    ] {
        assert_eq!(
            text.lines().filter(|l| *l == line).count(),
            1,
            "{line} in\n{text}"
        );
    }
}

#[test]
fn metrics_without_labels_are_exposed_before_they_are_touched_and_processes_too() {
    let text = Metrics::new()
        .expect("the table is valid")
        .text()
        .expect("encodes");
    for metric in MetricName::ALL.iter().filter(|m| m.labels().is_empty()) {
        assert!(
            text.contains(&format!("# HELP {} ", metric.name())),
            "{} is missing",
            metric.name()
        );
    }
    if cfg!(target_os = "linux") {
        assert!(text.contains("process_resident_memory_bytes"), "{text}");
    }
}

#[test]
fn a_removed_series_is_gone_and_registries_do_not_share() {
    let (one, other) = (
        Metrics::new().expect("valid"),
        Metrics::new().expect("valid"),
    );
    one.model_ready.with(["m", "1", "cpu"]).set(1.0);
    assert!(one.text().expect("encodes").contains(r#"model="m""#));
    assert!(!other.text().expect("encodes").contains(r#"model="m""#));
    one.model_ready.remove(["m", "1", "cpu"]);
    one.model_ready.remove(["m", "1", "cpu"]);
    assert!(!one.text().expect("encodes").contains(r#"model="m""#));
}

/// Collects what a subscriber writes.
#[derive(Clone, Default)]
struct Sink(Arc<Mutex<Vec<u8>>>);

impl io::Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0
            .lock()
            .expect("no other writer panicked")
            .extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn written(format: LogFormat, filter: &str) -> String {
    let sink = Sink::default();
    let writer = sink.clone();
    let subscriber =
        subscriber(format, filter, move || writer.clone(), false).expect("a valid filter");
    tracing::subscriber::with_default(subscriber, || {
        tracing::info!(epoch = 7, "committed");
        tracing::debug!("hidden");
    });
    String::from_utf8(sink.0.lock().expect("no other writer panicked").clone()).expect("text")
}

#[test]
fn logs_are_plain_or_json_and_filtered() {
    let plain = written(LogFormat::Plain, "info");
    assert!(
        plain.contains("INFO") && plain.contains("epoch=7") && !plain.contains("hidden"),
        "{plain}"
    );
    let json = written(LogFormat::Json, "info");
    assert!(
        json.contains(r#""epoch":7"#) && json.contains(r#""message":"committed""#),
        "{json}"
    );
    assert!(written(LogFormat::Plain, "debug").contains("hidden"));
}

#[test]
fn the_archives_libraries_are_quiet_unless_asked() {
    let said = |filter: &str| {
        let sink = Sink::default();
        let writer = sink.clone();
        let subscriber = subscriber(LogFormat::Plain, filter, move || writer.clone(), false)
            .expect("a valid filter");
        tracing::subscriber::with_default(subscriber, || {
            tracing::info!(target: "buoyant_kernel::snapshot", "flood");
            tracing::error!(target: "buoyant_kernel::snapshot", "flood");
            tracing::warn!(target: "deltalake_core::kernel", "trouble");
        });
        let text = String::from_utf8(sink.0.lock().expect("no other writer panicked").clone())
            .expect("text");
        (text.contains("flood"), text.contains("trouble"))
    };
    assert_eq!(said("info"), (false, true));
    assert_eq!(said("debug,forebay=trace"), (false, true));
    assert_eq!(said("info,buoyant_kernel=info"), (true, true));
    assert_eq!(said("error"), (false, false));
    assert_eq!(said("off"), (false, false));
}

#[test]
fn a_bad_filter_is_named() {
    let error = subscriber(LogFormat::Plain, "info,=nonsense=", io::stderr, false)
        .err()
        .expect("refused");
    assert!(
        matches!(&error, TelemetryError::BadFilter { .. })
            && error.to_string().contains("=nonsense="),
        "{error}"
    );
}
