//! Set-up of logs: structured, to standard error (standard output belongs to a command's result),
//! as plain lines or as JSON. What each level means is in the house style: error asks for a person,
//! warn heals itself, info is start, stop, apply and recovery, debug is per epoch or request, trace
//! per event.

use std::io::{self, IsTerminal};

use tracing::Subscriber;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::util::SubscriberInitExt;

use crate::error::TelemetryError;

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogFormat {
    /// For people; coloured on a terminal.
    #[default]
    Plain,
    /// One JSON object a line, for machines.
    Json,
}

/// A library whose errors come back to us and are logged once, with the remedy; it logs each in
/// every layer that it passes, with the calls where RUST_BACKTRACE is set.
const SILENT: &str = "buoyant_kernel=off";
/// A library whose info lines are one for each file and commit.
const QUIET: &str = "deltalake_core=warn";

/// `filter`, which may name them itself, over [`SILENT`] and [`QUIET`], where its own level for
/// everything would let those lines through.
fn with_quiet_libraries(filter: &str) -> String {
    let levels = filter
        .split(',')
        .map(str::trim)
        .filter(|part| !part.is_empty());
    let general = levels
        .filter_map(|part| part.parse::<LevelFilter>().ok())
        .next_back();
    match general {
        Some(level) if level > LevelFilter::WARN => format!("{SILENT},{QUIET},{filter}"),
        Some(_) => format!("{SILENT},{filter}"),
        None => filter.to_owned(),
    }
}

/// Install the process's subscriber. `filter` as `info` or `info,forebay_pipeline=debug`.
///
/// # Errors
/// A filter that does not parse, or a second call.
pub fn install(format: LogFormat, filter: &str) -> Result<(), TelemetryError> {
    subscriber(format, filter, io::stderr, io::stderr().is_terminal())?
        .try_init()
        .map_err(TelemetryError::AlreadyInstalled)
}

/// A subscriber that writes to `writer`: what [`install`] installs, and what a test may look at.
///
/// # Errors
/// A filter that does not parse.
pub(crate) fn subscriber<W>(
    format: LogFormat,
    filter: &str,
    writer: W,
    colours: bool,
) -> Result<Box<dyn Subscriber + Send + Sync>, TelemetryError>
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let filter = EnvFilter::try_new(with_quiet_libraries(filter)).map_err(|source| {
        TelemetryError::BadFilter {
            filter: filter.to_owned(),
            source,
        }
    })?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(writer);
    Ok(match format {
        LogFormat::Plain => Box::new(builder.with_ansi(colours).finish()),
        LogFormat::Json => Box::new(builder.json().flatten_event(true).finish()),
    })
}
