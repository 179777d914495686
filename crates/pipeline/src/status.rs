//! Counters that the pipeline's threads add to and that metrics, the live view and the summary
//! read. They count what this process did, over every pipeline that it starts; nothing is decided
//! by them but whether to stop.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use forebay_core::time::Micros;
use parking_lot::Mutex;

/// Counters shared by the threads. Relaxed: they are for people, not for decisions.
#[derive(Debug, Default)]
pub struct Counters {
    /// Rows accepted.
    pub rows: AtomicU64,
    /// Micro-batches that brought something.
    pub epochs: AtomicU64,
    /// Shard commits.
    pub commits: AtomicU64,
    /// Time spent in them, nanoseconds, over all threads.
    pub commit_ns: AtomicU64,
    /// Rows too late for some view.
    pub late_rows: AtomicU64,
    /// Rows that the archive has committed.
    pub archived_rows: AtomicU64,
    /// Predictions acknowledged by the broker.
    pub predictions: AtomicU64,
    /// Events that could not be scored.
    pub unscored: AtomicU64,
    /// Rows of features read for scoring.
    pub feature_rows: AtomicU64,
    /// Repeated predictions dropped.
    pub repeats: AtomicU64,
    /// Rows that a view or deployment refused: dead letters that the decoder did not find.
    pub refused: AtomicU64,
    /// Tries that failed and were made again. While it rises, ingest waits for a store, a model or
    /// the broker.
    pub retries: AtomicU64,
    /// Scores that wait between epoch and publisher.
    pub scores_waiting: AtomicU64,
    /// A thread of the running pipeline stopped on an error.
    pub failed: AtomicBool,
    /// Per source.
    pub sources: Mutex<BTreeMap<String, SourceStatus>>,
    /// Dead letters, by source and reason.
    pub dead_letters: Mutex<BTreeMap<(String, &'static str), u64>>,
}

/// What is known of one source.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SourceStatus {
    /// Rows accepted since the process started.
    pub rows: u64,
    /// Dead letters since the process started.
    pub dead_letters: u64,
    /// Records between the reader and the end of the log.
    pub lag_records: u64,
    /// Rows since the process started whose event time lies further ahead than what others support
    /// and `event_future_max` allow: they are kept and move the watermark no further than that.
    pub ahead_rows: u64,
    /// Watermark.
    pub watermark_us: Option<Micros>,
}

/// A copy of the counters at one moment.
#[derive(Debug, Clone, Default)]
pub struct PipelineStatus {
    /// See [`Counters::rows`].
    pub rows: u64,
    /// See [`Counters::epochs`].
    pub epochs: u64,
    /// See [`Counters::commits`].
    pub commits: u64,
    /// Mean time of one shard commit, microseconds.
    pub commit_mean_us: f64,
    /// See [`Counters::late_rows`].
    pub late_rows: u64,
    /// See [`Counters::archived_rows`].
    pub archived_rows: u64,
    /// See [`Counters::predictions`].
    pub predictions: u64,
    /// See [`Counters::unscored`].
    pub unscored: u64,
    /// See [`Counters::feature_rows`].
    pub feature_rows: u64,
    /// See [`Counters::repeats`].
    pub repeats: u64,
    /// See [`Counters::refused`].
    pub refused: u64,
    /// See [`Counters::retries`].
    pub retries: u64,
    /// See [`Counters::scores_waiting`].
    pub scores_waiting: u64,
    /// See [`Counters::failed`].
    pub failed: bool,
    /// Per source.
    pub sources: BTreeMap<String, SourceStatus>,
    /// See [`Counters::dead_letters`].
    pub dead_letters: BTreeMap<(String, &'static str), u64>,
}

impl Counters {
    /// A pipeline over `sources` starts: what counts goes on, what describes the one before is
    /// forgotten.
    pub(crate) fn begin<'a>(&self, sources: impl IntoIterator<Item = &'a str>) {
        self.failed.store(false, Ordering::Relaxed);
        self.scores_waiting.store(0, Ordering::Relaxed);
        let mut known = self.sources.lock();
        let mut before = std::mem::take(&mut *known);
        known.extend(
            sources
                .into_iter()
                .filter_map(|name| before.remove_entry(name)),
        );
    }

    /// The watermark of `source` is this.
    pub(crate) fn watermark(&self, source: &str, watermark_us: Option<Micros>) {
        let mut sources = self.sources.lock();
        sources.entry(source.to_owned()).or_default().watermark_us = watermark_us;
    }

    /// A copy.
    #[must_use]
    pub fn snapshot(&self) -> PipelineStatus {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let commits = read(&self.commits);
        PipelineStatus {
            rows: read(&self.rows),
            epochs: read(&self.epochs),
            commits,
            commit_mean_us: read(&self.commit_ns) as f64 / 1_000.0 / commits.max(1) as f64,
            late_rows: read(&self.late_rows),
            archived_rows: read(&self.archived_rows),
            predictions: read(&self.predictions),
            unscored: read(&self.unscored),
            feature_rows: read(&self.feature_rows),
            repeats: read(&self.repeats),
            refused: read(&self.refused),
            retries: read(&self.retries),
            scores_waiting: read(&self.scores_waiting),
            failed: self.failed.load(Ordering::Relaxed),
            sources: self.sources.lock().clone(),
            dead_letters: self.dead_letters.lock().clone(),
        }
    }
}
