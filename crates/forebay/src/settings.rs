//! Settings of a process: TOML, then `FOREBAY_*` variables, then flags; raw first, then validated.
//! Unknown keys are refused, units are in the names, defaults are those of `config/forebay.toml` (a
//! test compares them).

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use forebay_core::limits::{
    EPOCH_MAX_ROWS, PENDING_SCORES_MAX_BYTES, PENDING_SCORES_MAX_RECORDS, SERVING_THREADS_MAX,
};
use forebay_core::time::{HOUR_US, Micros};
use forebay_pipeline::ScoringLimits;
use serde::{Deserialize, Serialize};

use crate::cli::ServerArgs;

mod archive;
pub(crate) mod memory;
mod state;

pub(crate) use crate::broker::Broker;

/// Longest time that ingest may stand still before it is unhealthy, seconds: a day.
const STALL_MAX_S: u64 = 86_400;
/// Longest `ingest.epoch_wait_ms`.
const EPOCH_WAIT_MAX_MS: u64 = 60_000;
/// Longest `ingest.archive_flush_ms`: a day.
const ARCHIVE_FLUSH_MAX_MS: u64 = 86_400_000;
/// Largest `ingest.archive_flush_mib`.
const ARCHIVE_FLUSH_MAX_MIB: usize = 16_384;
/// Most `kafka.replication_factor`.
const COPIES_MAX: i32 = 16;
/// Most `kafka.partitions`.
const PARTITIONS_MAX: i32 = 10_000;
/// Most `ingest.writer_threads`.
const WRITER_THREADS_MAX: usize = 256;

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
    /// Name of the server: part of the archive's transaction ids. Two servers never share one data
    /// directory.
    pub(crate) name: String,
}

/// `[memory]`: what the process may hold.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Memory {
    /// All memory of the process, MiB; 0: half of what its control group, or the machine, has.
    /// RocksDB and the Kafka clients have fixed shares in it; answers, keys in memory, rows on
    /// their way to the archive, scoring and verification draw on the rest, and are refused, evict
    /// or wait where it is used up.
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
    /// How far the machine's clock may be from the newest date in the archive, days: beyond that
    /// rows are not dated by it, and ingest waits. Raise it where the clock is right, after a long
    /// rest or where rows were dated by one that was not.
    pub(crate) clock_gap_max_days: u32,
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
    /// Scores of one deployment that may wait on disk; beyond them it is suspended, ingest goes on.
    pub(crate) pending_max_records: u64,
    /// The same, MiB.
    pub(crate) pending_max_mib: u64,
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

impl Default for Server {
    fn default() -> Self {
        Self {
            data_dir: "forebay-data".into(),
            sql: PathBuf::new(),
            model_root: ".".into(),
            flight_addr: SocketAddr::from(([127, 0, 0, 1], 8815)),
            http_addr: SocketAddr::from(([127, 0, 0, 1], 8080)),
            flight_threads: 2,
            name: "forebay".into(),
        }
    }
}

impl Default for Kafka {
    fn default() -> Self {
        Self {
            broker: Broker::Kafka,
            bootstrap: "127.0.0.1:9092".into(),
            create_topics: true,
            create_source_topics: false,
            partitions: 4,
            replication_factor: 1,
            fetched_mib: 0,
            unsent_mib: 0,
        }
    }
}

impl Default for Ingest {
    fn default() -> Self {
        Self {
            epoch_max_rows: EPOCH_MAX_ROWS,
            epoch_wait_ms: 5,
            writer_threads: 2,
            archive_flush_ms: 30_000,
            archive_flush_mib: 64,
            stall_s: 60,
        }
    }
}

impl Default for Inference {
    fn default() -> Self {
        Self {
            workers: Vec::new(),
            local_scoring: true,
            pending_max_records: PENDING_SCORES_MAX_RECORDS,
            pending_max_mib: PENDING_SCORES_MAX_BYTES >> 20,
        }
    }
}

impl Inference {
    fn validate(&self) -> Result<()> {
        within(
            "inference.pending_max_records",
            self.pending_max_records,
            1,
            PENDING_SCORES_MAX_RECORDS,
        )?;
        within(
            "inference.pending_max_mib",
            self.pending_max_mib,
            1,
            PENDING_SCORES_MAX_BYTES >> 20,
        )
    }
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
        overlay(&mut table, variable)?;
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
        for name in unknown(names)? {
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

    /// How much of one deployment may wait and be under way.
    #[must_use]
    pub(crate) fn scoring_limits(&self) -> ScoringLimits {
        ScoringLimits {
            pending_records: self.inference.pending_max_records,
            pending_bytes: self.inference.pending_max_mib << 20,
            ..ScoringLimits::default()
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
            kafka,
            state,
            ingest,
            archive,
            inference,
            ..
        } = self;
        self.validate_memory()?;
        state.validate()?;
        archive.validate()?;
        inference.validate()?;
        within(
            "ingest.epoch_max_rows",
            ingest.epoch_max_rows,
            1,
            EPOCH_MAX_ROWS,
        )?;
        within("ingest.stall_s", ingest.stall_s, 1, STALL_MAX_S)?;
        within(
            "ingest.epoch_wait_ms",
            ingest.epoch_wait_ms,
            0,
            EPOCH_WAIT_MAX_MS,
        )?;
        within(
            "ingest.archive_flush_ms",
            ingest.archive_flush_ms,
            1,
            ARCHIVE_FLUSH_MAX_MS,
        )?;
        within(
            "ingest.archive_flush_mib",
            ingest.archive_flush_mib,
            1,
            ARCHIVE_FLUSH_MAX_MIB,
        )?;
        within(
            "ingest.writer_threads",
            ingest.writer_threads,
            1,
            WRITER_THREADS_MAX,
        )?;
        within_kafka(kafka)?;
        within(
            "server.flight_threads",
            server.flight_threads,
            1,
            SERVING_THREADS_MAX,
        )?;
        ensure!(!server.name.is_empty(), "server.name is empty");
        if self.kafka.broker == Broker::Kafka && self.kafka.bootstrap.trim().is_empty() {
            bail!("kafka.bootstrap is empty; give --bootstrap HOST:PORT or --broker embedded");
        }
        Ok(())
    }

    /// `state.history_hours` in microseconds.
    #[must_use]
    pub(crate) fn history_us(&self) -> i64 {
        i64::from(self.state.history_hours) * HOUR_US
    }

    /// `ingest.stall_s` in microseconds.
    #[must_use]
    pub(crate) fn stall_us(&self) -> Micros {
        i64::try_from(self.ingest.stall_s).expect("at most STALL_MAX_S") * 1_000_000
    }

    /// `ingest.epoch_wait_ms`.
    #[must_use]
    pub(crate) fn epoch_wait(&self) -> Duration {
        Duration::from_millis(self.ingest.epoch_wait_ms)
    }
}

fn within_kafka(kafka: &Kafka) -> Result<()> {
    within("kafka.partitions", kafka.partitions, 1, PARTITIONS_MAX)?;
    within(
        "kafka.replication_factor",
        kafka.replication_factor,
        1,
        COPIES_MAX,
    )
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

/// Those of `names` that begin like a setting's variable (`FOREBAY_<SECTION>_`) and are none.
fn unknown(names: impl Iterator<Item = String>) -> Result<Vec<String>> {
    let defaults = toml::Table::try_from(Settings::default()).context("defaults are valid TOML")?;
    let is_setting = |key: &str, section: &toml::Value| {
        section
            .as_table()
            .is_some_and(|keys| keys.keys().any(|known| known.to_uppercase() == *key))
    };
    let is_unknown = |name: &String| {
        let Some(rest) = name.strip_prefix("FOREBAY_") else {
            return false;
        };
        defaults.iter().any(|(section, keys)| {
            let key = rest
                .strip_prefix(section.to_uppercase().as_str())
                .and_then(|rest| rest.strip_prefix('_'));
            key.is_some_and(|key| !is_setting(key, keys))
        })
    };
    let mut names: Vec<String> = names.filter(is_unknown).collect();
    names.sort_unstable();
    Ok(names)
}

fn named(file: Option<&Path>, what: &str) -> String {
    file.map_or_else(
        || format!("FOREBAY_* {what}"),
        |path| format!("settings file {} {what}", path.display()),
    )
}

/// Put `FOREBAY_<SECTION>_<KEY>` over the table. The known keys are those of the defaults, which
/// also give the types.
fn overlay(table: &mut toml::Table, variable: impl Fn(&str) -> Option<String>) -> Result<()> {
    let defaults = toml::Table::try_from(Settings::default()).context("defaults are valid TOML")?;
    for (section, keys) in &defaults {
        for (key, default) in keys.as_table().into_iter().flatten() {
            let name = format!("FOREBAY_{}_{}", section.to_uppercase(), key.to_uppercase());
            let Some(text) = variable(&name) else {
                continue;
            };
            let value = match default {
                toml::Value::Integer(_) => text
                    .parse()
                    .map(toml::Value::Integer)
                    .with_context(|| format!("{name}={text} is not a number"))?,
                toml::Value::Boolean(_) => text
                    .parse()
                    .map(toml::Value::Boolean)
                    .with_context(|| format!("{name}={text} is not true or false"))?,
                toml::Value::Array(_) => {
                    let parts = text
                        .split(',')
                        .filter(|p| !p.is_empty())
                        .map(|p| p.trim().into());
                    toml::Value::Array(parts.collect())
                }
                _ => toml::Value::String(text),
            };
            let section = table
                .entry(section)
                .or_insert_with(|| toml::Value::Table(toml::Table::new()));
            let Some(section) = section.as_table_mut() else {
                bail!("setting '{key}' stands outside a section")
            };
            section.insert(key.clone(), value);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
