//! Upkeep of the archive, beside ingest. Rounds: small files are joined, files and entries of logs
//! that nobody needs any more are deleted. Scrubs: every file is compared with its checksum. Each
//! reads at the pace of the settings; what fails is counted, logged and tried again at the next
//! round, and nothing here stops ingest or reads. A table that hangs holds up no other ([`Turns`]).
//! A stop cuts it off anywhere: what was begun is swept later.

use std::sync::Arc;
use std::time::Duration;

use forebay_control::{Stop, Turns};
use forebay_core::ErrorKind;
use forebay_core::memory::Budget;
use forebay_core::ports::Runtime;
use forebay_core::time::Clock;
use forebay_offline::{DeltaArchive, OfflineError};
use forebay_pipeline::SystemRuntime;
use forebay_telemetry::Metrics;

use super::app::App;
use crate::settings::Archive as ArchiveSettings;

/// The first scrub begins so long after the start at the latest: a server that is restarted every
/// day is scrubbed too.
const FIRST_SCRUB: Duration = Duration::from_secs(600);
/// Damaged files that one round passes over in one table; the others have their turn at the next.
const DAMAGED_IN_A_ROUND: usize = 16;

#[derive(Clone)]
struct Upkeep {
    archive: Arc<DeltaArchive>,
    memory: Arc<Budget>,
    metrics: Arc<Metrics>,
    clock: Arc<dyn Clock>,
    runtime: Arc<dyn Runtime>,
    settings: ArchiveSettings,
    stop: Stop,
    turns: Turns,
}

/// Start it on the runtime of `app`; it ends when `app` stops.
pub(super) fn start(app: &App) {
    let runtime: Arc<dyn Runtime> = Arc::new(SystemRuntime::new(app.runtime.clone()));
    let upkeep = || Upkeep {
        archive: Arc::clone(&app.archive),
        memory: Arc::clone(&app.budget),
        metrics: Arc::clone(&app.metrics),
        clock: Arc::clone(&app.clock),
        runtime: Arc::clone(&runtime),
        settings: app.settings.archive.clone(),
        stop: app.stop.clone(),
        turns: Turns::new(Arc::clone(&runtime)),
    };
    // A scrub may take hours: rounds have turns of their own.
    let (rounds, scrubs, stop) = (upkeep(), upkeep(), app.stop.clone());
    let task = async move {
        tokio::select! {
            () = stop.asked() => {}
            () = rounds.rounds() => {}
            () = scrubs.scrubs() => {}
        }
    };
    runtime.spawn_task("upkeep", Box::pin(task));
}

impl Upkeep {
    async fn rounds(&self) {
        loop {
            let pause = Duration::from_secs(self.settings.upkeep_interval_s);
            self.runtime.sleep(pause).await;
            if let Err(error) = self.archive.hold_clock() {
                // By a clock that is days ahead all files are old enough to be deleted.
                tracing::warn!(%error, "upkeep of the archive waits");
                continue;
            }
            self.each_table(|upkeep, table| async move { upkeep.round(&table).await })
                .await;
        }
    }

    /// Do `work` on each table that is open.
    async fn each_table<W: Future<Output = ()> + Send + 'static>(
        &self,
        work: impl Fn(Self, String) -> W,
    ) {
        for table in self.archive.open_tables() {
            let (work, stop) = (work(self.clone(), table.clone()), self.stop.clone());
            let until_stopped = async move {
                tokio::select! {
                    () = stop.asked() => {}
                    () = work => {}
                }
            };
            self.turns.take(&table, until_stopped).await;
        }
    }

    async fn round(&self, table: &str) {
        self.compact(table).await;
        let retention = self.settings.retention();
        let sweep = self.archive.sweep(table, retention);
        self.delete(table, "data", "sweep", sweep).await;
        let clean = self.archive.clean_log(table, retention);
        self.delete(table, "log", "clean_log", clean).await;
        self.measure(table).await;
    }

    async fn scrubs(&self) {
        let interval = Duration::from_secs(self.settings.scrub_interval_s);
        self.runtime.sleep(interval.min(FIRST_SCRUB)).await;
        loop {
            self.each_table(|upkeep, table| async move { upkeep.scrub_whole(&table).await })
                .await;
            self.runtime.sleep(interval).await;
        }
    }

    async fn scrub_whole(&self, table: &str) {
        match self.scrub(table).await {
            Ok(()) => {
                let scrub = self.metrics.archive_scrub.with([table]);
                scrub.set_time_us(self.clock.now_us());
            }
            Err(error) => self.failed(table, "scrub", error),
        }
        self.measure(table).await;
    }

    /// Join files of `table` until none are left to join.
    async fn compact(&self, table: &str) {
        let mut damaged = 0;
        loop {
            let started = self.runtime.elapsed();
            match self.archive.compact(table, &self.memory).await {
                Ok(None) => return,
                Ok(Some(merged)) => {
                    self.took("compact", started);
                    tracing::debug!(table, files = merged.files, "small files were joined");
                    let files = self.metrics.archive_compacted_files.with([table]);
                    files.add(merged.files as u64);
                    let bytes = self.metrics.archive_compacted_bytes.with([table]);
                    bytes.add(merged.bytes);
                    self.rest(table, merged.bytes, started).await;
                }
                Err(error) => {
                    let skips = error.kind() == ErrorKind::DataLoss && damaged < DAMAGED_IN_A_ROUND;
                    self.failed(table, "compact", error);
                    if !skips {
                        return;
                    }
                    // The next merge leaves the damaged file alone.
                    damaged += 1;
                }
            }
        }
    }

    /// Compare all files of `table` with their checksums.
    async fn scrub(&self, table: &str) -> Result<(), OfflineError> {
        let mut scrub = self.archive.begin_scrub(table).await?;
        loop {
            let started = self.runtime.elapsed();
            let Some(scrubbed) = self.archive.scrub_next(&mut scrub).await? else {
                return Ok(());
            };
            self.took("scrub", started);
            let bytes = self.metrics.archive_scrubbed_bytes.with([table]);
            bytes.add(scrubbed.bytes);
            if let Some(damage) = scrubbed.damage {
                tracing::error!(
                    table,
                    file = damage.file,
                    what = damage.what,
                    "an archive file is damaged"
                );
            }
            self.rest(table, scrubbed.bytes, started).await;
        }
    }

    async fn delete(
        &self,
        table: &str,
        kind: &str,
        task: &'static str,
        work: impl Future<Output = Result<u64, OfflineError>>,
    ) {
        let started = self.runtime.elapsed();
        match work.await {
            Ok(files) => {
                self.turns.moves(table, Duration::ZERO);
                self.took(task, started);
                let swept = self.metrics.archive_swept_files.with([table, kind]);
                swept.add(files);
            }
            Err(error) => self.failed(table, task, error),
        }
    }

    async fn measure(&self, table: &str) {
        let Ok(size) = self.archive.size(table).await else {
            // Whatever failed is logged by the work itself, which reads the same log.
            return;
        };
        let metrics = &self.metrics;
        metrics.archive_files.with([table]).set(size.files as f64);
        metrics.archive_bytes.with([table]).set(size.bytes as f64);
        let damaged = metrics.archive_damaged_files.with([table]);
        damaged.set(size.damaged as f64);
    }

    fn took(&self, task: &str, started: Duration) {
        let duration = self.metrics.archive_upkeep_duration.with([task]);
        duration.observe_duration(self.since(started));
    }

    fn failed(&self, table: &str, task: &'static str, error: OfflineError) {
        self.metrics.archive_upkeep_errors.with([table, task]).inc();
        let error = anyhow::Error::from(error);
        tracing::warn!(
            table,
            task,
            error = format!("{error:#}"),
            "upkeep of the archive failed"
        );
    }

    /// How long it is since `started`, a moment of the runtime.
    fn since(&self, started: Duration) -> Duration {
        self.runtime.elapsed().saturating_sub(started)
    }

    /// Wait until `bytes` of `table` since `started` are no more than the settings' rate.
    async fn rest(&self, table: &str, bytes: u64, started: Duration) {
        let rate = self.settings.upkeep_bytes_per_second();
        let due = Duration::from_secs_f64(bytes as f64 / rate as f64);
        let rest = due.saturating_sub(self.since(started));
        self.turns.moves(table, rest);
        self.runtime.sleep(rest).await;
    }
}
