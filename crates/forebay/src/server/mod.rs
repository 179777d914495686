//! `forebay server`: settings -> [`app`] (state, archive, broker, ingest) -> [`listeners`] (Flight,
//! HTTP, metrics) -> a signal -> listeners drain, ingest finishes, state closes. The demo runs on
//! the same parts.
//!
//! [`wiring`] turns a catalog into what runs, [`admin`] answers the command line, [`monitoring`]
//! feeds the monitors, [`alarms`] publishes what they raise.

pub(crate) mod admin;
mod alarms;
pub(crate) mod app;
mod archived;
mod beginning;
pub(crate) mod broker;
pub(crate) mod catalog_file;
mod checkpoint_files;
pub(crate) mod exposition;
pub(crate) mod listeners;
pub(crate) mod monitoring;
mod replaying;
pub(crate) mod scorer;
pub(crate) mod sink;
pub(crate) mod wiring;

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, Result};
use forebay_engine::{ChangeAction, read_definitions};

use crate::cli::ServerArgs;
use crate::instant::SystemClock;
use crate::settings::{LogFormat, Settings};
use app::App;
use listeners::Listeners;

/// Threads of the runtime that serves HTTP, appends to the archive and talks to workers.
const RUNTIME_THREADS: usize = 2;

/// Run until a signal.
///
/// # Errors
/// Settings, a directory, the broker, definitions or an address are not usable, or a part fails
/// while it stops.
pub(crate) fn run(args: &ServerArgs) -> Result<ExitCode> {
    let settings = Settings::of(args)?;
    install_logs(&settings)?;
    let runtime = runtime()?;
    let app = Arc::new(App::start(
        settings,
        Arc::new(SystemClock),
        runtime.handle().clone(),
    )?);
    apply_folder(&app)?;
    let listeners = Listeners::start(&app)?;
    tracing::info!(flight = %listeners.flight_addr(), http = %listeners.http_addr(), "ready");
    runtime.block_on(stop_signal())?;
    tracing::info!("stopping: draining requests, finishing what was read");
    listeners.stop(&runtime);
    app.stop()?;
    tracing::info!("stopped");
    Ok(ExitCode::SUCCESS)
}

/// Logs as the settings say.
///
/// # Errors
/// A filter that does not parse.
pub(crate) fn install_logs(settings: &Settings) -> Result<()> {
    let format = match settings.log.format {
        LogFormat::Plain => forebay_telemetry::logs::LogFormat::Plain,
        LogFormat::Json => forebay_telemetry::logs::LogFormat::Json,
    };
    Ok(forebay_telemetry::logs::install(
        format,
        &settings.log.level,
    )?)
}

/// The runtime of a server.
///
/// # Errors
/// The system gives no thread.
pub(crate) fn runtime() -> Result<tokio::runtime::Runtime> {
    let built = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(RUNTIME_THREADS)
        .thread_name("runtime")
        .enable_all()
        .build();
    built.context("cannot start the runtime")
}

/// Apply the folder of definitions that the settings name, if they name one.
fn apply_folder(app: &App) -> Result<()> {
    let folder = &app.settings.server.sql;
    if folder.as_os_str().is_empty() {
        return Ok(());
    }
    let changes = app.apply(&read_definitions(folder)?)?;
    for change in changes
        .iter()
        .filter(|c| c.action != ChangeAction::Unchanged)
    {
        tracing::info!(action = ?change.action, kind = %change.kind, name = change.name, version = change.version, "applied");
    }
    Ok(())
}

/// Wait for SIGTERM or an interrupt.
///
/// # Errors
/// The system refuses a handler.
pub(crate) async fn stop_signal() -> Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        _ = terminate.recv() => {}
        interrupt = tokio::signal::ctrl_c() => interrupt?,
    }
    Ok(())
}
