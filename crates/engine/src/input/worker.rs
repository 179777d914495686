//! A thread for work that takes long: reading files, sliding windows, running a plan. The caller
//! waits without blocking its runtime. The stack is large because plans and expressions are deep
//! trees.

#![allow(
    clippy::disallowed_methods,
    reason = "planning needs a thread with a larger stack, and its caller waits for it"
)]

use futures::channel::oneshot;

use crate::error::{EngineError, Result};

/// Stack of a working thread, bytes. Memory that is not touched costs nothing.
pub(crate) const STACK_BYTES: usize = 32 << 20;

/// Run `work` on a thread of its own and wait for it. If the caller stops waiting, the work still
/// runs to its end.
pub(crate) async fn in_background<T: Send + 'static>(
    name: &str,
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    let (done, result) = oneshot::channel();
    std::thread::Builder::new()
        .name(name.to_owned())
        .stack_size(STACK_BYTES)
        .spawn(move || {
            // Nobody may be waiting any more.
            let _gone = done.send(work());
        })
        .map_err(|e| EngineError::Internal(format!("cannot start a thread: {e}")))?;
    // A panic on the thread has printed itself; it must not take the caller down.
    result.await.unwrap_or_else(|_| {
        Err(EngineError::Internal(format!(
            "thread {name} ended with a panic"
        )))
    })
}
