//! The one list of metrics: name, type, labels, help. Base units (seconds, bytes); counters end in
//! `_total`. From the table below come [`Metrics`], which has one family a metric,
//! `docs/metrics.md`, and `MetricName` for the tests. Add a metric here and nowhere else, together
//! with what records it (a test looks for that); no label may hold a key, an offset or a client's
//! text.

use std::fmt;

use prometheus::{Registry, TextEncoder};

use crate::described::Described;
use crate::error::TelemetryError;
use crate::family::{CounterFamily, Family, GaugeFamily, HistogramFamily, TimingFamily};
use crate::timing::TIMING_SECONDS;

/// Type of a metric.
#[cfg(test)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MetricKind {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Counts values in buckets.
    Histogram,
}

/// Upper bounds of 24 buckets from 1 us to 8.4 s: reads, folds, encodes.
const LATENCY_SECONDS: &[f64] = &doubling::<24>(1e-6);
/// Upper bounds of 16 buckets from 10 ms to 328 s: a merge, a sweep, a scrub of one file.
const UPKEEP_SECONDS: &[f64] = &doubling::<16>(0.01);
/// Upper bounds of 20 buckets from 10 ms to 87 minutes: one pass of a fill over an archive.
const FILL_SECONDS: &[f64] = &doubling::<20>(0.01);
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
        /// Every metric, for the tests.
        #[cfg(test)]
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub(crate) enum MetricName {
            $(#[doc = $help] $variant,)+
        }

        #[cfg(test)]
        impl MetricName {
            /// All of them, in the order of the table.
            pub(crate) const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// Full name, as exposed.
            pub(crate) fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)+ }
            }

            /// One sentence for people.
            pub(crate) fn help(self) -> &'static str {
                match self { $(Self::$variant => $help,)+ }
            }

            /// Its family's field in [`Metrics`].
            pub(crate) fn field(self) -> &'static str {
                match self { $(Self::$variant => stringify!($field),)+ }
            }

            /// Label names, in the order in which values are given.
            pub(crate) fn labels(self) -> &'static [&'static str] {
                match self { $(Self::$variant => &[$($label),*],)+ }
            }

            /// Type.
            pub(crate) fn kind(self) -> MetricKind {
                match self { $(Self::$variant => metric_kind!($kind),)+ }
            }
        }

        /// All metrics over a registry of their own. Make one for the process (or one for a test)
        /// and pass it by reference or in an `Arc`.
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
                    $($field: Family::register(&registry, Described {
                        name: $name,
                        help: $help,
                        labels: &[$($label),*],
                        buckets: $buckets,
                    })?,)+
                    registry,
                })
            }

            /// Stop exposing every series whose `label` is `value`: what it names is gone. A handle
            /// that somebody keeps counts on, unseen.
            pub fn retire(&self, label: &str, value: &str) {
                $(self.$field.retire(&[$($label),*], label, value);)+
            }
        }
    };
}

macro_rules! family_type {
    (Counter, $labels:block) => { CounterFamily<$labels> };
    (Gauge, $labels:block) => { GaugeFamily<$labels> };
    (Histogram, $labels:block) => { HistogramFamily<$labels> };
    (Timing, $labels:block) => { TimingFamily<$labels> };
}

#[cfg(test)]
macro_rules! metric_kind {
    (Timing) => {
        MetricKind::Histogram
    };
    ($kind:ident) => {
        MetricKind::$kind
    };
}

metric_table! {
    // build
    Gauge BuildInfo build_info "forebay_build_info" ["version", "commit"] NONE "always 1; labels name the build";
    Gauge StartTimestamp start_timestamp "forebay_start_timestamp_seconds" [] NONE "when the process started";
    Counter LimitRejections limit_rejections "forebay_limit_rejections_total" ["limit"] NONE "calls refused by a named limit";
    Gauge Plannings plannings "forebay_plannings" [] NONE "plannings of definitions whose threads are alive, those that were given up among them";
    Counter PlanningsGivenUp plannings_given_up "forebay_plannings_given_up_total" ["why"] NONE "plannings that nobody waits for any more; why: time (PLAN_MAX_MS), caller, stop";
    Counter Panics panics "forebay_panics_total" [] NONE "panics of parts of ingest that were started again; any is a defect";
    Counter InvariantViolations invariant_violations "forebay_invariant_violations_total" ["id"] NONE "broken invariants; any is a defect";

    // memory
    Gauge MemoryLimit memory_limit "forebay_memory_limit_bytes" [] NONE "[memory] limit_mib, or what stands for it";
    Gauge Memory memory "forebay_memory_bytes" ["part"] NONE "bytes that the part holds; part: rocksdb, hot_table, answers, requests, scoring, ingest, point_in_time, fills, monitors, upkeep";
    Gauge MemoryMost memory_most "forebay_memory_most_bytes" ["part"] NONE "the most that the part may hold; all parts but rocksdb together never hold more than the pool";
    Counter MemoryRefused memory_refused "forebay_memory_refused_total" ["part"] NONE "how often the part was refused memory: answers and requests are then refused, ingest and scoring wait, a verification is given up";

    // ingest
    Counter IngestRecords ingest_records "forebay_ingest_records_total" ["source", "result"] NONE "records read; result: ok (rows, each once), again (rows that are read once more, after a crash or for an archive that lacks them), dead_letter";
    Gauge IngestLagRecords ingest_lag_records "forebay_ingest_lag_records" ["source", "partition"] NONE "offsets between what the state has applied and the last stable offset; no series where nobody can tell";
    Gauge IngestLagKnown ingest_lag_known "forebay_ingest_lag_known" ["source"] NONE "1 while the lag of each partition of the source is known, 0 while nobody answers or another log stands under its topic's name";
    Gauge PartSetAside part_set_aside "forebay_part_set_aside" ["kind", "name"] NONE "1 for a part of the definitions that is set aside: a model or monitor that could not be started, a definition that this build does not take, a view whose state is damaged or outdated or whose SQL fails; kind: source, entity, view, service, model, deployment, monitor";
    Gauge SourceHalted source_halted "forebay_source_halted" ["source", "code"] NONE "1 while a source, or a partition of it, is not read because its log is not the one that the state follows, is missing, has a gap, is damaged or refused; absent otherwise; codes: docs/errors.md";
    Gauge IngestStanding ingest_standing "forebay_ingest_standing" [] NONE "1 while records of a source wait and none was applied for [ingest] stall_s, nobody answers for it or a partition of it for as long, or ingest does not run";
    Gauge Watermark watermark "forebay_watermark_timestamp_seconds" ["source"] NONE "smallest watermark over the partitions of the source";
    Counter LateRecords late_records "forebay_late_records_total" ["view"] NONE "records that came too late for what is kept of the view";
    Counter AheadRecords ahead_records "forebay_ahead_records_total" ["source"] NONE "records whose event time lies further ahead than other partitions, the broker or the ingest clock support: kept, and no watermark moves beyond the bound";
    Counter DecodeGuesses decode_guesses "forebay_decode_guesses_total" ["source", "column", "kind"] NONE "values that were not taken from a record as they are; kind: absent (NULL), other_case (a field whose name differs in case), unknown_field (skipped; column: the object around it, * the record), integer_time (taken as microseconds), time_without_zone (taken as UTC), time_cut, rounded_integer, text_number";
    Counter LeftOutRecords left_out_records "forebay_left_out_records_total" ["source", "view"] NONE "records that a view leaves out, because an expression of it fails on them or their key is over its limit; each is an event for all others";
    Counter DeadLetters dead_letters "forebay_dead_letter_records_total" ["source", "reason"] NONE "records that did not become rows";
    Timing EpochDuration epoch_duration "forebay_epoch_duration_seconds" [] TIMING_SECONDS "from the poll's answer to the epoch in the queues of shards and archive, the waits for room in them included";
    Timing CommitDuration commit_duration "forebay_shard_commit_duration_seconds" [] TIMING_SECONDS "one epoch's write of one shard, with its retries";
    Histogram BackfillDuration backfill_duration "forebay_backfill_duration_seconds" ["view"] FILL_SECONDS "one pass over the archive that fills a new view; the last stands in the way of ingest";
    Counter BackfillRows backfill_rows "forebay_backfill_rows_total" ["view"] NONE "archived rows that were read to fill a new view";
    Gauge BackfillDoneRows backfill_done_rows "forebay_backfill_done_rows" ["view"] NONE "archived rows that the fill of the view which is under way has read so far; absent when none is";
    Gauge BackfillExpectedRows backfill_expected_rows "forebay_backfill_expected_rows" ["view"] NONE "archived rows that it is to read, as far as they are known; absent when none is under way";

    // archive
    Gauge ArchiveFlushInterval archive_flush_interval "forebay_archive_flush_interval_seconds" [] NONE "[ingest] archive_flush_ms: rows wait no longer for the append that takes them";
    Gauge AppendRunning append_running "forebay_archive_append_running_seconds" ["table"] NONE "for how long the append that is under way has run, with those of its marks and dead letters; 0 when none is";
    Timing AppendDuration append_duration "forebay_archive_append_duration_seconds" ["table"] TIMING_SECONDS "one append to the table, with its retries";
    Gauge ArchiveFiles archive_files "forebay_archive_files" ["table"] NONE "data files of the newest version of the table";
    Gauge ArchiveBytes archive_bytes "forebay_archive_bytes" ["table"] NONE "bytes of these files";
    Gauge ArchiveDamagedFiles archive_damaged_files "forebay_archive_damaged_files" ["table"] NONE "files whose bytes are not those that were committed, as far as they were looked at; the log names them";
    Counter ArchiveCompactedFiles archive_compacted_files "forebay_archive_compacted_files_total" ["table"] NONE "small files that were joined";
    Counter ArchiveCompactedBytes archive_compacted_bytes "forebay_archive_compacted_bytes_total" ["table"] NONE "bytes of the files that were joined";
    Counter ArchiveSweptFiles archive_swept_files "forebay_archive_swept_files_total" ["table", "kind"] NONE "files that were deleted because nobody needs them any more; kind: data, log";
    Counter ArchiveScrubbedBytes archive_scrubbed_bytes "forebay_archive_scrubbed_bytes_total" ["table"] NONE "bytes that were compared with their checksum";
    Gauge ArchiveScrub archive_scrub "forebay_archive_scrub_timestamp_seconds" ["table"] NONE "end of the last scrub of the whole table";
    Counter ArchiveUpkeepErrors archive_upkeep_errors "forebay_archive_upkeep_errors_total" ["table", "task"] NONE "upkeep that failed and is tried again; task: compact, sweep, clean_log, scrub";
    Histogram ArchiveUpkeepDuration archive_upkeep_duration "forebay_archive_upkeep_duration_seconds" ["task"] UPKEEP_SECONDS "time of one merge, one sweep, one cleaning of a log, the scrub of one file; task as above";

    // features
    Gauge OnlineKeys online_keys "forebay_online_keys" [] NONE "keys in memory, over all views";
    Gauge HotTableBytes hot_table_bytes "forebay_hot_table_bytes" [] NONE "bytes of the in-memory table, at most";
    Counter HotTableReads hot_table_reads "forebay_hot_table_reads_total" ["view", "result"] NONE "reads; result: hit (finished row copied), recompute (from tiles), miss (key, or a part of its history, loaded from disk, for a write too)";
    Counter HotTableEvictions hot_table_evictions "forebay_hot_table_evictions_total" ["part"] NONE "keys that gave way for the memory; part: history (all but the newest rows), key (all of it)";

    // kafka, by client (reader, publisher) and number of the broker
    Gauge KafkaBrokerUp kafka_broker_up "forebay_kafka_broker_up" ["client", "broker"] NONE "1 while the client is connected to the broker; brokers that it does not need are absent";
    Gauge KafkaRoundTrip kafka_round_trip "forebay_kafka_round_trip_seconds" ["client", "broker"] NONE "99th percentile of the times from request to answer in the last 15 s; a fetch waits at the broker for records";
    Counter KafkaFailures kafka_failures "forebay_kafka_request_failures_total" ["client", "broker", "kind"] NONE "requests that failed; kind: error (not sent, or no valid answer), retry (sent again), timeout (no answer in time)";
    Counter KafkaReaderErrors kafka_reader_errors "forebay_kafka_reader_errors_total" [] NONE "errors that the reading client reported and heals by itself: a broker that is away, a partition without a leader";
    Counter KafkaBytes kafka_bytes "forebay_kafka_bytes_total" ["client", "broker", "direction"] NONE "bytes exchanged; direction: sent, received";

    // rocksdb, over all shards
    Counter RocksdbWalBytes rocksdb_wal_bytes "forebay_rocksdb_wal_bytes_total" [] NONE "bytes written to write-ahead logs";
    Counter RocksdbWalSyncs rocksdb_wal_syncs "forebay_rocksdb_wal_syncs_total" [] NONE "times that a write-ahead log was synced";
    Counter RocksdbFlushedBytes rocksdb_flushed_bytes "forebay_rocksdb_flushed_bytes_total" [] NONE "bytes of memtables written to files";
    Counter RocksdbCompactionBytes rocksdb_compaction_bytes "forebay_rocksdb_compaction_bytes_total" ["direction"] NONE "bytes that compactions have moved; direction: read, written";
    Gauge RocksdbStall rocksdb_stall "forebay_rocksdb_stall_seconds" [] NONE "time for which writes were held up until flushes or compactions had caught up, since the start";
    Counter RocksdbBlockReads rocksdb_block_reads "forebay_rocksdb_block_reads_total" ["result"] NONE "blocks looked up; result: hit (in the cache), miss (read from a file)";
    Gauge RocksdbFileBytes rocksdb_file_bytes "forebay_rocksdb_file_bytes" [] NONE "bytes of all files of the state";
    Gauge RocksdbCompactionPending rocksdb_compaction_pending "forebay_rocksdb_compaction_pending_bytes" [] NONE "bytes that compactions have yet to rewrite, estimated";

    // serving
    Counter ServingRequests serving_requests "forebay_serving_requests_total" ["method", "service", "code"] NONE "requests answered; code: ok or an error kind";
    Histogram ServingDuration serving_duration "forebay_serving_request_duration_seconds" ["method", "service"] LATENCY_SECONDS "from a request's arrival to its answer";
    Histogram ServingStageDuration serving_stage_duration "forebay_serving_stage_duration_seconds" ["stage"] LATENCY_SECONDS "time of one stage: decode, lookup, encode";
    Counter ServingRows serving_rows "forebay_serving_rows_total" ["service"] NONE "rows answered";
    Counter ServingKeysMissing serving_keys_missing "forebay_serving_keys_missing_total" ["view"] NONE "keys answered as not found or outside their age";
    Counter ServingFailedValues serving_failed_values "forebay_serving_failed_values_total" ["service", "feature"] NONE "values answered as NULL because their expression failed on the row";
    Gauge ServingInFlight serving_in_flight "forebay_serving_in_flight_requests" [] NONE "requests being answered";
    Counter ServingShed serving_shed "forebay_serving_shed_total" ["reason"] NONE "requests refused before any work was done";

    // inference
    Histogram InferenceBatchRows inference_batch_rows "forebay_inference_batch_rows" ["model"] ROWS "rows of one scored batch";
    Histogram InferenceQueueDuration inference_queue_duration "forebay_inference_queue_duration_seconds" [] LATENCY_SECONDS "time a batch waited for its worker";
    Histogram InferenceComputeDuration inference_compute_duration "forebay_inference_compute_duration_seconds" ["model", "device"] LATENCY_SECONDS "time to score one batch";
    Counter Predictions predictions "forebay_predictions_total" ["deployment", "version", "role"] NONE "predictions that the broker has acknowledged; role: live, shadow";
    Timing ScoreWait score_wait "forebay_score_wait_seconds" ["deployment"] TIMING_SECONDS "from an event's commit in every shard to the write of its score, or of the note that it has none; after a start from then on";
    Counter UnscoredEvents unscored_events "forebay_unscored_events_total" ["deployment", "reason"] NONE "events that ended without a prediction, each with a note in the table settlements";
    Counter PredictionsWithoutOffsets predictions_without_offsets "forebay_predictions_without_offsets_total" ["deployment"] NONE "predictions that do not name what some view of their features had applied, because the state no longer knew it: they cannot be verified";
    Counter InferenceFallbackRows inference_fallback_rows "forebay_inference_fallback_rows_total" ["model"] NONE "rows that this process scored because no worker of the version answered";
    Gauge WorkerUp worker_up "forebay_worker_up" ["worker"] NONE "1 while the worker answers";
    Gauge WorkerQueueRows worker_queue_rows "forebay_worker_queue_rows" ["worker"] NONE "rows waiting on the worker";
    Gauge ModelReady model_ready "forebay_model_ready" ["model", "version", "device"] NONE "1 once the golden rows were reproduced";
    Gauge DeploymentState deployment_state "forebay_deployment_state" ["deployment", "state"] NONE "1 for the state that the deployment is in; state: scoring, retrying (its model or topic fails), suspended (too much waits: events get a note and no score)";
    Gauge ScoresPending scores_pending "forebay_scores_pending" ["deployment"] NONE "events that wait on disk for their score, those under way among them";
    Gauge ScoreOldestWait score_oldest_wait "forebay_score_oldest_wait_seconds" ["deployment"] NONE "how long the oldest of them has waited, as forebay_score_wait_seconds counts; 0 when none waits";
    Gauge OutboxPending outbox_pending "forebay_outbox_pending_records" ["deployment"] NONE "records that wait to be published";

    // monitor
    Gauge MonitorDriftScore monitor_drift_score "forebay_monitor_drift_score" ["model", "version", "monitor", "feature", "method", "reference"] NONE "distance from the reference in the last closed window; method: psi, ks, js";
    Gauge MonitorDriftThreshold monitor_drift_threshold "forebay_monitor_drift_threshold" ["model", "version", "monitor", "feature", "reference"] NONE "score by psi above which the feature has drifted";
    Gauge MonitorAlarm monitor_alarm "forebay_monitor_alarm" ["model", "version", "monitor", "feature"] NONE "1 while the alarm of drift is raised";
    Gauge MonitorDriftedFeatures monitor_drifted_features "forebay_monitor_drifted_features_ratio" ["model", "version", "monitor"] NONE "share of features that drifted in the last closed window";
    Gauge MonitorWindowRows monitor_window_rows "forebay_monitor_window_rows" ["model", "version", "monitor"] NONE "predictions in the last closed window";
    Gauge MonitorQuality monitor_quality "forebay_monitor_quality" ["model", "version", "monitor", "metric"] NONE "quality in the last closed window, of the predictions that have a label";
    Gauge MonitorLabelCoverage monitor_label_coverage "forebay_monitor_label_coverage_ratio" ["model", "version", "monitor"] NONE "share of predictions with a label in the last closed window";
    Gauge MonitorLabelMaturity monitor_label_maturity "forebay_monitor_label_maturity_ratio" ["model", "version", "monitor"] NONE "share of predictions in the last closed window that have a label or wait for none any more";
    Gauge MonitorEvaluation monitor_evaluation "forebay_monitor_evaluation_timestamp_seconds" ["monitor"] NONE "end of the last window evaluated, in event time";
    Gauge MonitorOverdue monitor_overdue "forebay_monitor_overdue_seconds" ["monitor"] NONE "event time for which the oldest window that has predictions is still open, after its end and its lateness, by the watermark of the scored source; 0 where none is due";
}

impl Metrics {
    /// Everything in Prometheus' text format 0.0.4.
    ///
    /// # Errors
    /// The encoder refuses a family: a defect of ours.
    pub fn text(&self) -> Result<String, TelemetryError> {
        TextEncoder::new()
            .encode_to_string(&self.registry.gather())
            .map_err(TelemetryError::Exposition)
    }

    /// Content type of [`Metrics::text`].
    pub const CONTENT_TYPE: &'static str = "text/plain; version=0.0.4; charset=utf-8";
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

#[cfg(target_os = "linux")]
fn register_process(registry: &Registry) -> Result<(), TelemetryError> {
    registry
        .register(Box::new(
            prometheus::process_collector::ProcessCollector::for_self(),
        ))
        .map_err(|source| TelemetryError::Metric {
            name: "process_*",
            source,
        })
}

#[cfg(not(target_os = "linux"))]
fn register_process(_registry: &Registry) -> Result<(), TelemetryError> {
    Ok(())
}
