//! Worker processes, both ends. The server's: `registry` (who is there), `balance` (who gets the
//! next batch), `breaker` (who has failed and is probed), `stream` (one exchange) and its `slot`,
//! `route` (a batch's way to an answer), `pool` (the `Scorer` port over them). The worker's:
//! `service` (answers exchanges), `flight` (the gRPC trait), `register` (makes itself known).
//! `protocol` is what travels between them.

mod balance;
mod breaker;
mod flight;
mod options;
mod pool;
mod protocol;
mod register;
mod registry;
mod route;
mod service;
mod slot;
mod stream;

pub use options::PoolOptions;
pub use pool::WorkerPool;
pub use register::{RegistrationTask, register_worker};
pub use registry::{
    REGISTER_WORKER_ACTION, Registration, UNREGISTER_WORKER_ACTION, WorkerInfo, WorkerRegistry,
};
pub use route::Declined;
pub use service::{WorkerHandle, WorkerLoad, WorkerService, serve};
