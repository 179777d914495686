//! `forebay server`: settings -> [`app`] (state, archive, broker, ingest) -> [`listeners`] (Flight,
//! HTTP, metrics) -> a signal -> listeners drain, ingest finishes, state closes. The demo runs on
//! the same parts.
//!
//! [`change`] starts, applies and stops (`control` decides the steps), [`turn`] says who may change
//! the definitions, [`resume`] starts ingest, [`fill`] fills new views, [`rebuild`] makes the state
//! of old ones anew. [`wiring`] turns a catalog into what runs, [`admin`] answers the command line.

pub(crate) mod admin;
pub(crate) mod app;
mod blocking;
pub(crate) mod broker;
pub(crate) mod catalog_file;
mod change;
mod checkpoint_files;
mod common_tables;
mod deployment_name;
pub(crate) mod descriptors;
pub(crate) mod exposition;
mod fill;
mod gaps;
mod heal;
mod ingest_look;
mod leftovers;
pub(crate) mod listeners;
mod parts_look;
mod planning;
pub(crate) mod plannings;
mod rebuild;
pub(crate) mod references;
mod resume;
pub(crate) mod scorer;
pub(crate) mod sink;
mod state;
mod suspended;
mod tables;
mod takeover;
mod topics;
mod transition;
mod trial;
mod turn;
mod upkeep;
mod verifications;
mod verify;
pub(crate) mod wiring;

use std::pin::pin;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use forebay_control::until_ingest_is_lost;
use forebay_engine::{ChangeAction, read_definitions};
use forebay_pipeline::SystemRuntime;
use tokio::runtime::Runtime;
use tokio::sync::oneshot;

use crate::cli::ServerArgs;
use crate::exit;
use crate::instant::SystemClock;
use crate::settings::{LogFormat, Settings};
use app::App;
use heal::Recovering;
use listeners::Listeners;
use state::until_lost;

/// How long a stop may take.
const STOP_MAX: Duration = Duration::from_secs(9);

/// Run until a signal. The listeners answer from the first moment, so that a long start is seen as
/// one; a signal ends a start as well, and the process ends here.
///
/// # Errors
/// Settings, a directory or an address are not usable. What fails later is the exit code.
pub(crate) fn run(args: &ServerArgs) -> Result<ExitCode> {
    let settings = Settings::of(args)?;
    install_logs(&settings)?;
    let runtime = runtime(&settings)?;
    let clock = Arc::new(SystemClock);
    let app = Arc::new(App::open(settings, clock, runtime.handle().clone())?);
    let listeners = Listeners::start(&app)?;
    let begun = start(&app)?;
    upkeep::start(&app);
    let outcome = runtime.block_on(until_stopped(begun, &listeners, &app));
    tracing::info!("stopping: draining requests, finishing what was read");
    let stopped = stop(app, listeners, runtime);
    exit::at_once(outcome.and(stopped))
}

/// Begin, and apply the folder that the settings name, on a thread of its own. The outcome comes
/// once.
fn start(app: &Arc<App>) -> Result<oneshot::Receiver<Result<()>>> {
    let (done, begun) = oneshot::channel();
    let app = Arc::clone(app);
    let begin = move || {
        let outcome = app.begin().and_then(|()| apply_folder(&app));
        if outcome.is_ok() {
            app.answers();
        }
        // Nobody waits any more once a signal has come.
        drop(done.send(outcome));
    };
    std::thread::Builder::new()
        .name("start".to_owned())
        .spawn(begin)?;
    Ok(begun)
}

/// Wait for a signal, for a start that fails, for a state that can no longer be written, or for an
/// ingest that ends again and again.
async fn until_stopped(
    begun: oneshot::Receiver<Result<()>>,
    listeners: &Listeners,
    app: &Arc<App>,
) -> Result<()> {
    let mut signal = pin!(stop_signal());
    let mut lost = pin!(until_lost(app.store.as_ref()));
    tokio::select! {
        signal = &mut signal => return signal,
        error = &mut lost => return Err(error.into()),
        begun = begun => begun.context("the start was cut off")??,
    }
    tracing::info!(flight = %listeners.flight_addr(), http = %listeners.http_addr(), "ready");
    let recovering = Recovering(Arc::clone(app));
    let waits = SystemRuntime::new(app.runtime.clone());
    tokio::select! {
        signal = signal => signal,
        error = lost => Err(error.into()),
        error = until_ingest_is_lost(&recovering, &app.table_looks, &waits) => Err(error.into()),
    }
}

/// Drain, finish what was read, and close, within [`STOP_MAX`]. What takes longer is cut off: state
/// and offsets are one write, so that a restart reads on where it was.
fn stop(app: Arc<App>, listeners: Listeners, runtime: Runtime) -> Result<()> {
    let (done, stopped) = std::sync::mpsc::channel();
    let handle = runtime.handle().clone();
    let stopping = std::thread::Builder::new()
        .name("stop".to_owned())
        .spawn(move || {
            app.ask_to_stop();
            listeners.stop(&handle);
            // Nobody waits any more once the time is over.
            drop(done.send(app.stop()));
        })?;
    let outcome = stopped.recv_timeout(STOP_MAX);
    runtime.shutdown_background();
    match outcome {
        Ok(outcome) => {
            if stopping.join().is_err() {
                tracing::error!("a part has panicked while it stopped");
            }
            outcome?;
            tracing::info!("stopped");
        }
        Err(_) => tracing::warn!(
            after = ?STOP_MAX,
            "not everything has stopped in time and is cut off; a restart goes on from what was written"
        ),
    }
    Ok(())
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

/// The runtime of a server: it serves HTTP, appends to the archive and talks to workers.
///
/// # Errors
/// The system gives no thread.
pub(crate) fn runtime(settings: &Settings) -> Result<Runtime> {
    let built = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(settings.server.runtime_threads)
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
    let changes = app.apply_first(&read_definitions(folder)?)?;
    for change in changes
        .iter()
        .filter(|c| c.action != ChangeAction::Unchanged)
    {
        tracing::info!(action = ?change.action, kind = %change.kind, name = change.name, version = change.version, "applied");
    }
    Ok(())
}

/// Wait for SIGTERM or an interrupt. A hang-up (a terminal that closes) ends nothing.
///
/// # Errors
/// The system refuses a handler.
pub(crate) async fn stop_signal() -> Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hang_up = signal(SignalKind::hangup())?;
    loop {
        tokio::select! {
            _ = terminate.recv() => return Ok(()),
            _ = interrupt.recv() => return Ok(()),
            _ = hang_up.recv() => tracing::info!("a hang-up is no reason to stop; settings are read at the start alone"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_a_stop_waits_for_can_be_set_as_long_as_a_stop_may_take() {
        let stop_ms = u64::try_from(STOP_MAX.as_millis()).expect("seconds");
        for set in [
            |settings: &mut Settings, ms| settings.server.shutdown_grace_ms = ms,
            |settings: &mut Settings, ms| settings.kafka.request_timeout_ms = ms,
        ] {
            let mut settings = Settings::default();
            set(&mut settings, stop_ms);
            let error = settings.validate().expect_err("refused").to_string();
            assert!(error.contains("9000 is outside"), "{error}");
        }
    }

    #[test]
    fn the_runtime_has_as_many_threads_as_are_set() {
        let mut settings = Settings::default();
        settings.server.runtime_threads = 3;
        let runtime = runtime(&settings).expect("threads");
        assert_eq!(runtime.metrics().num_workers(), 3);
    }
}
