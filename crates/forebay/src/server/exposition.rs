//! Puts what the parts count into the process's metrics, once a second: ingest, state, archive,
//! predictions, monitors. Only reads; the hot paths record nothing themselves but plain counters.

mod deployments;
mod monitors;
mod raise;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Result;
use forebay_core::memory::Part;
use forebay_core::prediction::Role;
use forebay_core::time::Micros;
use forebay_core::view::{ViewId, ViewSpec};
use forebay_kafka::{Connections, ReaderStats};
use forebay_monitor::{MonitorReport, WindowState};
use forebay_online::{RocksStats, StoreStats, ViewStats};
use forebay_pipeline::{Counters, PipelineStatus};
use forebay_telemetry::invariants::InvariantReport;
use forebay_telemetry::{Counter, Metrics, TimingSeries, Timings};

use super::app::App;
use super::ingest_look::IngestLook;
use super::parts_look::PartsLook;
use super::suspended::Suspended;
use raise::raise;

const EVERY: Duration = Duration::from_secs(1);

/// The thread; stops when dropped or told.
#[derive(Debug)]
pub(crate) struct Exposition {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Exposition {
    /// Start.
    ///
    /// # Errors
    /// The system gives no thread.
    pub(crate) fn start(app: Arc<App>) -> Result<Self> {
        InvariantReport::of_process().count_in(Arc::clone(&app.metrics));
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        app.metrics
            .start_timestamp
            .with([])
            .set_time_us(app.clock.now_us());
        app.metrics
            .build_info
            .with([
                env!("CARGO_PKG_VERSION"),
                option_env!("FOREBAY_COMMIT").unwrap_or("unknown"),
            ])
            .set(1.0);
        let flush_ms = app.settings.ingest.archive_flush_ms;
        let interval = app.metrics.archive_flush_interval.with([]);
        interval.set(flush_ms as f64 / 1e3);
        let thread = std::thread::Builder::new()
            .name("metrics".to_owned())
            .spawn(move || {
                let (mut ingest, mut parts) = (IngestLook::default(), PartsLook::default());
                let (mut shown, mut aside) = (Shown::default(), Vec::new());
                while !stopped.load(Ordering::Relaxed) {
                    expose(&app, &mut shown);
                    ingest.look(&app);
                    parts.look(&app);
                    look_at_parts(&app, &mut aside);
                    std::thread::park_timeout(EVERY);
                }
            })?;
        Ok(Self {
            stop,
            thread: Some(thread),
        })
    }

    /// Stop and wait.
    pub(crate) fn stop(mut self) {
        self.end();
    }

    fn end(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            if thread.join().is_err() {
                tracing::error!("the metrics thread has panicked");
            }
        }
    }
}

impl Drop for Exposition {
    fn drop(&mut self) {
        self.end();
    }
}

/// Which parts are set aside; `shown` are those of the last look, whose gauges fall when they run.
fn look_at_parts(app: &App, shown: &mut Vec<Suspended>) {
    let now = app.set_aside();
    let gauge = |part: &Suspended| app.metrics.part_set_aside.with([part.kind, &part.name]);
    for gone in shown
        .iter()
        .filter(|part| !now.iter().any(|other| other.is_same(part)))
    {
        gauge(gone).set(0.0);
    }
    now.iter().for_each(|part| gauge(part).set(1.0));
    *shown = now;
}

/// What the last look has shown that goes with a definition.
#[derive(Debug, Default)]
struct Shown {
    sources: BTreeSet<String>,
    /// Of each state its view's name and what it had counted.
    views: BTreeMap<ViewId, (String, ViewStats)>,
    monitors: BTreeSet<String>,
}

/// One look at everything.
fn expose(app: &App, shown: &mut Shown) {
    let metrics = &app.metrics;
    let status = app.status();
    ingest(metrics, &status);
    reads(metrics, &app.read, &status);
    timings(metrics, &app.counters);
    let plannings = metrics.plannings.with([]);
    plannings.set(app.plannings.alive() as f64);
    connections(metrics, app.broker.connections());
    let stats = app.store.stats();
    state(metrics, &stats);
    rocksdb(metrics, &stats.rocksdb);
    memory(metrics, app, &stats);
    views(metrics, &app.store.view_stats(), &mut shown.views);
    let sources = status.sources.into_keys().collect();
    let before = std::mem::replace(&mut shown.sources, sources);
    for gone in before.difference(&shown.sources) {
        metrics.retire("source", gone);
    }
    let reports = app.reports();
    let names = reports.iter().map(|report| report.monitor.clone());
    let before = std::mem::replace(&mut shown.monitors, names.collect());
    for gone in before.difference(&shown.monitors) {
        metrics.retire("monitor", gone);
    }
    let catalog = app.catalog();
    for report in reports {
        monitors::monitor(metrics, &report);
        let marks = app.marks();
        let scored = catalog.deployments().values();
        let scored = scored.filter(|deployment| deployment.model == report.model);
        let mark_us = scored.map(|deployment| marks.of(&deployment.source)).min();
        let plan = catalog.monitors().get(&report.monitor);
        if let Some((plan, mark_us)) = plan.zip(mark_us.flatten()) {
            let overdue = metrics.monitor_overdue.with([&report.monitor]);
            let overdue_us = overdue_us(&report, plan.def.lateness_us, mark_us);
            overdue.set(overdue_us as f64 / 1e6);
        }
    }
}

/// By how much the watermark of the scored source, `mark_us`, has passed the end and the lateness
/// of the oldest window that has predictions and is still open.
fn overdue_us(report: &MonitorReport, lateness_us: Micros, mark_us: Micros) -> Micros {
    let live = report.series.iter();
    let live = live.filter(|series| series.role == Role::Live && series.is_routed);
    let windows = live.flat_map(|series| &series.windows);
    let open = windows.filter(|window| window.state == WindowState::Provisional);
    let oldest_us = open.map(|window| window.end_us).min();
    let due_us = oldest_us.map(|end_us| end_us.saturating_add(lateness_us));
    due_us.map_or(0, |due_us| mark_us.saturating_sub(due_us).max(0))
}

fn ingest(metrics: &Metrics, status: &PipelineStatus) {
    raise(&metrics.panics.with([]), status.panics);
    for (name, source) in &status.sources {
        raise(&metrics.ingest_records.with([name, "ok"]), source.rows);
        raise(
            &metrics.ingest_records.with([name, "again"]),
            source.again_rows,
        );
        raise(
            &metrics.ingest_records.with([name, "dead_letter"]),
            source.dead_letters,
        );
        raise(&metrics.ahead_records.with([name]), source.ahead_rows);
        for partition in &source.partitions {
            let number = partition.partition.to_string();
            let labels = [name.as_str(), number.as_str()];
            match partition.lag {
                Some(lag) => metrics.ingest_lag_records.with(labels).set(lag as f64),
                None => metrics.ingest_lag_records.remove(labels),
            }
        }
        let known = if source.lag_records.is_some() {
            1.0
        } else {
            0.0
        };
        metrics.ingest_lag_known.with([name]).set(known);
        if let Some(watermark) = source.watermark_us {
            metrics.watermark.with([name]).set_time_us(watermark);
        }
    }
    for ((source, reason), letters) in &status.dead_letters {
        raise(&metrics.dead_letters.with([source, *reason]), *letters);
    }
    for ((source, view), rows) in &status.left_out {
        raise(&metrics.left_out_records.with([source, view]), *rows);
    }
    deployments::show(metrics, &status.deployments);
}

/// The series read the timings themselves; this makes them known.
fn timings(metrics: &Metrics, counters: &Counters) {
    metrics.epoch_duration.with([]).show(&counters.epoch);
    metrics.commit_duration.with([]).show(&counters.commit);
    let by_name = |timings: &Timings, series: &dyn Fn(&str) -> TimingSeries| {
        for (name, timing) in timings.all() {
            series(&name).show(&timing);
        }
    };
    by_name(&counters.appends, &|table| {
        metrics.append_duration.with([table])
    });
    by_name(&counters.score_waits, &|deployment| {
        metrics.score_wait.with([deployment])
    });
}

/// Two states of one view (versions, a rebuild) count under one name, each from 0; what `shown` has
/// of each is added already. The series of a name go with its last state.
fn views(
    metrics: &Metrics,
    stats: &[(Arc<ViewSpec>, ViewStats)],
    shown: &mut BTreeMap<ViewId, (String, ViewStats)>,
) {
    let before = std::mem::take(shown);
    for (spec, view) in stats {
        let name = spec.name.as_str();
        let known = before.get(&spec.id).map(|(_, known)| *known);
        let known = known.unwrap_or_default();
        let add = |counter: &Counter, total: u64, known: u64| {
            counter.add(total.saturating_sub(known));
        };
        let late = metrics.late_records.with([name]);
        add(&late, view.late_rows, known.late_rows);
        let reads = |result| metrics.hot_table_reads.with([name, result]);
        add(&reads("hit"), view.hits, known.hits);
        add(&reads("recompute"), view.recomputes, known.recomputes);
        add(&reads("miss"), view.loads, known.loads);
        shown.insert(spec.id, (spec.name.clone(), *view));
    }
    for (name, _) in before.values() {
        if !shown.values().any(|(known, _)| known == name) {
            metrics.retire("view", name);
        }
    }
}

fn reads(metrics: &Metrics, read: &ReaderStats, status: &PipelineStatus) {
    raise(&metrics.kafka_reader_errors.with([]), read.broker_errors());
    let all = read.guesses().into_iter();
    // The reader does not forget sources that are dropped.
    for ((source, column, guess), count) in
        all.filter(|((source, ..), _)| status.sources.contains_key(source))
    {
        let labels = [source.as_str(), column.as_str(), guess.label()];
        raise(&metrics.decode_guesses.with(labels), count);
    }
}

fn connections(metrics: &Metrics, connections: &Connections) {
    for (client, broker, connection) in connections.all() {
        let broker = broker.to_string();
        let (client, broker) = (client.as_str(), broker.as_str());
        let up = metrics.kafka_broker_up.with([client, broker]);
        up.set(f64::from(u8::from(connection.is_up)));
        if let Some(took) = connection.round_trip {
            let round_trip = metrics.kafka_round_trip.with([client, broker]);
            round_trip.set(took.as_secs_f64());
        }
        for (kind, count) in [
            ("error", connection.counts.errors),
            ("retry", connection.counts.retries),
            ("timeout", connection.counts.timeouts),
        ] {
            let failures = metrics.kafka_failures.with([client, broker, kind]);
            raise(&failures, count);
        }
        for (direction, bytes) in [
            ("sent", connection.counts.sent_bytes),
            ("received", connection.counts.received_bytes),
        ] {
            raise(
                &metrics.kafka_bytes.with([client, broker, direction]),
                bytes,
            );
        }
    }
    // What they counted stays.
    for (client, broker) in connections.take_gone() {
        let place = [client.as_str(), &broker.to_string()];
        metrics.kafka_broker_up.remove(place);
        metrics.kafka_round_trip.remove(place);
    }
}

fn state(metrics: &Metrics, stats: &StoreStats) {
    let (bytes, keys) = (stats.table_bytes as f64, stats.keys_in_memory as f64);
    metrics.hot_table_bytes.with([]).set(bytes);
    metrics.online_keys.with([]).set(keys);
    for (part, keys) in [("history", stats.keys_trimmed), ("key", stats.keys_evicted)] {
        raise(&metrics.hot_table_evictions.with([part]), keys);
    }
}

fn rocksdb(metrics: &Metrics, stats: &RocksStats) {
    raise(&metrics.rocksdb_wal_bytes.with([]), stats.wal_bytes);
    raise(&metrics.rocksdb_wal_syncs.with([]), stats.wal_syncs);
    raise(&metrics.rocksdb_flushed_bytes.with([]), stats.flushed_bytes);
    for (direction, bytes) in [
        ("read", stats.compaction_read_bytes),
        ("written", stats.compaction_written_bytes),
    ] {
        raise(&metrics.rocksdb_compaction_bytes.with([direction]), bytes);
    }
    for (result, blocks) in [("hit", stats.block_hits), ("miss", stats.block_misses)] {
        raise(&metrics.rocksdb_block_reads.with([result]), blocks);
    }
    let stall_seconds = stats.stall_us as f64 / 1e6;
    metrics.rocksdb_stall.with([]).set(stall_seconds);
    let files = metrics.rocksdb_file_bytes.with([]);
    files.set(stats.file_bytes as f64);
    let pending = metrics.rocksdb_compaction_pending.with([]);
    pending.set(stats.compaction_pending_bytes as f64);
}

fn memory(metrics: &Metrics, app: &App, stats: &StoreStats) {
    let limit = app.shares.limit;
    metrics.memory_limit.with([]).set(limit as f64);
    let shown = |part: &str, used: f64, most: usize| {
        metrics.memory.with([part]).set(used);
        metrics.memory_most.with([part]).set(most as f64);
    };
    let rocksdb = app.shares.cache + app.shares.write_buffer;
    shown("rocksdb", stats.rocksdb_bytes as f64, rocksdb);
    for part in Part::ALL {
        let used = app.budget.used_bytes(part);
        shown(part.label(), used as f64, app.budget.most_bytes(part));
        let refused = metrics.memory_refused.with([part.label()]);
        raise(&refused, app.budget.refused(part));
    }
}

#[cfg(test)]
mod tests {
    use forebay_engine::Catalog;
    use forebay_monitor::{SeriesReport, WindowReport};

    use super::*;
    use crate::server::transition::tests::defined;

    #[test]
    fn a_view_that_is_made_anew_goes_on_counting_and_the_series_go_with_its_last_state() {
        let before = defined();
        let views_of_v = before.views_of("v").expect("a view");
        let anew = before.renewed(&views_of_v).expect("the same definitions");
        let state = |catalog: &Catalog, hits| {
            let stats = ViewStats {
                hits,
                ..ViewStats::default()
            };
            (Arc::clone(catalog.views()["v"].spec()), stats)
        };
        let (metrics, mut shown) = (Metrics::new().expect("valid"), BTreeMap::new());
        for stats in [
            vec![state(&before, 5)],
            vec![state(&before, 7), state(&anew, 2)],
            vec![state(&anew, 4)],
        ] {
            views(&metrics, &stats, &mut shown);
        }
        let hits = metrics.hot_table_reads.with(["v", "hit"]);
        assert_eq!(hits.value(), 7 + 4);
        views(&metrics, &[], &mut shown);
        let text = metrics.text().expect("encodes");
        assert!(!text.contains("view=\"v\""), "{text}");
    }

    #[test]
    fn a_window_is_overdue_from_its_end_and_lateness_on_until_it_closes() {
        let window = |end_us, state| WindowReport {
            start_us: end_us - 60,
            end_us,
            state,
            revision: 0,
            rows: 1,
            columns: Vec::new(),
            drifted_ratio: None,
            quality: None,
        };
        let series = |is_routed, windows| SeriesReport {
            version: 1,
            role: Role::Live,
            is_routed,
            windows,
            alarms: Vec::new(),
            overall: None,
        };
        let report = |series| MonitorReport {
            monitor: "q".into(),
            model: "late".into(),
            reference: "r".into(),
            reference_digest: String::new(),
            window_us: 60,
            watermark_us: None,
            labels_watermark_us: None,
            input: forebay_monitor::InputCounts::default(),
            labels: None,
            series,
        };
        let windows = || {
            vec![
                window(60, WindowState::Closed),
                window(120, WindowState::Provisional),
                window(180, WindowState::Provisional),
            ]
        };
        let open = report(vec![series(true, windows())]);
        for (mark_us, expected) in [(0, 0), (120, 0), (130, 0), (131, 1), (400, 270)] {
            assert_eq!(overdue_us(&open, 10, mark_us), expected, "at {mark_us}");
        }
        let left = report(vec![series(false, windows())]);
        assert_eq!(overdue_us(&left, 10, 400), 0, "no route leads to it");
        let done = report(vec![series(true, vec![window(60, WindowState::Closed)])]);
        assert_eq!(overdue_us(&done, 10, 400), 0);
    }
}
