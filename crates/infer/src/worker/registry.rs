//! Which workers a server knows: addresses from the settings, and workers that register themselves
//! by the action `register_worker` on the server's Flight port. A registration holds for three
//! intervals unless it is repeated, so a worker that dies silently is forgotten. The pool reads it;
//! nothing here opens a connection.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bytes::Bytes;
use forebay_core::limits::{
    MODELS_MAX, WORKER_ADDRESS_MAX_BYTES, WORKER_REGISTRATION_MAX_BYTES, WORKERS_MAX,
};
use forebay_core::{PortError, PortResult};
use parking_lot::RwLock;
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

use crate::error::{InferError, Result};
use crate::model::ModelId;

/// Flight action with a [`Registration`] as JSON: a worker is there, or still there.
pub const REGISTER_WORKER_ACTION: &str = "register_worker";
/// Flight action with a [`Registration`] as JSON: the worker leaves.
pub const UNREGISTER_WORKER_ACTION: &str = "unregister_worker";
/// Intervals without a word after which a worker is forgotten.
const MISSED_INTERVALS: u32 = 3;
/// Bounds of a registration's interval, milliseconds.
const INTERVAL_MS: std::ops::RangeInclusive<u64> = 10..=60_000;

/// What a worker says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Registration {
    /// `host:port` of its Flight service, as the server can reach it.
    pub address: String,
    /// Versions that are READY there.
    pub models: Vec<ModelId>,
    /// How often it repeats this, milliseconds, 10 to 60,000.
    pub interval_ms: u64,
}

/// A known worker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkerInfo {
    /// `host:port`.
    pub address: String,
    /// What it serves; None for an address from the settings, which is asked.
    pub models: Option<Vec<ModelId>>,
}

#[derive(Debug)]
struct Entry {
    models: Option<Vec<ModelId>>,
    expires: Option<Instant>,
}

/// The workers of one server.
#[derive(Debug, Default)]
pub struct WorkerRegistry {
    entries: RwLock<BTreeMap<String, Entry>>,
    changed: Notify,
}

impl WorkerRegistry {
    /// Knows nobody.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A worker from the settings: never forgotten, asked for any model.
    ///
    /// # Errors
    /// A malformed address; too many workers.
    pub fn add_static(&self, address: &str) -> Result<()> {
        self.insert(
            address,
            Entry {
                models: None,
                expires: None,
            },
        )
    }

    /// A worker has registered or repeats it, at `now`.
    ///
    /// # Errors
    /// A malformed address or interval; too many workers or models.
    pub fn register(&self, registration: Registration, now: Instant) -> Result<()> {
        let invalid =
            |what: String| InferError::worker(forebay_core::ErrorKind::InvalidArgument, what);
        if !INTERVAL_MS.contains(&registration.interval_ms) {
            let what = format!(
                "interval_ms of worker {} must be in {INTERVAL_MS:?}",
                registration.address
            );
            return Err(invalid(what));
        }
        if registration.models.len() > MODELS_MAX {
            let what = format!(
                "worker {} has {} models",
                registration.address,
                registration.models.len()
            );
            return Err(InferError::limit(what, "MODELS_MAX", MODELS_MAX));
        }
        let holds = Duration::from_millis(registration.interval_ms) * MISSED_INTERVALS;
        let entry = Entry {
            models: Some(registration.models),
            expires: Some(now + holds),
        };
        self.insert(&registration.address, entry)
    }

    fn insert(&self, address: &str, entry: Entry) -> Result<()> {
        check_address(address)?;
        let mut entries = self.entries.write();
        match entries.get_mut(address) {
            // The settings' own workers stay when they also register.
            Some(known) => {
                known.models = entry.models;
                known.expires = known.expires.and(entry.expires);
            }
            None => {
                if entries.len() >= WORKERS_MAX {
                    let what = format!("worker {address} would be one more");
                    return Err(InferError::limit(what, "WORKERS_MAX", WORKERS_MAX));
                }
                tracing::info!(worker = address, "worker known");
                entries.insert(address.to_owned(), entry);
            }
        }
        drop(entries);
        self.changed.notify_waiters();
        Ok(())
    }

    /// Forget the worker at `address`.
    pub fn remove(&self, address: &str) {
        if self.entries.write().remove(address).is_some() {
            tracing::info!(worker = address, "worker left");
            self.changed.notify_waiters();
        }
    }

    /// Those that are known at `now`, by address.
    #[must_use]
    pub fn workers(&self, now: Instant) -> Vec<WorkerInfo> {
        let mut expired = Vec::new();
        let mut known = Vec::new();
        for (address, entry) in self.entries.read().iter() {
            if entry.expires.is_some_and(|at| at <= now) {
                expired.push(address.clone());
            } else {
                known.push(WorkerInfo {
                    address: address.clone(),
                    models: entry.models.clone(),
                });
            }
        }
        if !expired.is_empty() {
            self.forget(&expired, now);
        }
        known
    }

    /// Drop those that have not registered again in the meantime.
    fn forget(&self, expired: &[String], now: Instant) {
        let mut entries = self.entries.write();
        for address in expired {
            if entries
                .get(address)
                .is_some_and(|entry| entry.expires.is_some_and(|at| at <= now))
            {
                tracing::warn!(
                    worker = address,
                    "worker stopped registering and is forgotten"
                );
                entries.remove(address);
            }
        }
    }

    /// Addresses that may serve `id` at `now`.
    pub(super) fn serving(&self, id: &ModelId, now: Instant) -> Vec<String> {
        let serves = |worker: &WorkerInfo| {
            worker
                .models
                .as_ref()
                .is_none_or(|models| models.contains(id))
        };
        self.workers(now)
            .into_iter()
            .filter(serves)
            .map(|worker| worker.address)
            .collect()
    }

    /// Resolves at the next change after it was first polled or enabled.
    pub(super) fn changed(&self) -> tokio::sync::futures::Notified<'_> {
        self.changed.notified()
    }

    /// Handle the Flight action `action` with `body`; the answer's body. The server calls it after
    /// it has authorized the caller. `now` is the present.
    ///
    /// # Errors
    /// Another action; a body that is too long or no registration; as [`WorkerRegistry::register`].
    pub fn handle_action(&self, action: &str, body: &[u8], now: Instant) -> PortResult<Bytes> {
        if body.len() > WORKER_REGISTRATION_MAX_BYTES {
            let what = format!("a registration of {} bytes", body.len());
            let name = "WORKER_REGISTRATION_MAX_BYTES";
            return Err(InferError::limit(what, name, WORKER_REGISTRATION_MAX_BYTES).into());
        }
        let registration: Registration = serde_json::from_slice(body).map_err(|e| {
            PortError::invalid(format!("the body of {action} is no registration: {e}"))
        })?;
        match action {
            REGISTER_WORKER_ACTION => self.register(registration, now)?,
            UNREGISTER_WORKER_ACTION => self.remove(&registration.address),
            other => {
                return Err(PortError::invalid(format!(
                    "{other} is no action of the worker registry"
                )));
            }
        }
        Ok(Bytes::from_static(b"{}"))
    }
}

/// `host:port` and nothing more: no scheme, path or user name may hide in it.
fn check_address(address: &str) -> Result<()> {
    let plain =
        |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':' | '[' | ']');
    let port = address
        .rsplit_once(':')
        .and_then(|(host, port)| (!host.is_empty()).then(|| port.parse::<u16>().ok()));
    let named = matches!(port, Some(Some(port)) if port > 0);
    if named && address.len() <= WORKER_ADDRESS_MAX_BYTES && address.chars().all(plain) {
        return Ok(());
    }
    let shown: String = address.chars().take(WORKER_ADDRESS_MAX_BYTES).collect();
    let what = format!("worker address {shown:?} is not host:port");
    Err(InferError::worker(
        forebay_core::ErrorKind::InvalidArgument,
        what,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn registration(address: &str, version: u32) -> Registration {
        Registration {
            address: address.to_owned(),
            models: vec![ModelId::new("late", version)],
            interval_ms: 1_000,
        }
    }

    #[test]
    fn a_registration_holds_for_three_intervals_and_is_renewed_by_repeating_it() {
        let (registry, start) = (WorkerRegistry::new(), Instant::now());
        registry
            .register(registration("127.0.0.1:9000", 1), start)
            .expect("valid");
        registry.add_static("worker-2:9000").expect("valid");
        let addresses = |at: u64| {
            let workers = registry.workers(start + Duration::from_millis(at));
            workers.into_iter().map(|w| w.address).collect::<Vec<_>>()
        };
        assert_eq!(addresses(2_999), ["127.0.0.1:9000", "worker-2:9000"]);
        registry
            .register(
                registration("127.0.0.1:9000", 2),
                start + Duration::from_millis(2_000),
            )
            .expect("valid");
        assert_eq!(addresses(4_999), ["127.0.0.1:9000", "worker-2:9000"]);
        let later = start + Duration::from_millis(4_000);
        assert_eq!(
            registry.serving(&ModelId::new("late", 1), later),
            ["worker-2:9000"],
            "a static one is asked"
        );
        assert_eq!(registry.serving(&ModelId::new("late", 2), later).len(), 2);
        assert_eq!(addresses(5_000), ["worker-2:9000"]);
    }

    #[test]
    fn actions_register_and_unregister_and_refuse_what_is_malformed() {
        let (registry, now) = (WorkerRegistry::new(), Instant::now());
        let body = serde_json::to_vec(&registration("127.0.0.1:9000", 1)).expect("serialises");
        registry
            .handle_action(REGISTER_WORKER_ACTION, &body, now)
            .expect("registers");
        assert_eq!(registry.workers(now).len(), 1);
        registry
            .handle_action(UNREGISTER_WORKER_ACTION, &body, now)
            .expect("unregisters");
        assert_eq!(registry.workers(now).len(), 0);
        let refused = |body: &[u8]| {
            registry
                .handle_action(REGISTER_WORKER_ACTION, body, now)
                .expect_err("refused")
                .kind()
        };
        assert_eq!(refused(b"{}"), forebay_core::ErrorKind::InvalidArgument);
        assert_eq!(
            refused(&vec![b' '; WORKER_REGISTRATION_MAX_BYTES + 1]),
            forebay_core::ErrorKind::ResourceExhausted
        );
        let of_length = |bytes: usize| format!("{}:1", "x".repeat(bytes - 2));
        check_address(&of_length(WORKER_ADDRESS_MAX_BYTES)).expect("at the limit");
        for address in [
            "",
            "localhost",
            "http://x:1",
            "x:0",
            "x:70000",
            "user@x:1",
            "x:1/path",
            ":1",
            &of_length(WORKER_ADDRESS_MAX_BYTES + 1),
        ] {
            let body = serde_json::to_vec(&registration(address, 1)).expect("serialises");
            assert_eq!(
                refused(&body),
                forebay_core::ErrorKind::InvalidArgument,
                "{address}"
            );
        }
        let mut wild = registration("127.0.0.1:9000", 1);
        wild.interval_ms = 0;
        assert!(registry.register(wild, now).is_err());
    }

    #[test]
    fn the_number_of_workers_is_bounded() {
        let registry = WorkerRegistry::new();
        for port in 1..=WORKERS_MAX {
            registry
                .add_static(&format!("w:{port}"))
                .expect("below the limit");
        }
        let error = registry
            .add_static("one-more:1")
            .expect_err("above the limit");
        assert!(error.to_string().contains("WORKERS_MAX"), "{error}");
        registry
            .add_static("w:1")
            .expect("a known one is no new one");
    }
}
