//! `forebay worker`: loads model versions, says on which device it scores and why on no other,
//! serves batches until it is told to end, and then finishes what it has begun.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use forebay_core::PortError;
use forebay_infer::{
    DeviceReport, MANIFEST_FILE, ModelId, ModelStore, RegistrationTask, Unverified, WorkerService,
    probe_devices, serve,
};
use forebay_serve::ServeError;
use tokio::signal::unix::{SignalKind, signal};

use crate::cli::WorkerArgs;
use crate::terminal::{block_on, log_from, print};

/// How often a worker repeats that it is there.
const REGISTER_EVERY: Duration = Duration::from_secs(2);

/// Run the command.
pub(super) fn run(args: &WorkerArgs) -> Result<ExitCode> {
    log_from("info")?;
    let models = args
        .models
        .iter()
        .map(|text| named_dir(text))
        .collect::<Result<Vec<_>>>()?;
    let wanted: Device = args.device.parse()?;
    check_loopback(args.listen)?;
    if let Some(server) = &args.register {
        check_server(server)?;
    }
    let reports = probe_devices();
    for report in &reports {
        tracing::info!(
            device = report.device,
            available = report.available,
            "{}",
            report.reason
        );
    }
    let device = choose(wanted, &reports)?;
    let store = Arc::new(ModelStore::new());
    for (name, dir) in &models {
        load(&store, name, dir)?;
    }
    block_on(work(args, store, device))?;
    Ok(ExitCode::SUCCESS)
}

async fn work(args: &WorkerArgs, store: Arc<ModelStore>, device: String) -> Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("cannot wait for SIGTERM")?;
    let handle = serve(args.listen, WorkerService::new(Arc::clone(&store))).await?;
    let address = handle.local_addr();
    let runtime = tokio::runtime::Handle::current();
    let registration = args.register.clone().map(|server| {
        RegistrationTask::start(
            &runtime,
            server,
            address.to_string(),
            Arc::clone(&store),
            REGISTER_EVERY,
        )
    });
    let models: Vec<String> = store.ready().iter().map(ToString::to_string).collect();
    print(&format!(
        "worker ready on {address}, scoring on {device}: {}\n",
        models.join(", ")
    ))?;
    tokio::select! {
        _ = terminate.recv() => {}
        ended = tokio::signal::ctrl_c() => ended.context("cannot wait for ctrl-c")?,
    }
    tracing::info!("ending; batches that were begun are answered");
    if let Some(registration) = registration {
        registration.stop().await;
    }
    let load = handle.service().load();
    handle.shutdown().await?;
    print(&format!(
        "worker ended: {} rows scored in {} batches\n",
        load.scored_rows, load.answered_batches
    ))
}

/// `NAME=DIR`.
fn named_dir(text: &str) -> Result<(String, PathBuf)> {
    match text.split_once('=') {
        Some((name, dir)) if !name.is_empty() && !dir.is_empty() => {
            Ok((name.to_owned(), dir.into()))
        }
        _ => bail!(
            "--model '{text}' is not NAME=DIR; write for example late_arrival=models/late_arrival/1"
        ),
    }
}

/// Make the version in `dir` READY. Its number is its manifest's.
fn load(store: &ModelStore, name: &str, dir: &Path) -> Result<()> {
    ensure!(
        dir.join(MANIFEST_FILE).is_file(),
        "--model {name}: {} has no {MANIFEST_FILE}; give the directory of one version, such as models/{name}/1",
        dir.display()
    );
    let failed = || format!("model '{name}' in {}", dir.display());
    let version = Unverified::read(dir)
        .with_context(failed)?
        .manifest()
        .version;
    let id = ModelId::new(name, version);
    ensure!(!store.ready().contains(&id), "--model gives {id} twice");
    store.load(dir, &id).with_context(failed)?;
    Ok(())
}

/// Credentials do not exist yet, so a worker is reached from its own machine alone, like the
/// server.
fn check_loopback(address: SocketAddr) -> Result<()> {
    if address.ip().is_loopback() {
        return Ok(());
    }
    Err(ServeError::NotLoopback { address }.into())
}

/// `HOST:PORT`: a wrong one would fail every time that it is tried.
fn check_server(server: &str) -> Result<()> {
    let is_address = server.rsplit_once(':').is_some_and(|(host, port)| {
        let plain = !host.is_empty() && !host.contains(['/', '@', ' ']);
        plain && port.parse::<u16>().is_ok_and(|port| port > 0)
    });
    ensure!(
        is_address,
        "--register '{server}' is not HOST:PORT; give the server's Arrow Flight address, such as 127.0.0.1:8815"
    );
    Ok(())
}

/// What `--device` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Device {
    Auto,
    Cpu,
    Gpu(usize),
}

impl std::str::FromStr for Device {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        match (text, text.strip_prefix("gpu:").map(str::parse)) {
            ("auto", _) => Ok(Self::Auto),
            ("cpu", _) => Ok(Self::Cpu),
            (_, Some(Ok(ordinal))) => Ok(Self::Gpu(ordinal)),
            _ => bail!("--device '{text}' is none of auto, cpu, gpu:N (N from 0)"),
        }
    }
}

/// The device to score on. This version scores on the CPU; a GPU that is asked for by name is
/// refused with what was found.
fn choose(wanted: Device, reports: &[DeviceReport]) -> Result<String> {
    let name = match wanted {
        Device::Auto | Device::Cpu => return Ok("cpu".to_owned()),
        Device::Gpu(ordinal) => format!("gpu:{ordinal}"),
    };
    // "gpu" without a number says why none could be listed.
    let report = reports
        .iter()
        .find(|r| r.device == name)
        .or_else(|| reports.iter().find(|r| r.device == "gpu"));
    match report {
        Some(report) => Err(precondition(format!(
            "--device {name}: {}; or use --device auto",
            report.reason
        ))),
        None => {
            let known: Vec<&str> = reports.iter().map(|r| r.device.as_str()).collect();
            Err(precondition(format!(
                "--device {name} is not there; this machine has {}",
                known.join(", ")
            )))
        }
    }
}

fn precondition(message: String) -> anyhow::Error {
    PortError::new(forebay_core::ErrorKind::FailedPrecondition, message).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(device: &str, available: bool, reason: &str) -> DeviceReport {
        DeviceReport {
            device: device.into(),
            available,
            reason: reason.into(),
        }
    }

    #[test]
    fn a_device_that_is_not_usable_is_refused_with_its_reason() {
        let none = [
            report("cpu", true, "2 threads"),
            report("gpu", false, "libcuda.so.1 not found"),
        ];
        let one = [
            report("cpu", true, "2 threads"),
            report("gpu:0", false, "a GPU, and no kernels"),
        ];
        assert_eq!(choose(Device::Auto, &none).ok().as_deref(), Some("cpu"));
        assert_eq!(choose(Device::Auto, &one).ok().as_deref(), Some("cpu"));
        assert_eq!(choose(Device::Cpu, &one).ok().as_deref(), Some("cpu"));
        let refused = choose(Device::Gpu(0), &one)
            .expect_err("no kernels")
            .to_string();
        assert!(refused.contains("a GPU, and no kernels"), "{refused}");
        let refused = choose(Device::Gpu(0), &none)
            .expect_err("no GPU")
            .to_string();
        assert!(refused.contains("libcuda.so.1 not found"), "{refused}");
        let refused = choose(Device::Gpu(3), &one)
            .expect_err("one GPU")
            .to_string();
        assert!(refused.contains("this machine has cpu, gpu:0"), "{refused}");
    }

    #[test]
    fn devices_and_models_are_written_one_way() {
        assert_eq!("gpu:12".parse::<Device>().ok(), Some(Device::Gpu(12)));
        for wrong in ["", "gpu", "gpu:", "gpu:x", "gpu:-1", "tpu"] {
            assert!(wrong.parse::<Device>().is_err(), "{wrong}");
        }
        assert_eq!(
            named_dir("a=b/c=d").ok(),
            Some(("a".to_owned(), "b/c=d".into()))
        );
        for wrong in ["a", "=b", "a="] {
            assert!(
                named_dir(wrong)
                    .expect_err("refused")
                    .to_string()
                    .contains("NAME=DIR")
            );
        }
        for right in ["127.0.0.1:8815", "[::1]:8815", "forebay.example:1"] {
            assert!(check_server(right).is_ok(), "{right}");
        }
        for wrong in [
            "",
            "junk",
            ":8815",
            "host:",
            "host:0",
            "host:65536",
            "http://host:8815",
        ] {
            assert!(
                check_server(wrong)
                    .expect_err("refused")
                    .to_string()
                    .contains("HOST:PORT"),
                "{wrong}"
            );
        }
    }
}
