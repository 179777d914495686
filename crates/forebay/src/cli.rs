//! The command line: every command, its flags and its example. Parsing only; `commands` acts. It
//! checks what one flag can be by itself; what flags, file and variables say together is checked in
//! `settings`.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::broker::Broker;

mod dead_letters;

pub(crate) use dead_letters::{
    ArchiveArgs, DeadLettersArgs, DeadLettersCommand, DeadLettersListArgs, DeadLettersReplayArgs,
    DeadLettersShowArgs,
};

/// A streaming feature store: Kafka -> SQL features -> RocksDB and Delta -> Arrow Flight -> models
/// -> Kafka.
#[derive(Debug, Parser)]
#[command(
    name = "forebay",
    version,
    about,
    after_help = "Exit codes: 0 done, 1 not as it should be (verify: a difference, or nothing was equal; test: a test failed; \
    doctor: a check failed; dead-letters replay: a record is still no row; demo: an event was not read, archived or scored), 2 the call is wrong (the text says what to change), \
    3 something outside failed (try again), 4 a defect of Forebay."
)]
pub(crate) struct Cli {
    #[command(subcommand)]
    /// What to do.
    pub(crate) command: Command,
}

/// All commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the server: ingest, state, archive, serving, scoring, monitoring.
    #[command(
        after_help = "Example: forebay server --config config/forebay.toml --bootstrap 127.0.0.1:9092 --sql sql/flights"
    )]
    Server(ServerArgs),
    /// Run an inference worker that scores batches for a server.
    #[command(
        after_help = "Example: forebay worker --listen 127.0.0.1:8820 --model late_arrival=models/late_arrival/1"
    )]
    Worker(WorkerArgs),
    /// Show what applying the definitions of a folder would change on a running server.
    #[command(after_help = "Example: forebay plan sql/flights")]
    Plan(DefinitionArgs),
    /// Apply the definitions of a folder to a running server; new views are filled from the archive
    /// first.
    #[command(after_help = "Example: forebay apply sql/flights")]
    Apply(DefinitionArgs),
    /// Run the feature tests of a folder of definitions: CREATE TEST statements in files of its
    /// folder `tests`. It needs no broker and no server.
    #[command(after_help = "Example: forebay test sql/flights --json tests.json --junit tests.xml")]
    Test(FeatureTestArgs),
    /// Read features of one entity from a running server.
    #[command(
        after_help = "Example: forebay get delay_features origin=JFK carrier=B6 dest=BOS --at 2013-07-01T12:00:00Z"
    )]
    Get(GetArgs),
    /// Build a training set: one row out for each row of the spine, in order, with point-in-time
    /// correct features.
    #[command(
        after_help = "Example, on files alone: forebay training-set delay_features --spine spine.parquet \
        --out train.parquet --sql sql/flights --events data/nycflights13"
    )]
    TrainingSet(TrainingSetArgs),
    /// Publish the events of Parquet files (named after the sources) to their topics, in event-time
    /// order.
    #[command(
        after_help = "Example: forebay replay data/nycflights13 --sql sql/flights --bootstrap 127.0.0.1:9092 --speed max"
    )]
    Replay(ReplayArgs),
    /// Compare served values with values recomputed from the archive, bit for bit, and the archive
    /// with the log, on a running server.
    #[command(after_help = "Example: forebay verify delay_features --sample 10000")]
    Verify(VerifyArgs),
    /// Make the reference profile that a monitor compares with, from a training set and a model.
    #[command(
        after_help = "Example: forebay profile late_arrival_2013q1 --training-set train.parquet --model models/late_arrival/1 \
        --until 2013-04-01"
    )]
    Profile(ProfileArgs),
    /// Check settings, broker, data directory, ports, models and devices, and print what is in
    /// force; with --topic, look at a topic's newest records as its source reads them.
    #[command(
        after_help = "Example: forebay doctor --config config/forebay.toml --topic flights.departures"
    )]
    Doctor(DoctorArgs),
    /// Show what keeps sources from being read, and accept offsets that their logs have lost.
    #[command(after_help = "Example: forebay gap accept rides/3")]
    Gap(GapArgs),
    /// List, show and replay the records that could not become rows of their source, and list the
    /// rows that a feature view leaves out. A server may run on the data directory or not.
    #[command(after_help = "Example: forebay dead-letters list --source departures")]
    DeadLetters(DeadLettersArgs),
    /// Make the state of a feature view anew from the archive on a running server, or that of all
    /// views of a source; the state before is read until the new one is whole.
    #[command(after_help = "Example: forebay rebuild airport_traffic")]
    Rebuild(RebuildArgs),
    /// List the objects of a kind: SOURCES, ENTITIES, FEATURE VIEWS, FEATURE SERVICES, MODELS,
    /// DEPLOYMENTS or MONITORS, of a running server or of a folder of definitions.
    #[command(after_help = "Example: forebay show feature views --dir sql/flights")]
    Show(QuestionArgs),
    /// Describe an object: its columns or features, its text, and what uses it.
    #[command(after_help = "Example: forebay describe feature service delay_features")]
    Describe(QuestionArgs),
    /// Explain how a feature view is computed: windows and how far they reach, states and what they
    /// take, steps.
    #[command(
        after_help = "Example: forebay explain feature view airport_traffic --dir sql/flights"
    )]
    Explain(QuestionArgs),
    /// List the scalar functions that definitions may call, or all about one: types, NULL, NaN, and
    /// when a row has no value.
    #[command(after_help = "Example: forebay functions date_part")]
    Functions(FunctionsArgs),
    /// Run the whole loop on a year of New York flights, in one process.
    #[command(after_help = "Example: forebay demo --until 2013-02-01 --speed max")]
    Demo(DemoArgs),
}

/// `forebay test`
#[derive(Debug, Args)]
pub(crate) struct FeatureTestArgs {
    /// Folder of definitions, with a folder `tests` in it.
    pub(crate) dir: PathBuf,
    /// Only tests with this in their name.
    #[arg(long)]
    pub(crate) only: Option<String>,
    /// Orders of the events at random that each test is run in beside the given one.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(0..=1_000))]
    pub(crate) orders: u32,
    /// Seed of these orders, of where they are cut into batches, and of the crash in each.
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// Write the report as JSON to this file too.
    #[arg(long)]
    pub(crate) json: Option<PathBuf>,
    /// Write the report as JUnit XML to this file too.
    #[arg(long)]
    pub(crate) junit: Option<PathBuf>,
}

/// `forebay show`, `forebay describe`, `forebay explain`
#[derive(Debug, Args)]
pub(crate) struct QuestionArgs {
    /// The words of the statement behind its verb.
    #[arg(required = true)]
    pub(crate) words: Vec<String>,
    /// Ask the definitions of this folder instead of a server's.
    #[arg(long)]
    pub(crate) dir: Option<PathBuf>,
    /// As JSON, for programs.
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) to: ServerAddress,
}

/// What is told of functions.
#[derive(Debug, Args)]
pub(crate) struct FunctionsArgs {
    /// One function, by any of its names.
    pub(crate) name: Option<String>,
    /// As JSON, for programs.
    #[arg(long)]
    pub(crate) json: bool,
    /// As the page `docs/functions.md`, with all functions.
    #[arg(long, conflicts_with_all = ["json", "name"])]
    pub(crate) markdown: bool,
}

/// Flags that override settings.
#[derive(Debug, Args, Clone, Default)]
pub(crate) struct ServerArgs {
    /// Settings file (TOML).
    #[arg(long)]
    pub(crate) config: Option<PathBuf>,
    /// Where state, archive and definitions live.
    #[arg(long)]
    pub(crate) data_dir: Option<PathBuf>,
    /// Kafka bootstrap servers, HOST:PORT[,HOST:PORT].
    #[arg(long)]
    pub(crate) bootstrap: Option<String>,
    /// Folder of definitions to apply at start.
    #[arg(long)]
    pub(crate) sql: Option<PathBuf>,
    /// Folder that model paths in SQL are relative to.
    #[arg(long)]
    pub(crate) model_root: Option<PathBuf>,
    /// Arrow Flight address.
    #[arg(long)]
    pub(crate) flight_addr: Option<SocketAddr>,
    /// HTTP address (metrics, health).
    #[arg(long)]
    pub(crate) http_addr: Option<SocketAddr>,
    /// Which broker.
    #[arg(long, value_enum)]
    pub(crate) broker: Option<Broker>,
    /// Inference workers, HOST:PORT; may be given several times.
    #[arg(long = "worker")]
    pub(crate) workers: Vec<String>,
}

/// `forebay gap`
#[derive(Debug, Args)]
pub(crate) struct GapArgs {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: GapCommand,
}

/// Commands of `forebay gap`.
#[derive(Debug, Subcommand)]
pub(crate) enum GapCommand {
    /// List the sources and partitions that are not read, each with its reason.
    List(ServerAddress),
    /// Accept the gaps of a source or of one partition: those offsets will never be read.
    Accept(GapAcceptArgs),
}

/// `forebay gap accept`
#[derive(Debug, Args)]
pub(crate) struct GapAcceptArgs {
    /// SOURCE, or SOURCE/PARTITION.
    pub(crate) place: GapPlace,
    #[command(flatten)]
    pub(crate) to: ServerAddress,
}

/// Where gaps are accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct GapPlace {
    /// Source.
    pub(crate) source: String,
    /// One partition; None: all.
    pub(crate) partition: Option<i32>,
}

impl std::str::FromStr for GapPlace {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (source, partition) = match text.split_once('/') {
            None => (text, None),
            Some((source, number)) => {
                let number = number.parse::<i32>().ok().filter(|number| *number >= 0);
                let number = number.ok_or("a partition is a number: SOURCE/PARTITION")?;
                (source, Some(number))
            }
        };
        if source.is_empty() {
            return Err("it names no source: SOURCE or SOURCE/PARTITION".to_owned());
        }
        Ok(Self {
            source: source.to_owned(),
            partition,
        })
    }
}

/// `forebay rebuild`
#[derive(Debug, Args)]
pub(crate) struct RebuildArgs {
    /// A feature view, or a source: then all views that read it. Of a view and a source of one name
    /// the view is meant.
    pub(crate) name: String,
    #[command(flatten)]
    pub(crate) to: ServerAddress,
}

/// `forebay worker`
#[derive(Debug, Args)]
pub(crate) struct WorkerArgs {
    /// Address to serve on.
    #[arg(long, default_value = "127.0.0.1:8820")]
    pub(crate) listen: SocketAddr,
    /// A model version directory, NAME=DIR; may be given several times.
    #[arg(long = "model", required = true)]
    pub(crate) models: Vec<String>,
    /// auto, cpu, or gpu:N. This version scores on the CPU: gpu:N is refused, with what was found.
    #[arg(long, default_value = "auto")]
    pub(crate) device: String,
    /// Make itself known to the server at this Flight address, HOST:PORT; without it the server's
    /// settings name the worker.
    #[arg(long)]
    pub(crate) register: Option<String>,
}

/// `forebay plan`, `forebay apply`
#[derive(Debug, Args)]
pub(crate) struct DefinitionArgs {
    /// Folder of .sql files.
    pub(crate) dir: PathBuf,
    #[command(flatten)]
    pub(crate) to: ServerAddress,
}

/// Where the server answers.
#[derive(Debug, Args, Clone)]
pub(crate) struct ServerAddress {
    /// The server's Arrow Flight address.
    #[arg(long = "flight-addr", default_value = "127.0.0.1:8815")]
    pub(crate) flight_addr: String,
}

/// How results are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// For people.
    Table,
    /// For programs: one object.
    Json,
}

/// `forebay get`
#[derive(Debug, Args)]
pub(crate) struct GetArgs {
    /// Feature service.
    pub(crate) service: String,
    /// Request columns, COLUMN=VALUE; a column that is left out is NULL. Times are RFC 3339 or
    /// '2013-07-01 12:00:00' (UTC).
    #[arg(required = true)]
    pub(crate) columns: Vec<String>,
    /// Instant (RFC 3339); the present when left out.
    #[arg(long)]
    pub(crate) at: Option<String>,
    /// Format.
    #[arg(long, value_enum, default_value = "table")]
    pub(crate) output: Output,
    #[command(flatten)]
    pub(crate) to: ServerAddress,
}

/// How a training set is computed. Both give the same bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Lowering {
    /// Exact states slide over the events of each key.
    Probe,
    /// DataFusion's own plan of each view, over events and spine together: slower, and the
    /// definition to compare with.
    Batch,
}

/// What a training set makes of a value whose expression fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum OnError {
    /// NULL, listed beside the set.
    Null,
    /// The command ends and names the value.
    Fail,
}

/// `forebay training-set`
#[derive(Debug, Args)]
pub(crate) struct TrainingSetArgs {
    /// Feature service.
    pub(crate) service: String,
    /// Parquet file with the service's request columns and a time column.
    #[arg(long)]
    pub(crate) spine: PathBuf,
    /// Parquet file to write; its manifest goes beside it.
    #[arg(long)]
    pub(crate) out: PathBuf,
    /// Name of the training set; the output's file name without its ending when left out.
    #[arg(long)]
    pub(crate) name: Option<String>,
    /// Column of the spine that says as of when.
    #[arg(long, default_value = "event_time")]
    pub(crate) time_column: String,
    /// How to compute it.
    #[arg(long, value_enum, default_value = "probe")]
    pub(crate) lowering: Lowering,
    /// What a feature is whose expression fails on a row (a division by zero, an overflow): NULL,
    /// listed in NAME.errors.parquet beside the output, or the end of the command.
    #[arg(long, value_enum, default_value = "null")]
    pub(crate) on_error: OnError,
    /// Definitions to use instead of the applied ones; needs --events.
    #[arg(long, requires = "events")]
    pub(crate) sql: Option<PathBuf>,
    /// Folder with one Parquet file a source (NAME.parquet) to read instead of the server's
    /// archive.
    #[arg(long, requires = "sql")]
    pub(crate) events: Option<PathBuf>,
    /// Training set of before: read the archive only up to the offsets that its manifest names, so
    /// that the same spine gives the same rows however much has come since.
    #[arg(long, conflicts_with = "sql")]
    pub(crate) again: Option<PathBuf>,
    /// Settings file of the server whose archive is read.
    #[arg(long)]
    pub(crate) config: Option<PathBuf>,
    /// Data directory of the server whose archive is read.
    #[arg(long)]
    pub(crate) data_dir: Option<PathBuf>,
}

/// `forebay replay`
#[derive(Debug, Args)]
pub(crate) struct ReplayArgs {
    /// Folder with one Parquet file a source (NAME.parquet).
    pub(crate) dir: PathBuf,
    /// Definitions that say which sources there are and what their topics and times are.
    #[arg(long, default_value = "sql/flights")]
    pub(crate) sql: PathBuf,
    /// Kafka bootstrap servers.
    #[arg(long)]
    pub(crate) bootstrap: String,
    /// Seconds of event time in a second (0.001 to 1e9), or max.
    #[arg(long, default_value = "max")]
    pub(crate) speed: String,
    /// Publish each event up to this much later than its turn, for example 20m: a shuffle that a
    /// watermark allows.
    #[arg(long, value_parser = humantime::parse_duration)]
    pub(crate) shuffle_within: Option<std::time::Duration>,
    /// Seed of the shuffle.
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// Events from this moment on (RFC 3339 or a date).
    #[arg(long)]
    pub(crate) from: Option<String>,
    /// Events before this moment (RFC 3339 or a date).
    #[arg(long)]
    pub(crate) until: Option<String>,
    /// Partitions of topics that have to be created.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(i32).range(1..=10_000))]
    pub(crate) partitions: i32,
}

/// `forebay doctor`
#[derive(Debug, Args)]
pub(crate) struct DoctorArgs {
    #[command(flatten)]
    pub(crate) server: ServerArgs,
    /// Look at the newest records of this topic instead: column by column what is present, absent,
    /// guessed and refused. Commits nothing.
    #[arg(long)]
    pub(crate) topic: Option<String>,
    #[command(flatten)]
    pub(crate) sample: TopicArgs,
}

/// How `forebay doctor --topic` looks and tells.
#[derive(Debug, Args)]
pub(crate) struct TopicArgs {
    /// Records of each partition to look at.
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=100_000), requires = "topic")]
    pub(crate) records: u32,
    /// Format of what is found.
    #[arg(long, value_enum, default_value = "table", requires = "topic")]
    pub(crate) output: Output,
}

/// `forebay verify`
#[derive(Debug, Args)]
pub(crate) struct VerifyArgs {
    /// Feature service.
    pub(crate) service: String,
    /// Keys and times to compare (or, with --predictions, predictions).
    #[arg(long, default_value_t = 1_000)]
    pub(crate) sample: usize,
    /// Compare archived predictions (features as served) instead of fresh reads.
    #[arg(long)]
    pub(crate) predictions: bool,
    /// Records of the log that are read of each source and compared with the archive; offsets that
    /// nothing in the archive explains come first.
    #[arg(long, default_value_t = forebay_training::WITNESS_RECORDS)]
    pub(crate) log_records: u64,
    /// Share of the rows, and of the offsets, that may stay unverified (0 to 1).
    #[arg(long, default_value_t = forebay_training::UNVERIFIED_MAX_SHARE)]
    pub(crate) max_unverified: f64,
    #[command(flatten)]
    pub(crate) to: ServerAddress,
}

/// `forebay profile`
#[derive(Debug, Args)]
pub(crate) struct ProfileArgs {
    /// Name of the reference, as in REFERENCE TRAINING SET.
    pub(crate) name: String,
    /// Training set (Parquet) made by `forebay training-set`.
    #[arg(long)]
    pub(crate) training_set: PathBuf,
    /// Model version directory; the profile is written there as reference-NAME.json.
    #[arg(long)]
    pub(crate) model: PathBuf,
    /// Event-time column of the training set.
    #[arg(long, default_value = "event_time")]
    pub(crate) time_column: String,
    /// Only rows before this moment (RFC 3339 or a date): those the model was trained on.
    #[arg(long)]
    pub(crate) until: Option<String>,
    /// Length of the monitor's window, for calibration.
    #[arg(long, default_value = "7d", value_parser = humantime::parse_duration)]
    pub(crate) window: std::time::Duration,
    /// Settings file of the server whose monitors compare with the profile.
    #[arg(long)]
    pub(crate) config: Option<PathBuf>,
    /// Overwrite another profile of that name: monitors compare with the new one from their next
    /// start.
    #[arg(long)]
    pub(crate) replace: bool,
}

/// `forebay demo`
#[derive(Debug, Args)]
pub(crate) struct DemoArgs {
    /// Folder with the flights.
    #[arg(long, default_value = "data/nycflights13")]
    pub(crate) data: PathBuf,
    /// Definitions.
    #[arg(long, default_value = "sql/flights")]
    pub(crate) sql: PathBuf,
    /// Seconds of event time in a second, or max. The default plays the year in about three
    /// minutes.
    #[arg(long, default_value = "175200")]
    pub(crate) speed: String,
    /// Stop before this date.
    #[arg(long, default_value = "2014-01-02")]
    pub(crate) until: String,
    /// Use this Apache Kafka instead of the in-process broker.
    #[arg(long)]
    pub(crate) bootstrap: Option<String>,
    /// Keep the data directory and say where it is.
    #[arg(long)]
    pub(crate) keep: bool,
    /// Data directory; a temporary one when left out.
    #[arg(long)]
    pub(crate) data_dir: Option<PathBuf>,
    /// Stay up after the last event.
    #[arg(long)]
    pub(crate) serve: bool,
    /// Arrow Flight address.
    #[arg(long, default_value = "127.0.0.1:8815")]
    pub(crate) flight_addr: SocketAddr,
    /// HTTP address.
    #[arg(long, default_value = "127.0.0.1:8080")]
    pub(crate) http_addr: SocketAddr,
    /// Write the summary as JSON to this file too.
    #[arg(long)]
    pub(crate) summary: Option<PathBuf>,
}
