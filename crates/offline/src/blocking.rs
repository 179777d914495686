//! File work and decoding, off the threads that others wait for: on the runtime's pool where the
//! caller runs on a runtime, in place where it does not (a working thread of the caller's own).

use tokio::task::JoinError;

/// Run `work` and wait for it.
///
/// # Errors
/// `work` panicked on the pool.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, JoinError> {
    #[allow(
        clippy::disallowed_methods,
        reason = "the simulation has no file: its archive is in memory"
    )]
    match tokio::runtime::Handle::try_current() {
        Ok(runtime) => runtime.spawn_blocking(work).await,
        Err(_) => Ok(work()),
    }
}
