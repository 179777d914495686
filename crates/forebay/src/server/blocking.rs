//! How an action of a running server does what blocks: on a thread of its own, its error with the
//! exit code's words.

use forebay_core::{ErrorKind, PortError, PortResult};

use crate::exit;

/// Run `work` where it may block.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> anyhow::Result<T> + Send + 'static,
) -> PortResult<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(outcome) => outcome.map_err(|error| exit::port_error(&error)),
        Err(error) => Err(PortError::with_source(
            ErrorKind::Internal,
            "an action was cut off",
            error,
        )),
    }
}
