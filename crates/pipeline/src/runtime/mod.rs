//! What the pipeline builds on the [`Runtime`] that it is given: threads that can be joined, waits
//! with a limit, and the system's own runtime. Nothing else in this crate spawns, sleeps or reads a
//! clock, so that a whole pipeline can run in a simulation.

mod crew;
mod system;
mod thread;

use std::future::Future;
use std::pin::pin;
use std::time::Duration;

use forebay_core::ports::Runtime;
use forebay_core::{ErrorKind, PortError, PortResult};
use futures::future::{Either, select};

pub(crate) use crew::Crew;
pub use system::SystemRuntime;
pub use thread::Thread;

/// Hold this thread until `future` is done. Not to be called from async code.
pub fn block_on<F: Future>(runtime: &dyn Runtime, future: F) -> F::Output {
    let mut output = None;
    {
        let mut whole = pin!(async { output = Some(future.await) });
        runtime.wait(whole.as_mut());
    }
    output.expect("a runtime waits until the future is done")
}

/// Hold this thread for `pause`.
pub(crate) fn pause(runtime: &dyn Runtime, pause: Duration) {
    runtime.wait(runtime.sleep(pause).as_mut());
}

/// The output of `future`, or None after `longest`.
pub(crate) async fn within<F: Future>(
    runtime: &dyn Runtime,
    longest: Duration,
    future: F,
) -> Option<F::Output> {
    match select(pin!(future), runtime.sleep(longest)).await {
        Either::Left((output, _)) => Some(output),
        Either::Right(_) => None,
    }
}

/// How long a start waits for a table of the archive that every source needs.
pub(crate) const ANSWER_MAX: Duration = Duration::from_secs(30);

/// What `asked` of the archive's `table` gives; an error where it has not answered after `longest`.
/// Holds this thread.
pub(crate) fn in_time<T>(
    runtime: &dyn Runtime,
    (table, longest): (&str, Duration),
    asked: impl Future<Output = PortResult<T>>,
) -> PortResult<T> {
    let silent = || {
        let words = format!("table '{table}' has not answered for {longest:?}");
        PortError::new(ErrorKind::DeadlineExceeded, words)
    };
    block_on(runtime, within(runtime, longest, asked)).unwrap_or_else(|| Err(silent()))
}

#[cfg(test)]
pub(crate) fn for_tests() -> SystemRuntime {
    use std::sync::OnceLock;
    static RUNTIME: OnceLock<tokio::runtime::Runtime> = OnceLock::new();
    let runtime = RUNTIME.get_or_init(|| tokio::runtime::Runtime::new().expect("a runtime"));
    SystemRuntime::new(runtime.handle().clone())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use forebay_testkit::{FakeClock, PassingRuntime};

    use super::*;

    #[test]
    fn the_systems_runtime_and_those_over_it_keep_the_promises() {
        forebay_testkit::conformance::runtime(&for_tests());
        let clock = Arc::new(FakeClock::at(0));
        let passing = PassingRuntime::over(Arc::new(for_tests()), &clock);
        forebay_testkit::conformance::runtime(&passing);
        let crew = Crew::over(Arc::new(for_tests()));
        forebay_testkit::conformance::runtime(&crew);
        crew.wait_for_all();
    }

    #[test]
    fn a_wait_ends_with_the_future_or_with_its_limit() {
        let runtime = for_tests();
        let ready = within(&runtime, Duration::from_secs(60), async { 7 });
        assert_eq!(block_on(&runtime, ready), Some(7));
        let never = within(
            &runtime,
            Duration::from_millis(1),
            std::future::pending::<()>(),
        );
        assert_eq!(block_on(&runtime, never), None);
    }

    #[test]
    fn a_thread_gives_its_outcome_and_a_panic_gives_none() {
        let runtime: Arc<dyn Runtime> = Arc::new(for_tests());
        let thread = Thread::spawn(&runtime, "seven", || 7).expect("a thread");
        assert_eq!(thread.join(), Some(7));
        let thread = Thread::spawn(&runtime, "panics", || assert!(false_on_purpose()));
        assert_eq!(thread.expect("a thread").join(), None);
    }

    fn false_on_purpose() -> bool {
        false
    }
}
