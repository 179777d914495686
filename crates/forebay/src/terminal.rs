//! What every command shares with the terminal and the process: its result on standard output, its
//! log level, a runtime for those that ask a server, and the check that a file can be written. Used
//! by the commands and the demo; decides nothing.

use std::future::Future;
use std::io::{ErrorKind, Write};
use std::path::Path;

use anyhow::{Context, Result};
use forebay_telemetry::logs;

/// Run `work` on a runtime of its own: what a command that asks a server needs.
pub(crate) fn block_on<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("cannot start threads")?;
    runtime.block_on(work)
}

/// Logs of a short command go to standard error from `level` on; `FOREBAY_LOG_LEVEL` says
/// otherwise.
pub(crate) fn log_from(level: &str) -> Result<()> {
    let level = std::env::var("FOREBAY_LOG_LEVEL").unwrap_or_else(|_| level.to_owned());
    match logs::install(logs::LogFormat::Plain, &level) {
        // Already installed by an earlier command of this process (tests).
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
