//! Where definitions are planned: each time on a thread of its own with a large stack, since a plan
//! is a deep tree and DataFusion walks it by recursion. Nobody has to wait for the thread: one that
//! hangs in DataFusion is left behind, ends at its next question whether to go on, and keeps no
//! process from stopping.
//!
//! `catalog` starts it, and hands the answer over as a future or waits itself.

use std::any::Any;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::thread::JoinHandle;

use tokio::sync::oneshot;

use crate::error::{EngineError, Result};
use crate::patience::Patience;

/// Stack of planning, bytes. Measured for chains at the cap of operators, in debug builds.
const STACK_BYTES: usize = 32 << 20;

/// The answer of a thread that plans. Dropped, it leaves the thread behind.
#[derive(Debug)]
pub struct Planning<T>(oneshot::Receiver<Result<T>>);

impl<T> Future for Planning<T> {
    type Output = Result<T>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<T>> {
        let answer = ready!(Pin::new(&mut self.0).poll(context));
        Poll::Ready(answer.unwrap_or_else(|_| Err(lost())))
    }
}

/// Start `work` and hand over its answer.
///
/// # Errors
/// The system gives no thread.
pub(super) fn start<T: Send + 'static>(
    patience: &Arc<Patience>,
    work: impl FnOnce(&Arc<Patience>) -> Result<T> + Send + 'static,
) -> Result<Planning<T>> {
    spawned(patience, work).map(|(planning, _)| planning)
}

/// Run `work` and wait for it.
///
/// # Errors
/// Those of `work`; it panics.
pub(super) fn run<T: Send + 'static>(
    work: impl FnOnce(&Arc<Patience>) -> Result<T> + Send + 'static,
) -> Result<T> {
    let (mut planning, thread) = spawned(&Arc::new(Patience::endless()), work)?;
    // Its panics are answers.
    thread.join().map_err(|_| lost())?;
    planning.0.try_recv().unwrap_or_else(|_| Err(lost()))
}

#[allow(
    clippy::disallowed_methods,
    reason = "planning needs a larger stack than any thread of a runtime has"
)]
fn spawned<T: Send + 'static>(
    patience: &Arc<Patience>,
    work: impl FnOnce(&Arc<Patience>) -> Result<T> + Send + 'static,
) -> Result<(Planning<T>, JoinHandle<()>)> {
    let (answer, planning) = oneshot::channel();
    let patience = Arc::clone(patience);
    let thread = std::thread::Builder::new()
        .name("forebay-plan".to_owned())
        .stack_size(STACK_BYTES)
        .spawn(move || {
            let outcome = guarded(&patience, || work(&patience));
            // Let go of before the answer is there: who has it may plan again.
            drop(patience);
            drop(answer.send(outcome));
        })
        .map_err(|error| {
            let words = format!("a thread for planning could not be started: {error}");
            EngineError::Internal(words)
        })?;
    Ok((Planning(planning), thread))
}

/// Run `work`; its panic is an error. What `work` changes has to be whole at each place where it
/// may panic.
pub(super) fn guarded<T>(patience: &Patience, work: impl FnOnce() -> Result<T>) -> Result<T> {
    let outcome = catch_unwind(AssertUnwindSafe(work));
    outcome.unwrap_or_else(|panic| Err(panicked(patience, panic.as_ref())))
}

fn panicked(patience: &Patience, panic: &(dyn Any + Send)) -> EngineError {
    let words = panic.downcast_ref::<&str>().copied();
    let words = words.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    EngineError::Internal(format!(
        "planning {} panicked: {}",
        patience.object(),
        words.unwrap_or("it said nothing")
    ))
}

fn lost() -> EngineError {
    EngineError::Internal("a thread for planning ended without an answer".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_an_error_that_names_what_was_planned() {
        let error = run::<()>(|patience| {
            patience.begin("feature view v")?;
            panic!("an index is out of bounds");
        })
        .expect_err("it panics");
        let words = "engine: planning feature view v panicked: an index is out of bounds";
        assert_eq!(error.to_string(), words);
    }

    #[tokio::test]
    async fn what_hangs_is_left_behind_and_ends_when_it_asks() {
        let (going, gone) = (Arc::new(()), Arc::new(()));
        let held = Arc::downgrade(&going);
        let patience = Arc::new(Patience::new(move || Arc::strong_count(&going) > 1));
        let (leave, left) = oneshot::channel::<()>();
        let seen = Arc::clone(&gone);
        let planning = start::<()>(&patience, move |patience| {
            let _seen = seen;
            left.blocking_recv().expect("the test says so");
            patience.ask()?;
            Ok(())
        })
        .expect("a thread");
        patience.cancel();
        drop((planning, patience));
        assert!(held.upgrade().is_some(), "the thread goes on");
        leave.send(()).expect("it waits");
        while held.upgrade().is_some() || Arc::strong_count(&gone) > 1 {
            tokio::task::yield_now().await;
        }
    }
}
