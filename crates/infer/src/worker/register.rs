//! How a worker makes itself known: it calls the server's action `register_worker`, again and
//! again, and `unregister_worker` when it leaves. A server that is away is tried again at the next
//! interval.

use std::sync::Arc;
use std::time::Duration;

use arrow_flight::Action;
use arrow_flight::flight_service_client::FlightServiceClient;
use forebay_core::ErrorKind;
use forebay_core::error::with_causes;
use forebay_core::time::whole_ms;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use tonic::transport::Endpoint;

use super::protocol::kind_of;
use super::registry::{REGISTER_WORKER_ACTION, Registration, UNREGISTER_WORKER_ACTION};
use crate::error::{InferError, Result};
use crate::model::ModelStore;

/// How long one call may take.
const CALL_TIMEOUT: Duration = Duration::from_secs(5);

/// Register (once) with the server whose Flight port is `server`, as `host:port`.
///
/// # Errors
/// The server does not answer or refuses.
pub async fn register_worker(server: &str, registration: &Registration) -> Result<()> {
    call(server, REGISTER_WORKER_ACTION, registration).await
}

async fn call(server: &str, action: &str, registration: &Registration) -> Result<()> {
    let gone = |what: String| {
        InferError::worker(ErrorKind::Unavailable, format!("server {server}: {what}"))
    };
    let body = serde_json::to_vec(registration).map_err(|e| gone(e.to_string()))?;
    let endpoint =
        Endpoint::from_shared(format!("http://{server}")).map_err(|e| gone(e.to_string()))?;
    let work = async {
        let channel = endpoint.connect().await.map_err(|e| gone(e.to_string()))?;
        let refused = |status: tonic::Status| {
            InferError::worker(
                kind_of(status.code().into()),
                format!("server {server}: {}", status.message()),
            )
        };
        let mut answers = FlightServiceClient::new(channel)
            .do_action(Action::new(action, body))
            .await
            .map_err(refused)?
            .into_inner();
        while answers.message().await.map_err(refused)?.is_some() {}
        Ok(())
    };
    timeout(CALL_TIMEOUT, work)
        .await
        .unwrap_or_else(|_| Err(gone("no answer in 5 s".to_owned())))
}

/// Keeps a worker registered until it is stopped or dropped.
#[derive(Debug)]
pub struct RegistrationTask {
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl RegistrationTask {
    /// Register `address` with `server` each `interval`, naming what is READY in `store` at that
    /// moment.
    #[must_use]
    pub fn start(
        runtime: &Handle,
        server: String,
        address: String,
        store: Arc<ModelStore>,
        interval: Duration,
    ) -> Self {
        let (stop, mut stopped) = watch::channel(false);
        let task = runtime.spawn(async move {
            let interval_ms = whole_ms(interval);
            let describe = || Registration {
                address: address.clone(),
                models: store.ready(),
                interval_ms,
            };
            let mut reachable = true;
            loop {
                let result = register_worker(&server, &describe()).await;
                match (&result, reachable) {
                    (Err(error), true) => tracing::warn!(
                        error = with_causes(&error),
                        "registration failed, trying again"
                    ),
                    (Ok(()), false) => tracing::info!(server, "registered again"),
                    _ => {}
                }
                reachable = result.is_ok();
                tokio::select! {
                    () = sleep(interval) => {}
                    // An error means that the handle was dropped: leave as well.
                    _ = stopped.changed() => break,
                }
            }
            if let Err(error) = call(&server, UNREGISTER_WORKER_ACTION, &describe()).await {
                tracing::debug!(
                    error = with_causes(&error),
                    "could not unregister; the server forgets after three intervals"
                );
            }
        });
        Self { stop, task }
    }

    /// Unregister and end.
    pub async fn stop(self) {
        // The task may already be gone with its runtime.
        self.stop.send_replace(true);
        self.task.await.ok();
    }
}
