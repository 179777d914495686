//! The command line of `forebay dead-letters`: list, show, replay. Parsing only;
//! `commands/dead_letters` acts.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use forebay_core::limits::DEAD_LETTERS_LIST_MAX;

/// `forebay dead-letters`
#[derive(Debug, Args)]
pub(crate) struct DeadLettersArgs {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: DeadLettersCommand,
}

/// Commands of `forebay dead-letters`.
#[derive(Debug, Subcommand)]
pub(crate) enum DeadLettersCommand {
    /// List the newest records that could not become rows, each with its reason and its key, and
    /// count all of them; with --view the archived rows that a view leaves out.
    #[command(
        after_help = "Examples: forebay dead-letters list --source departures --reason wrong_type\n          \
        forebay dead-letters list --view airport_traffic --limit 20\n\n\
        A record that could not be decoded is no event of its source: no view, no training set and no monitor has it. A row \
        that a view leaves out is an event of its source, and missing in that view alone: it is found by running the view in \
        force over the archive, so a corrected view has none. Key and headers of such a row are read from the log, where the \
        log still holds the record."
    )]
    List(DeadLettersListArgs),
    /// Show all of one of them: reason, key, headers, value, and what to do next.
    #[command(after_help = "Example: forebay dead-letters show departures 3 1742")]
    Show(DeadLettersShowArgs),
    /// Produce records that could not be decoded once more to their own partition, with key, value
    /// and headers as they were, and one more header that names the origin.
    #[command(
        after_help = "Examples: forebay dead-letters replay --source departures --dry-run\n          \
        forebay dead-letters replay --source departures 3 1742 1743\n\n\
        Correct the definition first (forebay apply): a record that the definition in force does not take is left where it is. \
        Each record is replayed once: what was is noted in the data directory once the broker has it (acks=all). If this \
        command, or its machine, ends between the two, the next run may produce those records a second time; all of them carry \
        the header forebay-replay-of: TOPIC/PARTITION/OFFSET, by which they are told apart in the log. Rows that a view leaves \
        out are events already: nothing is produced for them, and a corrected view is filled from the archive with them. The \
        exit code is 1 where a record is still no row."
    )]
    Replay(DeadLettersReplayArgs),
}

/// Whose archive is read.
#[derive(Debug, Args)]
pub(crate) struct ArchiveArgs {
    /// Settings file of the server whose archive is read; it may run or not.
    #[arg(long)]
    pub(crate) config: Option<PathBuf>,
    /// Data directory of that server.
    #[arg(long)]
    pub(crate) data_dir: Option<PathBuf>,
    /// Kafka bootstrap servers, HOST:PORT[,HOST:PORT].
    #[arg(long)]
    pub(crate) bootstrap: Option<String>,
}

/// `forebay dead-letters list`
#[derive(Debug, Args)]
pub(crate) struct DeadLettersListArgs {
    /// Only those of this source.
    #[arg(long)]
    pub(crate) source: Option<String>,
    /// The archived rows that this feature view leaves out, instead of records that are no rows.
    #[arg(long, conflicts_with = "source")]
    pub(crate) view: Option<String>,
    /// Only those with this reason.
    #[arg(long)]
    pub(crate) reason: Option<String>,
    /// Only those whose record is of this moment or later (RFC 3339 or a date).
    #[arg(long)]
    pub(crate) since: Option<String>,
    /// How many to show, newest first; all are counted.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u64).range(0..=DEAD_LETTERS_LIST_MAX as u64))]
    pub(crate) limit: u64,
    /// As JSON, for programs, with headers.
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) archive: ArchiveArgs,
}

/// `forebay dead-letters show`
#[derive(Debug, Args)]
pub(crate) struct DeadLettersShowArgs {
    /// Source.
    pub(crate) source: String,
    /// Partition of its topic.
    #[arg(value_parser = clap::value_parser!(i32).range(0..))]
    pub(crate) partition: i32,
    /// Offset in the partition.
    #[arg(value_parser = clap::value_parser!(i64).range(0..))]
    pub(crate) offset: i64,
    /// As JSON, for programs.
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) archive: ArchiveArgs,
}

/// `forebay dead-letters replay`
#[derive(Debug, Args)]
pub(crate) struct DeadLettersReplayArgs {
    /// A partition, and offsets in it; without them all that the flags select. They need --source.
    #[arg(value_name = "PARTITION OFFSET", num_args = 2.., requires = "source", value_parser = clap::value_parser!(i64).range(0..))]
    pub(crate) places: Vec<i64>,
    /// Only those of this source.
    #[arg(long)]
    pub(crate) source: Option<String>,
    /// Only those with this reason.
    #[arg(long)]
    pub(crate) reason: Option<String>,
    /// Only those whose record is of this moment or later (RFC 3339 or a date).
    #[arg(long)]
    pub(crate) since: Option<String>,
    /// Say what would be produced, and produce nothing.
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Also replays that failed in their turn; each of them once.
    #[arg(long)]
    pub(crate) again: bool,
    /// Also records of which an earlier build kept neither key nor headers: they are produced
    /// without.
    #[arg(long)]
    pub(crate) without_key: bool,
    #[command(flatten)]
    pub(crate) archive: ArchiveArgs,
}
