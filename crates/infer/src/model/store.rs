//! The model versions of one process: name and version -> state, and the READY ones for scoring.
//!
//! LOADING -> VERIFYING -> READY -> DRAINING -> UNLOADED, or UNAVAILABLE with its reason. A version
//! is immutable: loading the same content again changes nothing, another content under the same
//! number is refused. A version that is unloaded drains while somebody still scores with it.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Weak};

use forebay_core::definition::ModelDef;
use forebay_core::error::with_causes;
use forebay_core::limits::MODELS_MAX;
use forebay_core::view::ServiceSpec;
use forebay_telemetry::Metrics;
use parking_lot::RwLock;

use super::id::ModelId;
use super::version::{ModelVersion, Unverified};
use crate::error::{InferError, Result};
use crate::recorder::Recorder;

/// Where a version stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ModelState {
    /// It cannot be served, and why.
    Unavailable(String),
    /// Its files are read and checked.
    Loading,
    /// Its golden rows are tried.
    Verifying,
    /// It scores.
    Ready,
    /// It is unloaded and still in use.
    Draining,
    /// It is gone.
    Unloaded,
}

impl ModelState {
    /// As in metrics and metadata.
    #[must_use]
    pub fn label(&self) -> &'static str {
        match self {
            Self::Unavailable(_) => "UNAVAILABLE",
            Self::Loading => "LOADING",
            Self::Verifying => "VERIFYING",
            Self::Ready => "READY",
            Self::Draining => "DRAINING",
            Self::Unloaded => "UNLOADED",
        }
    }
}

#[derive(Debug)]
enum Entry {
    Unavailable(String),
    Loading,
    Verifying,
    Ready(Arc<ModelVersion>),
    Leaving(Weak<ModelVersion>),
}

/// The versions that this process has loaded.
#[derive(Debug, Default)]
pub struct ModelStore {
    entries: RwLock<BTreeMap<ModelId, Entry>>,
    recorder: Recorder,
}

impl ModelStore {
    /// An empty store.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Tell `metrics` which versions are READY, from now on.
    pub fn record_to(&self, metrics: Arc<Metrics>) {
        self.recorder.record_to(metrics);
        for id in self.ready() {
            self.recorder.model_ready(&id, true);
        }
    }

    /// Load the version directory `directory`, which must hold `id`, and make it READY. Blocking:
    /// reads files.
    ///
    /// # Errors
    /// What is wrong with it, which also becomes the state; another content than the one that is
    /// loaded.
    pub fn load(&self, directory: &Path, id: &ModelId) -> Result<Arc<ModelVersion>> {
        let loaded = self.begin(id)?;
        let result = self.read(directory, id);
        let mut entries = self.entries.write();
        match (result, loaded) {
            (Ok(version), Some(loaded)) if loaded.digest() != version.digest() => {
                Err(differs(id, &loaded, &version))
            }
            (Ok(_), Some(loaded)) => Ok(loaded),
            (Ok(version), None) => {
                let version = Arc::new(version);
                entries.insert(id.clone(), Entry::Ready(Arc::clone(&version)));
                self.recorder.model_ready(id, true);
                tracing::info!(
                    model = id.model,
                    version = id.version,
                    digest = version.digest(),
                    "model READY"
                );
                Ok(version)
            }
            // The loaded one goes on serving.
            (Err(error), Some(_)) => Err(error),
            (Err(error), None) => {
                tracing::warn!(
                    model = id.model,
                    version = id.version,
                    error = with_causes(&error),
                    "model UNAVAILABLE"
                );
                entries.insert(id.clone(), Entry::Unavailable(error.to_string()));
                self.recorder.model_ready(id, false);
                Err(error)
            }
        }
    }

    /// The READY version of this id, or mark it LOADING.
    fn begin(&self, id: &ModelId) -> Result<Option<Arc<ModelVersion>>> {
        let mut entries = self.entries.write();
        if let Some(Entry::Ready(version)) = entries.get(id) {
            return Ok(Some(Arc::clone(version)));
        }
        if !entries.contains_key(id) && entries.len() >= MODELS_MAX {
            return Err(InferError::limit(
                format!("{id} would be one more model"),
                "MODELS_MAX",
                MODELS_MAX,
            ));
        }
        entries.insert(id.clone(), Entry::Loading);
        Ok(None)
    }

    fn read(&self, directory: &Path, id: &ModelId) -> Result<ModelVersion> {
        let read = Unverified::read(directory)?;
        let manifest = read.manifest();
        if manifest.model != id.model || manifest.version != id.version {
            let what = format!("is of {}, asked for was {id}", manifest.title());
            return Err(InferError::Manifest {
                path: directory.join(super::manifest::MANIFEST_FILE),
                what,
            });
        }
        if let Some(entry @ Entry::Loading) = self.entries.write().get_mut(id) {
            *entry = Entry::Verifying;
        }
        read.verify()
    }

    /// Read what `CREATE MODEL` names, reproduce its golden rows and check it against the service
    /// that it reads. Changes no state: nothing is served by it before [`ModelStore::publish`], and
    /// what is served goes on. `base` is what a relative path is relative to. Blocking: reads
    /// files.
    ///
    /// # Errors
    /// What is wrong with it; the service lacks a feature, or its fingerprint is another one;
    /// another content than the one that is served under this number.
    pub fn prepare(
        &self,
        definition: &ModelDef,
        base: &Path,
        service: &ServiceSpec,
    ) -> Result<Arc<ModelVersion>> {
        let id = ModelId::new(&definition.name, definition.version);
        let version = self.read(&base.join(&definition.path), &id)?;
        version.check_service(service)?;
        match self.entries.read().get(&id) {
            Some(Entry::Ready(loaded)) if loaded.digest() != version.digest() => {
                Err(differs(&id, loaded, &version))
            }
            Some(Entry::Ready(loaded)) => Ok(Arc::clone(loaded)),
            _ => Ok(Arc::new(version)),
        }
    }

    /// From now on exactly `models` are served, each prepared or UNAVAILABLE for the reason given.
    /// Those of before that are not among them drain.
    pub fn publish(&self, models: Vec<(ModelId, std::result::Result<Arc<ModelVersion>, String>)>) {
        let mut entries = self.entries.write();
        let mut before = std::mem::take(&mut *entries);
        for (id, outcome) in models {
            let was_ready = matches!(before.remove(&id), Some(Entry::Ready(_)));
            self.recorder.model_ready(&id, outcome.is_ok());
            let entry = match outcome {
                Ok(version) => {
                    if !was_ready {
                        let digest = version.digest();
                        tracing::info!(
                            model = id.model,
                            version = id.version,
                            digest,
                            "model READY"
                        );
                    }
                    Entry::Ready(version)
                }
                Err(reason) => Entry::Unavailable(reason),
            };
            entries.insert(id, entry);
        }
        for (id, entry) in before {
            self.recorder.model_ready(&id, false);
            let leaving = match entry {
                Entry::Ready(version) => Arc::downgrade(&version),
                Entry::Leaving(version) => version,
                _ => continue,
            };
            if leaving.strong_count() > 0 {
                entries.insert(id, Entry::Leaving(leaving));
            }
        }
    }

    /// The READY version.
    ///
    /// # Errors
    /// Unknown, or why it is not READY.
    pub fn get(&self, model: &str, version: u32) -> Result<Arc<ModelVersion>> {
        let id = ModelId::new(model, version);
        let entries = self.entries.read();
        match entries.get(&id) {
            Some(Entry::Ready(version)) => Ok(Arc::clone(version)),
            Some(Entry::Unavailable(reason)) => Err(InferError::worker(
                forebay_core::ErrorKind::FailedPrecondition,
                format!("{id} is UNAVAILABLE: {reason}"),
            )),
            Some(Entry::Loading | Entry::Verifying) => Err(InferError::worker(
                forebay_core::ErrorKind::Unavailable,
                format!("{id} is not READY yet"),
            )),
            Some(Entry::Leaving(_)) | None => {
                let ready = entries.iter().filter(|(_, e)| matches!(e, Entry::Ready(_)));
                let known: Vec<String> = ready.map(|(id, _)| id.to_string()).collect();
                let known = if known.is_empty() {
                    "none".to_owned()
                } else {
                    known.join(", ")
                };
                Err(InferError::UnknownModel {
                    model: id.model,
                    version: id.version,
                    known,
                })
            }
        }
    }

    /// Ids of the READY versions.
    #[must_use]
    pub fn ready(&self) -> Vec<ModelId> {
        let entries = self.entries.read();
        entries
            .iter()
            .filter(|(_, e)| matches!(e, Entry::Ready(_)))
            .map(|(id, _)| id.clone())
            .collect()
    }

    /// Every version that was ever asked for, with its state.
    #[must_use]
    pub fn states(&self) -> Vec<(ModelId, ModelState)> {
        let state = |entry: &Entry| match entry {
            Entry::Unavailable(reason) => ModelState::Unavailable(reason.clone()),
            Entry::Loading => ModelState::Loading,
            Entry::Verifying => ModelState::Verifying,
            Entry::Ready(_) => ModelState::Ready,
            Entry::Leaving(version) if version.strong_count() > 0 => ModelState::Draining,
            Entry::Leaving(_) => ModelState::Unloaded,
        };
        self.entries
            .read()
            .iter()
            .map(|(id, entry)| (id.clone(), state(entry)))
            .collect()
    }
}

fn differs(id: &ModelId, loaded: &ModelVersion, offered: &ModelVersion) -> InferError {
    InferError::VersionDiffers {
        model: id.model.clone(),
        version: id.version,
        loaded: loaded.digest().to_owned(),
        offered: offered.digest().to_owned(),
    }
}
