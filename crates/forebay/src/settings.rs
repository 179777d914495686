//! Settings of a process: TOML, then `FOREBAY_*` variables, then flags; raw first, then validated.
//! Unknown keys are refused, units are in the names, defaults are those of `config/forebay.toml` (a
//! test compares them). Owns the keys and their sentences, from which the pages are written; the
//! module of a section has its defaults, its bounds, and the options of the part that it sets up.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use forebay_core::time::HOUR_US;
use serde::{Deserialize, Serialize};

use crate::cli::ServerArgs;

mod archive;
mod inference;
mod ingest;
mod kafka;
pub(crate) mod memory;
mod monitor;
mod server;
mod state;
mod variables;

pub(crate) use crate::broker::Broker;

/// Longest `server.shutdown_grace_ms`, and longest time of it and of a question to the broker
/// together: a stop is cut off after 9 s, and waits for both before it writes what was read.
const STOP_WAITS_MAX_MS: u64 = 8_000;

/// Settings as written, with defaults.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Settings {
    pub(crate) server: Server,
    pub(crate) memory: Memory,
    pub(crate) kafka: Kafka,
    pub(crate) state: State,
    pub(crate) ingest: Ingest,
    pub(crate) archive: Archive,
    pub(crate) inference: Inference,
    pub(crate) monitor: Monitor,
    pub(crate) log: Log,
}

/// `[server]`: where things are and who listens.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Server {
    /// State, archive and the applied definitions live here.
    pub(crate) data_dir: PathBuf,
    /// Folder of definitions that are applied at start; "" keeps what was applied before.
    pub(crate) sql: PathBuf,
    /// Model directories in SQL are relative to this one.
    pub(crate) model_root: PathBuf,
    /// Address of Arrow Flight. Loopback only, until credentials exist.
    pub(crate) flight_addr: SocketAddr,
    /// Address of metrics and health. Loopback only.
    pub(crate) http_addr: SocketAddr,
    /// Threads that serve Flight requests, each with its own listener; at most 64.
    pub(crate) flight_threads: usize,
    /// Threads that serve HTTP, append to the archive and talk to workers; at least 2, so that one
    /// that is busy does not hold up the others.
    pub(crate) runtime_threads: usize,
    /// How long exchanges may go on once the server is asked to stop, milliseconds; all of the stop
    /// takes 9 seconds at most.
    pub(crate) shutdown_grace_ms: u64,
    /// Name of the server: part of the archive's transaction ids. Two servers never share one data
    /// directory.
    pub(crate) name: String,
}

/// `[memory]`: what the process may hold.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Memory {
    /// All memory of the process, MiB; 0: half of what its control group, or the machine, has.
    /// RocksDB and the Kafka clients have fixed shares in it; large requests, answers, keys in
    /// memory, rows on their way to the archive, scoring and verification draw on the rest, and are
    /// refused, evict or wait where it is used up.
    pub(crate) limit_mib: usize,
}

/// `[kafka]`: the log.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Kafka {
    /// "kafka" (see bootstrap) or "embedded": an in-process broker that forgets everything when
    /// the process ends.
    pub(crate) broker: Broker,
    /// Addresses of the brokers, host:port, separated by commas.
    pub(crate) bootstrap: String,
    /// Create missing topics that Forebay writes: those of predictions and alerts.
    pub(crate) create_topics: bool,
    /// Create missing topics of sources, too. Without it a source whose topic is missing is halted
    /// until somebody creates it, so that a mistyped name shows.
    pub(crate) create_source_topics: bool,
    /// Partitions of a topic that is created.
    pub(crate) partitions: i32,
    /// Copies of each record of a topic that is created; at most the number of brokers.
    pub(crate) replication_factor: i32,
    /// Name of this server in the broker's logs, quotas and access rules: client id, and group id
    /// of readers (no group is joined).
    pub(crate) client_id: String,
    /// How long a question about the log or a topic may take, milliseconds; a stop waits for it.
    pub(crate) request_timeout_ms: u64,
    /// How long a broker may keep a fetch that finds no record, milliseconds. It answers with the
    /// first record that comes, so this delays none; partitions that are assigned meanwhile wait
    /// for it. The embedded broker keeps its own, which is shorter.
    pub(crate) fetch_wait_ms: u64,
    /// How long a record may wait for its acknowledgement, retries included, milliseconds.
    pub(crate) delivery_timeout_ms: u64,
    /// How long records are gathered before a batch is sent, milliseconds.
    pub(crate) linger_ms: u64,
    /// Memory for records that were fetched and not yet read, MiB; 0: a sixteenth of [memory]
    /// limit_mib, 4 to 64.
    pub(crate) fetched_mib: usize,
    /// Memory for records that are not yet acknowledged, MiB; 0: a thirty-second of [memory]
    /// limit_mib, 4 to 64.
    pub(crate) unsent_mib: usize,
}

/// `[state]`: what is kept of each key.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct State {
    /// Shards of the state, each one RocksDB directory with one writer. Fixed when the data
    /// directory is made.
    pub(crate) shards: u16,
    /// How long after its window an event is still taken, and how far back a read may go, hours.
    pub(crate) history_hours: u32,
    /// Cache of RocksDB for blocks, indexes and filters, all shards together, MiB; 0: a sixteenth
    /// of [memory] limit_mib, 4 to 64.
    pub(crate) cache_mib: usize,
    /// Write buffers of RocksDB, all shards together, MiB; 0: a sixteenth of [memory] limit_mib, 4
    /// to 64.
    pub(crate) write_buffer_mib: usize,
    /// Decoded keys in memory, all shards together, MiB; 0: a quarter of what is left of
    /// [memory] limit_mib beside the fixed shares, which is also the most. Above it, keys that
    /// nobody used lately are read again from RocksDB when needed.
    pub(crate) hot_table_mib: usize,
    /// Epochs of each shard whose applied offsets are still known: what an answer's epoch can be
    /// resolved to.
    pub(crate) kept_epochs: usize,
    /// Threads that flush and compact, of each shard.
    pub(crate) background_threads: u16,
    /// Most that flushes and compactions of one shard write, MiB a second; 0: as the disk takes
    /// them.
    pub(crate) background_write_mib_per_second: u32,
}

/// `[ingest]`: how events become state and archive.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Ingest {
    /// A micro-batch ends at this many rows.
    pub(crate) epoch_max_rows: usize,
    /// A micro-batch that is not full ends after this time, milliseconds.
    pub(crate) epoch_wait_ms: u64,
    /// Threads that write shards.
    pub(crate) writer_threads: usize,
    /// The archive appends what is this old, milliseconds.
    pub(crate) archive_flush_ms: u64,
    /// The archive appends what is this big, MiB.
    pub(crate) archive_flush_mib: usize,
    /// A source of which nothing is applied for this long, in seconds, although records wait makes
    /// /readyz/ingest answer 503.
    pub(crate) stall_s: u64,
}

/// `[archive]`: how the archive's tables are kept readable as they age.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Archive {
    /// Seconds between two rounds: small files are joined, what nobody needs is deleted.
    pub(crate) upkeep_interval_s: u64,
    /// Hours for which replaced files and covered log entries stay, for readers of old versions.
    pub(crate) retention_hours: u64,
    /// Time between two scrubs, seconds: every file is compared with its checksum.
    pub(crate) scrub_interval_s: u64,
    /// Most that joining, and scrubbing, read, MiB a second each.
    pub(crate) upkeep_mib_per_second: u64,
    /// How far the machine's clock may be from the newest date in the archive at a start, days:
    /// beyond that rows are not dated by it, and ingest waits. Raise it where the clock is right,
    /// after a long rest or where rows were dated by one that was not.
    pub(crate) clock_gap_max_days: u32,
    /// Commits between two checkpoints of a table's log: fewer make a table quicker to open, and
    /// write more. A table keeps what was in force when it was made.
    pub(crate) checkpoint_commits: u64,
}

/// `[inference]`: who scores.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Inference {
    /// Addresses of workers ("host:port"); empty scores in this process.
    pub(crate) workers: Vec<String>,
    /// Score in this process while no worker of a version answers; false leaves it to workers, and
    /// predictions wait for them.
    pub(crate) local_scoring: bool,
    /// Scores of one version of a deployment in one role that may wait on disk; beyond them it is
    /// suspended in that role, the others and ingest go on.
    pub(crate) pending_max_records: u64,
    /// The same, MiB.
    pub(crate) pending_max_mib: u64,
    /// Predictions of one deployment that wait for one topic before it scores no more for that.
    pub(crate) outbox_max_records: usize,
    /// Requests of one deployment that a version of a model is asked for at once in one role: a
    /// version in both roles is asked for up to twice as many.
    pub(crate) concurrent_calls: usize,
    /// How long one request to a model may take, whoever answers it, milliseconds.
    pub(crate) call_timeout_ms: u64,
    /// How long the workers together may take for one request before this process scores it,
    /// milliseconds; at most half of call_timeout_ms, so that time is left for that.
    pub(crate) workers_timeout_ms: u64,
    /// How long a request waits for a worker when none is known, milliseconds.
    pub(crate) worker_wait_ms: u64,
    /// How long opening a stream to a worker may take, milliseconds.
    pub(crate) worker_connect_timeout_ms: u64,
    /// How long one worker may take for one batch before another one is asked, milliseconds.
    pub(crate) worker_answer_timeout_ms: u64,
    /// How long a worker is left alone after its first failure, milliseconds; doubles with each
    /// further one, up to 10 seconds.
    pub(crate) worker_ejection_ms: u64,
    /// Rows in flight on one stream to a worker; at least worker_batch_max_rows.
    pub(crate) worker_credit_rows: usize,
    /// Rows of one batch to a worker; bigger requests are split.
    pub(crate) worker_batch_max_rows: usize,
}

/// `[monitor]`: how monitors judge and what one may hold.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Monitor {
    /// Values that a column needs in a window before anything is said about it; `forebay profile`
    /// calibrates a reference on windows with as many. Where this or another setting of the section
    /// has changed, monitors count anew from the archive at the next start.
    pub(crate) min_rows: u64,
    /// Score from which on a model is taken to predict TRUE.
    pub(crate) score_threshold: f64,
    /// Predictions that wait for a label, per monitor.
    pub(crate) pending_max_predictions: usize,
    /// Labels that wait for a prediction, per monitor.
    pub(crate) pending_max_labels: usize,
    /// Predictions, and labels, that share one join key.
    pub(crate) key_max_records: usize,
    /// Pairs of model version and role that a monitor keeps apart.
    pub(crate) max_series: usize,
    /// Closed windows that are kept of one series; older ones live on in the totals alone.
    pub(crate) max_windows: usize,
    /// Panes of windows that are still open, of one series.
    pub(crate) max_open_panes: usize,
}

/// `[log]`: log lines.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Log {
    /// "plain" or "json".
    pub(crate) format: LogFormat,
    /// Levels as in RUST_LOG (info, debug, forebay=trace, ...).
    pub(crate) level: String,
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum LogFormat {
    Plain,
    Json,
}

impl Default for Log {
    fn default() -> Self {
        Self {
            format: LogFormat::Plain,
            level: "info".into(),
        }
    }
}

impl Settings {
    /// Read `file` (defaults where None), then the variables that `variable` knows. The result is
    /// not yet validated: flags come in between.
    ///
    /// # Errors
    /// The file cannot be read or parsed, or a variable has the wrong type; the text names file,
    /// key or variable.
    pub(crate) fn load(
        file: Option<&Path>,
        variable: impl Fn(&str) -> Option<String>,
    ) -> Result<Self> {
        let text = match file {
            Some(path) => std::fs::read_to_string(path).with_context(|| {
                format!(
                    "cannot read settings file {}; give another with --config",
                    path.display()
                )
            })?,
            None => String::new(),
        };
        let mut table: toml::Table = text
            .parse()
            .with_context(|| named(file, "is not valid TOML"))?;
        variables::overlay(&mut table, &defaults()?, variable)?;
        table
            .try_into()
            .with_context(|| named(file, "has a setting that is not allowed"))
    }

    /// [`Self::load`] under the process's variables; those that look like settings and are none are
    /// said.
    ///
    /// # Errors
    /// As [`Self::load`].
    pub(crate) fn of_environment(file: Option<&Path>) -> Result<Self> {
        let names = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
        for name in variables::unknown(&defaults()?, names) {
            eprintln!(
                "warning: {name} is not a setting and has no effect; config/forebay.toml lists those that there are"
            );
        }
        Self::load(file, |name| std::env::var(name).ok())
    }

    /// What is in force under these flags: file, then the process's `FOREBAY_*` variables, then the
    /// flags; validated.
    ///
    /// # Errors
    /// As [`Self::load`] and [`Self::validate`].
    pub(crate) fn of(args: &ServerArgs) -> Result<Self> {
        let mut settings = Self::of_environment(args.config.as_deref())?;
        settings.override_with(args);
        settings.validate()?;
        Ok(settings)
    }

    /// Put the flags that were given over the settings. A bootstrap address alone also means a
    /// Kafka broker.
    pub(crate) fn override_with(&mut self, args: &ServerArgs) {
        fn put<T: Clone>(setting: &mut T, flag: Option<&T>) {
            if let Some(flag) = flag {
                setting.clone_from(flag);
            }
        }
        put(&mut self.server.data_dir, args.data_dir.as_ref());
        put(&mut self.server.sql, args.sql.as_ref());
        put(&mut self.server.model_root, args.model_root.as_ref());
        put(&mut self.server.flight_addr, args.flight_addr.as_ref());
        put(&mut self.server.http_addr, args.http_addr.as_ref());
        put(&mut self.kafka.bootstrap, args.bootstrap.as_ref());
        put(
            &mut self.kafka.broker,
            args.broker
                .or_else(|| args.bootstrap.is_some().then_some(Broker::Kafka))
                .as_ref(),
        );
        if !args.workers.is_empty() {
            self.inference.workers.clone_from(&args.workers);
        }
    }

    /// Directory of the archive's tables.
    #[must_use]
    pub(crate) fn archive_dir(&self) -> PathBuf {
        self.server.data_dir.join("offline")
    }

    /// Refuse values that contradict limits.
    ///
    /// # Errors
    /// Names the setting, its value and its bounds.
    pub(crate) fn validate(&self) -> Result<()> {
        let Self {
            server,
            memory: _,
            kafka,
            state,
            ingest,
            archive,
            inference,
            monitor,
            log: _,
        } = self;
        self.validate_memory()?;
        server.validate()?;
        kafka.validate()?;
        state.validate()?;
        ingest.validate()?;
        archive.validate()?;
        inference.validate()?;
        monitor.validate()?;
        let (grace, question) = (server.shutdown_grace_ms, kafka.request_timeout_ms);
        ensure!(
            grace + question <= STOP_WAITS_MAX_MS,
            "server.shutdown_grace_ms = {grace} and kafka.request_timeout_ms = {question} are more than \
             {STOP_WAITS_MAX_MS} together, which leaves a stop no time to write what was read; lower one"
        );
        Ok(())
    }

    /// `state.history_hours` in microseconds.
    #[must_use]
    pub(crate) fn history_us(&self) -> i64 {
        i64::from(self.state.history_hours) * HOUR_US
    }
}

/// Both ends in.
fn within<T: PartialOrd + std::fmt::Display + Copy>(
    key: &str,
    value: T,
    least: T,
    most: T,
) -> Result<()> {
    ensure!(
        least <= value && value <= most,
        "{key} = {value} is outside {least}..={most}"
    );
    Ok(())
}

/// All keys with their defaults.
fn defaults() -> Result<toml::Table> {
    toml::Table::try_from(Settings::default()).context("defaults are valid TOML")
}

fn named(file: Option<&Path>, what: &str) -> String {
    file.map_or_else(
        || format!("FOREBAY_* {what}"),
        |path| format!("settings file {} {what}", path.display()),
    )
}

#[cfg(test)]
mod tests;
