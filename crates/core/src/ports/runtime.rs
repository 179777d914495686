//! Where threads, tasks, sleeps and monotonic time come from. The binary passes the system's; a
//! simulation passes one that runs a single thread at a time, chosen by a seed, on a virtual clock.
//! Whatever waits, waits through this port, else a simulation would stand still with it.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use crate::PortResult;

/// A future that owns what it needs.
pub type Task<T> = Pin<Box<dyn Future<Output = T> + Send>>;
/// What a thread runs.
pub type Body = Box<dyn FnOnce() + Send>;

/// Threads, tasks, sleeps and monotonic time.
pub trait Runtime: Send + Sync + fmt::Debug {
    /// Time since the runtime began; it never goes back.
    fn elapsed(&self) -> Duration;

    /// Done after `pause`.
    fn sleep(&self, pause: Duration) -> Task<()>;

    /// Run `body` on a thread of its own.
    ///
    /// # Errors
    /// The system gives no thread.
    fn spawn_thread(&self, name: &str, body: Body) -> PortResult<()>;

    /// Run `task` beside all else.
    fn spawn_task(&self, name: &str, task: Task<()>);

    /// Hold the calling thread until `future` is done. Not to be called from a task.
    fn wait(&self, future: Pin<&mut (dyn Future<Output = ()> + '_)>);
}
