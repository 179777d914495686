//! The table holds what it promises: every metric registers, is exposed under its name, and recording reaches the text;
//! logs come out in the chosen form.

use std::collections::HashSet;
use std::io;
use std::sync::{Arc, Mutex};

use crate::logs::{LogFormat, subscriber};
use crate::{MetricKind, MetricName, Metrics, TelemetryError};

#[test]
fn every_metric_registers_and_follows_the_naming_rules() {
    Metrics::new().expect("the table is valid");
    let mut seen = HashSet::new();
    for metric in MetricName::ALL {
        let name = metric.name();
        assert!(seen.insert(name), "{name} occurs twice");
        assert!(name.starts_with("forebay_"), "{name}");
        assert_eq!(name.ends_with("_total"), metric.kind() == MetricKind::Counter, "{name}");
        assert!(!metric.help().is_empty() && !metric.help().ends_with('.'), "{name}");
        for label in metric.labels() {
            assert!(!["key", "offset", "le"].contains(label), "{name} has the label {label}");
        }
    }
}

#[test]
fn what_is_recorded_is_exposed_under_its_labels() {
    let metrics = Metrics::new().expect("the table is valid");
    let ok = metrics.serving_requests.with(["DoGet", "delay_features", "ok"]);
    ok.inc();
    ok.add(2);
    metrics.serving_in_flight.with([]).set(4.0);
    metrics.watermark.with(["departures"]).set_time_us(1_500_000);
    metrics.serving_duration.with(["DoGet", "delay_features"]).observe(3e-6);
    let text = metrics.text().expect("encodes");
    for line in [
        "# TYPE forebay_serving_requests_total counter",
        r#"forebay_serving_requests_total{code="ok",method="DoGet",service="delay_features"} 3"#,
        "forebay_serving_in_flight_requests 4",
        r#"forebay_watermark_timestamp_seconds{source="departures"} 1.5"#,
        r#"forebay_serving_request_duration_seconds_bucket{method="DoGet",service="delay_features",le="0.000002"} 0"#,
        r#"forebay_serving_request_duration_seconds_bucket{method="DoGet",service="delay_features",le="0.000004"} 1"#,
    ] {
        assert!(text.lines().any(|l| l == line), "{line} is missing in\n{text}");
    }
}

#[test]
fn metrics_without_labels_are_exposed_before_they_are_touched_and_processes_too() {
    let text = Metrics::new().expect("the table is valid").text().expect("encodes");
    for metric in MetricName::ALL.iter().filter(|m| m.labels().is_empty()) {
        assert!(text.contains(&format!("# HELP {} ", metric.name())), "{} is missing", metric.name());
    }
    if cfg!(target_os = "linux") {
        assert!(text.contains("process_resident_memory_bytes"), "{text}");
    }
}

#[test]
fn a_removed_series_is_gone_and_registries_do_not_share() {
    let (one, other) = (Metrics::new().expect("valid"), Metrics::new().expect("valid"));
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
        self.0.lock().expect("no other writer panicked").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn written(format: LogFormat, filter: &str) -> String {
    let sink = Sink::default();
    let writer = sink.clone();
    let subscriber = subscriber(format, filter, move || writer.clone(), false).expect("a valid filter");
    tracing::subscriber::with_default(subscriber, || {
        tracing::info!(epoch = 7, "committed");
        tracing::debug!("hidden");
    });
    String::from_utf8(sink.0.lock().expect("no other writer panicked").clone()).expect("text")
}

#[test]
fn logs_are_plain_or_json_and_filtered() {
    let plain = written(LogFormat::Plain, "info");
    assert!(plain.contains("INFO") && plain.contains("epoch=7") && !plain.contains("hidden"), "{plain}");
    let json = written(LogFormat::Json, "info");
    assert!(json.contains(r#""epoch":7"#) && json.contains(r#""message":"committed""#), "{json}");
    assert!(written(LogFormat::Plain, "debug").contains("hidden"));
}

#[test]
fn a_bad_filter_is_named() {
    let error = subscriber(LogFormat::Plain, "info,=nonsense=", io::stderr, false).err().expect("refused");
    assert!(matches!(&error, TelemetryError::BadFilter { .. }) && error.to_string().contains("=nonsense="), "{error}");
}
