//! Worker processes, both ends. The server's: `registry` (who is there), `balance` (who gets the
//! next batch), `stream` (one exchange), `pool` (the `Scorer` port over them). The worker's:
//! `service` (answers exchanges), `flight` (the gRPC trait), `register` (makes itself known).
//! `protocol` is what travels between them.

mod balance;
mod flight;
mod pool;
mod protocol;
mod register;
mod registry;
mod service;
mod stream;

pub use pool::{PoolOptions, WorkerPool};
pub use register::{RegistrationTask, register_worker};
pub use registry::{
    REGISTER_WORKER_ACTION, Registration, UNREGISTER_WORKER_ACTION, WorkerInfo, WorkerRegistry,
};
pub use service::{WorkerHandle, WorkerLoad, WorkerService, serve};
