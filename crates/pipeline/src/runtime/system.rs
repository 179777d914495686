//! The system's runtime: threads of the operating system, tasks and timers of tokio. What the
//! binary gives the pipeline; here alone the crate may spawn, sleep and read a clock.

#![allow(clippy::disallowed_methods, reason = "this is the replacement")]

use std::future::Future;
use std::pin::Pin;
use std::time::{Duration, Instant};

use forebay_core::ports::{Body, Runtime, Task};
use forebay_core::{ErrorKind, PortError, PortResult};

/// Threads of the operating system, tasks and timers of tokio.
#[derive(Debug, Clone)]
pub struct SystemRuntime {
    handle: tokio::runtime::Handle,
    began: Instant,
}

impl SystemRuntime {
    /// Over the tokio runtime of `handle`, which must outlive it.
    #[must_use]
    pub fn new(handle: tokio::runtime::Handle) -> Self {
        Self {
            handle,
            began: Instant::now(),
        }
    }
}

impl Runtime for SystemRuntime {
    fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    fn sleep(&self, pause: Duration) -> Task<()> {
        // The timer is made where it is waited for, which is inside the runtime.
        Box::pin(async move { tokio::time::sleep(pause).await })
    }

    fn spawn_thread(&self, name: &str, body: Body) -> PortResult<()> {
        let spawned = std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(body);
        spawned.map(drop).map_err(|error| {
            let words = format!("cannot start the thread {name}");
            PortError::with_source(ErrorKind::ResourceExhausted, words, error)
        })
    }

    fn spawn_task(&self, _name: &str, task: Task<()>) {
        self.handle.spawn(task);
    }

    fn wait(&self, future: Pin<&mut (dyn Future<Output = ()> + '_)>) {
        self.handle.block_on(future);
    }
}
