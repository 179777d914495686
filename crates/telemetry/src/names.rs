//! The one list of metrics: name, type, labels, help. Base units (seconds, bytes); counters end in `_total`.
//! From the table below come [`MetricName`], for documentation and tests, and [`Metrics`], which has one family a metric.
//! Add a metric here and nowhere else; no label may hold a key, an offset or a client's text.

use std::fmt;

use prometheus::{Registry, TextEncoder};

use crate::error::TelemetryError;
use crate::family::{CounterFamily, Family, GaugeFamily, HistogramFamily};

/// Type of a metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MetricKind {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Counts values in buckets.
    Histogram,
}

/// Upper bounds of 24 buckets from 1 us to 8.4 s: reads, folds, encodes.
const LATENCY_SECONDS: &[f64] = &doubling::<24>(1e-6);
/// Upper bounds of 24 buckets from 1 ms to 2.3 h: waits that involve brokers and disks.
const WAIT_SECONDS: &[f64] = &doubling::<24>(1e-3);
/// Upper bounds of 24 buckets from 1 min to 16 years: label delays.
const DELAY_SECONDS: &[f64] = &doubling::<24>(60.0);
/// Upper bounds of 15 buckets from 1 to 16,384 rows.
const ROWS: &[f64] = &doubling::<15>(1.0);
/// Counters and gauges have none.
const NONE: &[f64] = &[];

const fn doubling<const N: usize>(first: f64) -> [f64; N] {
    let mut bounds = [first; N];
    let mut i = 1;
    while i < N {
        bounds[i] = bounds[i - 1] * 2.0;
        i += 1;
    }
    bounds
}

const fn count(labels: &[&str]) -> usize {
    labels.len()
}

macro_rules! metric_table {
    ($($kind:ident $variant:ident $field:ident $name:literal [$($label:literal),*] $buckets:ident $help:literal;)+) => {
        /// Every metric.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum MetricName {
            $(#[doc = $help] $variant,)+
        }

        impl MetricName {
            /// All of them, in the order of the table.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// Full name, as exposed.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)+ }
            }

            /// One sentence for people.
            #[must_use]
            pub fn help(self) -> &'static str {
                match self { $(Self::$variant => $help,)+ }
            }

            /// Label names, in the order in which values are given.
            #[must_use]
            pub fn labels(self) -> &'static [&'static str] {
                match self { $(Self::$variant => &[$($label),*],)+ }
            }

            /// Type.
            #[must_use]
            pub fn kind(self) -> MetricKind {
                match self { $(Self::$variant => MetricKind::$kind,)+ }
            }
        }

        /// All metrics over a registry of their own. Make one for the process (or one for a test) and pass it by
        /// reference or in an `Arc`.
        pub struct Metrics {
            registry: Registry,
            $(#[doc = $help] pub $field: family_type!($kind, { count(&[$($label),*]) }),)+
        }

        impl Metrics {
            /// Register everything, `process_*` too where the system has `/proc`.
            ///
            /// # Errors
            /// A definition in the table is wrong; a test sees to it that none is.
            pub fn new() -> Result<Self, TelemetryError> {
                let registry = Registry::new();
                register_process(&registry)?;
                Ok(Self {
                    $($field: Family::register(&registry, MetricName::$variant, &[$($label),*], $buckets)?,)+
                    registry,
                })
            }
        }
    };
}

macro_rules! family_type {
    (Counter, $labels:block) => { CounterFamily<$labels> };
    (Gauge, $labels:block) => { GaugeFamily<$labels> };
    (Histogram, $labels:block) => { HistogramFamily<$labels> };
}

metric_table! {
    // build
    Gauge BuildInfo build_info "forebay_build_info" ["version", "commit"] NONE "always 1; labels name the build";
    Gauge StartTimestamp start_timestamp "forebay_start_timestamp_seconds" [] NONE "when the process started";
    Counter LimitRejections limit_rejections "forebay_limit_rejections_total" ["limit"] NONE "calls refused by a named limit";
    Counter InvariantViolations invariant_violations "forebay_invariant_violations_total" ["id"] NONE "broken invariants; any is a defect";

    // ingest
    Counter IngestRecords ingest_records "forebay_ingest_records_total" ["source", "result"] NONE "records read; result: ok, dead_letter, late";
    Counter IngestBytes ingest_bytes "forebay_ingest_bytes_total" ["source"] NONE "bytes of record values read";
    Gauge IngestLagRecords ingest_lag_records "forebay_ingest_lag_records" ["source", "partition"] NONE "records between the read position and the end of the partition";
    Gauge IngestLag ingest_lag "forebay_ingest_lag_seconds" ["source"] NONE "age of the newest applied record's kafka time while behind, else 0";
    Gauge Watermark watermark "forebay_watermark_timestamp_seconds" ["source"] NONE "smallest watermark over the partitions of the source";
    Counter LateRecords late_records "forebay_late_records_total" ["view", "fate"] NONE "records behind the watermark; fate: folded, dropped";
    Counter DeadLetters dead_letters "forebay_dead_letter_records_total" ["source", "reason"] NONE "records that did not become rows";
    Histogram DecodeDuration decode_duration "forebay_decode_duration_seconds" ["format"] LATENCY_SECONDS "time to decode one polled batch";
    Histogram EpochDuration epoch_duration "forebay_epoch_duration_seconds" ["stage"] LATENCY_SECONDS "time of one micro-batch by stage";
    Histogram EpochRows epoch_rows "forebay_epoch_rows" [] ROWS "rows of one micro-batch";
    Gauge EpochTimestamp epoch_timestamp "forebay_epoch_timestamp_seconds" ["shard"] NONE "when the shard last committed an epoch";
    Counter EpochStalls epoch_stalls "forebay_epoch_stalls_total" ["cause"] NONE "times ingest paused";

    // features
    Gauge FeatureNewestEvent feature_newest_event "forebay_feature_newest_event_timestamp_seconds" ["view"] NONE "newest event time folded; freshness is time() minus it";
    Gauge FeatureNullRatio feature_null_ratio "forebay_feature_null_ratio" ["view", "feature"] NONE "share of NULL among served values";
    Gauge OnlineKeys online_keys "forebay_online_keys" ["view"] NONE "keys with state";
    Gauge OnlineStoreBytes online_store_bytes "forebay_online_store_bytes" ["shard"] NONE "bytes of one shard on disk";
    Gauge HotTableBytes hot_table_bytes "forebay_hot_table_bytes" [] NONE "bytes of the in-memory table";
    Counter HotTableReads hot_table_reads "forebay_hot_table_reads_total" ["view", "result"] NONE "reads; result: hit, recompute, miss";
    Counter RocksdbStall rocksdb_stall "forebay_rocksdb_stall_seconds_total" [] NONE "whole seconds that writes were stalled";
    Gauge OfflineCommitTimestamp offline_commit_timestamp "forebay_offline_commit_timestamp_seconds" ["table"] NONE "when the table was last committed";
    Counter OfflineCommits offline_commits "forebay_offline_commits_total" ["table", "result"] NONE "commits tried; result: ok or an error kind";
    Gauge OfflineFiles offline_files "forebay_offline_files" ["table"] NONE "data files of the newest version";

    // serving
    Counter ServingRequests serving_requests "forebay_serving_requests_total" ["method", "service", "code"] NONE "requests answered; code: ok or an error kind";
    Histogram ServingDuration serving_duration "forebay_serving_request_duration_seconds" ["method", "service"] LATENCY_SECONDS "from a request's arrival to its answer";
    Histogram ServingStageDuration serving_stage_duration "forebay_serving_stage_duration_seconds" ["stage"] LATENCY_SECONDS "time of one stage: decode, lookup, encode";
    Counter ServingRows serving_rows "forebay_serving_rows_total" ["service"] NONE "rows answered";
    Counter ServingKeysMissing serving_keys_missing "forebay_serving_keys_missing_total" ["view"] NONE "keys answered as not found or outside their age";
    Gauge ServingInFlight serving_in_flight "forebay_serving_in_flight_requests" [] NONE "requests being answered";
    Counter ServingShed serving_shed "forebay_serving_shed_total" ["reason"] NONE "requests refused before any work was done";

    // inference
    Histogram InferenceBatchRows inference_batch_rows "forebay_inference_batch_rows" ["model"] ROWS "rows of one scored batch";
    Histogram InferenceQueueDuration inference_queue_duration "forebay_inference_queue_duration_seconds" [] LATENCY_SECONDS "time a batch waited for its worker";
    Histogram InferenceComputeDuration inference_compute_duration "forebay_inference_compute_duration_seconds" ["model", "device"] LATENCY_SECONDS "time to score one batch";
    Histogram InferenceEndToEnd inference_end_to_end "forebay_inference_end_to_end_duration_seconds" [] WAIT_SECONDS "from the scored event's arrival to its prediction";
    Counter Predictions predictions "forebay_predictions_total" ["model", "version", "route", "result"] NONE "predictions made; route: live or shadow";
    Gauge WorkerUp worker_up "forebay_worker_up" ["worker"] NONE "1 while the worker answers";
    Gauge WorkerQueueRows worker_queue_rows "forebay_worker_queue_rows" ["worker"] NONE "rows waiting on the worker";
    Gauge ModelReady model_ready "forebay_model_ready" ["model", "version", "device"] NONE "1 once the golden vectors were reproduced";
    Gauge OutboxPending outbox_pending "forebay_outbox_pending_records" [] NONE "records that wait to be published";

    // monitor
    Gauge MonitorDriftScore monitor_drift_score "forebay_monitor_drift_score" ["model", "version", "feature", "method", "reference"] NONE "distance from the reference in the last closed window";
    Gauge MonitorDriftThreshold monitor_drift_threshold "forebay_monitor_drift_threshold" ["model", "version", "feature", "method", "reference"] NONE "score above which the feature has drifted";
    Gauge MonitorAlarm monitor_alarm "forebay_monitor_alarm" ["model", "version", "monitor", "kind", "feature"] NONE "1 while the alarm is raised";
    Gauge MonitorDriftedFeatures monitor_drifted_features "forebay_monitor_drifted_features_ratio" ["model", "version", "monitor"] NONE "share of features that drifted in the last closed window";
    Gauge MonitorWindowRows monitor_window_rows "forebay_monitor_window_rows" ["model", "version", "monitor"] NONE "predictions in the last closed window";
    Gauge MonitorQuality monitor_quality "forebay_monitor_quality" ["model", "version", "metric", "estimator"] NONE "quality in the last closed window; estimator: realized, cbpe";
    Gauge MonitorLabelCoverage monitor_label_coverage "forebay_monitor_label_coverage_ratio" ["model", "version", "monitor"] NONE "share of predictions with a label in the last closed window";
    Gauge MonitorLabelMaturity monitor_label_maturity "forebay_monitor_label_maturity_ratio" ["model", "version", "monitor"] NONE "share of the last closed window old enough for its labels";
    Histogram MonitorLabelDelay monitor_label_delay "forebay_monitor_label_delay_seconds" ["monitor"] DELAY_SECONDS "event time from prediction to label";
    Counter MonitorLabels monitor_labels "forebay_monitor_labels_total" ["monitor", "fate"] NONE "labels seen; fate: joined, late, unmatched, repeated";
    Counter MonitorSkewRows monitor_skew_rows "forebay_monitor_skew_rows_total" ["service", "result"] NONE "served rows compared with their recomputed value; result: equal, different";
    Gauge MonitorEvaluation monitor_evaluation "forebay_monitor_evaluation_timestamp_seconds" ["monitor"] NONE "end of the last window evaluated, in event time";
    Counter MonitorSeriesDropped monitor_series_dropped "forebay_monitor_series_dropped_total" ["monitor"] NONE "series not exposed because of the cap";
    Counter AlertsSent alerts_sent "forebay_alerts_sent_total" ["route", "result"] NONE "alerts sent; route: topic, webhook";
    Counter RetrainRequests retrain_requests "forebay_retrain_requests_total" ["model", "cause"] NONE "retrain requests published";
}

impl Metrics {
    /// Everything in Prometheus' text format 0.0.4.
    ///
    /// # Errors
    /// The encoder refuses a family: a defect of ours.
    pub fn text(&self) -> Result<String, TelemetryError> {
        TextEncoder::new().encode_to_string(&self.registry.gather()).map_err(TelemetryError::Exposition)
    }

    /// Content type of [`Metrics::text`].
    pub const CONTENT_TYPE: &'static str = "text/plain; version=0.0.4; charset=utf-8";
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").field("metrics", &MetricName::ALL.len()).finish_non_exhaustive()
    }
}

#[cfg(target_os = "linux")]
fn register_process(registry: &Registry) -> Result<(), TelemetryError> {
    registry
        .register(Box::new(prometheus::process_collector::ProcessCollector::for_self()))
        .map_err(|source| TelemetryError::Metric { name: "process_*", source })
}

#[cfg(not(target_os = "linux"))]
fn register_process(_registry: &Registry) -> Result<(), TelemetryError> {
    Ok(())
}
