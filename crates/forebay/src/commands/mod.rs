//! The commands of the binary, one file each. A command reads its arguments, asks the parts, prints
//! its result to standard output and its progress to standard error, and says with its exit code
//! how it went (`crate::exit`). The long-running ones live elsewhere: `crate::server` and
//! `crate::demo`.

use std::future::Future;
use std::io::{ErrorKind, Write};
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result};
use forebay_telemetry::logs;

use crate::cli::Command;

mod apply;
mod diff;
mod doctor;
mod get;
mod profile;
mod progress;
mod remote;
mod replay;
#[cfg(test)]
mod tests;
mod training_set;
mod verify;
mod worker;

/// Carry out `command`.
///
/// # Errors
/// Of the command; `crate::exit` makes text and code of them.
pub(crate) fn run(command: Command) -> Result<ExitCode> {
    match command {
        Command::Server(args) => crate::server::run(&args),
        Command::Demo(args) => crate::demo::run(&args),
        Command::Worker(args) => worker::run(&args),
        Command::Plan(args) => apply::plan(&args),
        Command::Apply(args) => apply::apply(&args),
        Command::Get(args) => get::run(&args),
        Command::TrainingSet(args) => training_set::run(&args),
        Command::Replay(args) => replay::run(&args),
        Command::Verify(args) => verify::run(&args),
        Command::Profile(args) => profile::run(&args),
        Command::Doctor(args) => doctor::run(&args),
    }
}

/// Run `work` on a runtime of its own: what a command that asks a server needs.
fn block_on<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("cannot start threads")?;
    runtime.block_on(work)
}

/// Logs of a short command go to standard error from `level` on; `FOREBAY_LOG_LEVEL` says
/// otherwise.
fn log_from(level: &str) -> Result<()> {
    let level = std::env::var("FOREBAY_LOG_LEVEL").unwrap_or_else(|_| level.to_owned());
    match logs::install(logs::LogFormat::Plain, &level) {
        // Whoever came first, in one process, has set them up.
        Ok(()) | Err(forebay_telemetry::TelemetryError::AlreadyInstalled(_)) => Ok(()),
        Err(error) => Err(error).context("FOREBAY_LOG_LEVEL"),
    }
}

/// Refuse a file that cannot be written before the work that it is to hold begins.
pub(crate) fn check_target(flag: &str, path: &Path) -> Result<()> {
    let named = || {
        format!(
            "{flag} {} cannot be written; give another file",
            path.display()
        )
    };
    if path.exists() {
        return std::fs::OpenOptions::new()
            .append(true)
            .open(path)
            .map(drop)
            .with_context(named);
    }
    let parent = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty())
        .unwrap_or_else(|| Path::new("."));
    // The probe's own name would only confuse.
    let probed = tempfile::Builder::new()
        .prefix(".forebay-")
        .tempfile_in(parent)
        .map(drop);
    probed
        .map_err(|error| std::io::Error::from(error.kind()))
        .with_context(named)
}

/// Print a command's result. A reader that has gone away (`| head`) is no error.
pub(crate) fn print(text: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(error).context("cannot write to standard output")
        }
        _ => Ok(()),
    }
}
