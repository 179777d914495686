//! Inference: model files, the CPU engine, and the workers that score batches of features.
//!
//! A version directory (`model`) with an XGBoost file (`xgboost`) becomes a packed `forest` that
//! gives the training library's margins and scores bit for bit (`math`), in batches of any size.
//! Batches come in through the `Scorer` port: [`LocalScorer`] scores in this process,
//! [`WorkerPool`] sends them to worker processes ([`WorkerService`]) over Flight. `device` says
//! which devices there are. This crate never sees Kafka, RocksDB or a service's definition;
//! features reach it as Arrow batches and predictions leave it as numbers.

#![allow(
    clippy::disallowed_methods,
    reason = "workers are processes of the real world, and so are their deadlines"
)]

mod device;
mod error;
mod forest;
mod ipc;
mod local;
mod math;
mod model;
mod random;
mod recorder;
mod worker;
mod xgboost;

pub use device::{DeviceReport, probe_devices};
pub use error::{InferError, Result};
pub use forest::Forest;
pub use local::LocalScorer;
pub use model::{
    Exactness, FeatureSpec, MANIFEST_FILE, Manifest, Missing, ModelId, ModelState, ModelStore,
    ModelVersion, RawScores, ServiceRef, Unverified,
};
pub use worker::{
    Declined, PoolOptions, REGISTER_WORKER_ACTION, Registration, RegistrationTask,
    UNREGISTER_WORKER_ACTION, WorkerHandle, WorkerInfo, WorkerLoad, WorkerPool, WorkerRegistry,
    WorkerService, register_worker, serve,
};
pub use xgboost::{Objective, XgboostModel};
