//! The runtime of a simulation: threads of which one runs at a time, drawn by a seed, on a virtual
//! clock that jumps when all of them wait. The same seed and the same code make the same choices;
//! [`Report::trace`] says whether they did.

mod kernel;
mod pool;

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use forebay_core::PortResult;
use forebay_core::ports::{Body, Runtime, Task};
use forebay_core::time::{Clock, Micros};
use parking_lot::Mutex;

pub use kernel::Report;
use kernel::{Kernel, TaskWaker};

/// The runtime of one simulated world. Clones are the same runtime.
#[derive(Debug, Clone)]
pub struct SimRuntime(Arc<Kernel>);

/// Run `driver`, and everything that it starts, with the choices of `seed`. The run is over when
/// all threads have ended.
pub fn simulate<T: Send + 'static>(
    seed: u64,
    driver: impl FnOnce(SimRuntime) -> T + Send + 'static,
) -> (Option<T>, Report) {
    let kernel = Arc::new(Kernel::new(seed));
    let outcome = Arc::new(Mutex::new(None));
    let (runtime, slot) = (SimRuntime(Arc::clone(&kernel)), Arc::clone(&outcome));
    kernel.spawn("driver", move || {
        let value = driver(runtime);
        *slot.lock() = Some(value);
    });
    let report = kernel.run();
    let value = outcome.lock().take();
    (value, report)
}

impl SimRuntime {
    /// Let another thread go first, perhaps.
    pub fn pass(&self) {
        self.0.pass(Kernel::current());
    }

    /// Hold this thread for `pause`.
    pub fn pause(&self, pause: Duration) {
        self.wait(self.sleep(pause).as_mut());
    }

    /// Wait until `done`, `longest` at most. Whether it is.
    pub fn wait_until(&self, longest: Duration, mut done: impl FnMut() -> bool) -> bool {
        const LOOK: Duration = Duration::from_millis(20);
        let deadline = self.0.now() + longest;
        while !done() {
            if self.0.now() >= deadline {
                return false;
            }
            self.pause(LOOK);
        }
        true
    }

    /// Set `over` at the task switch after so many others, whatever the tasks wait for then.
    pub fn end_after(&self, switches: u64, over: &Arc<AtomicBool>) {
        self.0.end_after(switches, Arc::clone(over));
    }

    /// Something that a repetition of this seed must meet too.
    pub fn note(&self, what: u64) {
        self.0.note(what);
    }
}

impl Runtime for SimRuntime {
    fn elapsed(&self) -> Duration {
        self.0.now()
    }

    fn sleep(&self, pause: Duration) -> Task<()> {
        Box::pin(Sleep {
            kernel: Arc::clone(&self.0),
            due: self.0.now() + pause,
            timer: None,
        })
    }

    fn spawn_thread(&self, name: &str, body: Body) -> PortResult<()> {
        self.0.spawn(name, body);
        Ok(())
    }

    fn spawn_task(&self, name: &str, mut task: Task<()>) {
        let runtime = self.clone();
        self.0.spawn(name, move || runtime.wait(task.as_mut()));
    }

    fn wait(&self, future: Pin<&mut (dyn Future<Output = ()> + '_)>) {
        let id = Kernel::current();
        let kernel = Arc::clone(&self.0);
        let waker = Waker::from(Arc::new(TaskWaker { kernel, id }));
        let mut context = Context::from_waker(&waker);
        let mut future = pin!(future);
        self.0.pass(id);
        loop {
            self.0.polls(id);
            if future.as_mut().poll(&mut context).is_ready() {
                break;
            }
            self.0.block(id);
        }
        self.0.look_again(id);
    }
}

/// A sleep on the virtual clock.
#[derive(Debug)]
struct Sleep {
    kernel: Arc<Kernel>,
    due: Duration,
    timer: Option<(Duration, u64)>,
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if let Some(timer) = self.timer.take() {
            self.kernel.take_timer(timer);
        }
        if self.kernel.now() >= self.due {
            return Poll::Ready(());
        }
        let timer = self.kernel.set_timer(self.due, context.waker().clone());
        self.timer = Some(timer);
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if let Some(timer) = self.timer.take() {
            self.kernel.take_timer(timer);
        }
    }
}

/// The present of a simulation: its virtual clock, from a first moment on, and as far off as
/// somebody has set it.
#[derive(Debug)]
pub struct SimClock {
    runtime: SimRuntime,
    began_us: Micros,
    stepped_us: Arc<AtomicI64>,
}

impl SimClock {
    /// A clock that shows `began_us` when the simulation begins, and is `stepped_us` off.
    #[must_use]
    pub fn new(runtime: &SimRuntime, began_us: Micros, stepped_us: &Arc<AtomicI64>) -> Self {
        Self {
            runtime: runtime.clone(),
            began_us,
            stepped_us: Arc::clone(stepped_us),
        }
    }
}

impl Clock for SimClock {
    fn now_us(&self) -> Micros {
        let elapsed = self.runtime.elapsed().as_micros();
        let elapsed = Micros::try_from(elapsed).expect("a run is shorter than 290,000 years");
        self.began_us + elapsed + self.stepped_us.load(Ordering::SeqCst)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use tokio::sync::watch;

    use super::*;

    /// Three threads that take turns; the order in which they did.
    fn turns(seed: u64) -> (Vec<usize>, Report) {
        let (turns, report) = simulate(seed, |runtime| {
            let turns = Arc::new(Mutex::new(Vec::new()));
            for number in 0..3 {
                let (own, turns) = (runtime.clone(), Arc::clone(&turns));
                let body = move || {
                    for _ in 0..4 {
                        turns.lock().push(number);
                        own.pass();
                    }
                };
                runtime
                    .spawn_thread("turn", Box::new(body))
                    .expect("it starts");
            }
            assert!(runtime.wait_until(Duration::from_secs(1), || turns.lock().len() == 12));
            turns.lock().split_off(0)
        });
        (turns.expect("it ends"), report)
    }

    #[test]
    fn the_same_seed_makes_the_same_choices_and_another_makes_others() {
        let (first, report) = turns(1);
        assert_eq!((first.clone(), report), turns(1));
        assert!((2..20).any(|seed| turns(seed).0 != first));
    }

    #[test]
    fn the_order_in_which_a_channel_wakes_its_waiters_is_no_choice() {
        let trace = || {
            let (_, report) = simulate(5, |runtime| {
                let (tell, heard) = (watch::Sender::new(false), Arc::new(AtomicUsize::new(0)));
                for _ in 0..6 {
                    let (mut told, heard) = (tell.subscribe(), Arc::clone(&heard));
                    let waits = async move {
                        told.wait_for(|told| *told).await.expect("it is told");
                        heard.fetch_add(1, Ordering::SeqCst);
                    };
                    runtime.spawn_task("waits", Box::pin(waits));
                }
                runtime.pause(Duration::from_secs(1));
                tell.send_replace(true);
                let done = || heard.load(Ordering::SeqCst) == 6;
                assert!(runtime.wait_until(Duration::from_secs(1), done));
            });
            assert_eq!(report.failure, None);
            report.trace
        };
        let first = trace();
        assert!((0..20).all(|_| trace() == first));
    }

    #[test]
    fn a_process_ends_at_the_switch_that_is_named_and_the_others_go_on() {
        let ended_at = |switches: u64| {
            let (turns, report) = simulate(3, move |runtime| {
                let (turns, over) = (Arc::new(Mutex::new(Vec::new())), Arc::default());
                runtime.end_after(switches, &over);
                for _ in 0..3 {
                    let (own, turns, over) =
                        (runtime.clone(), Arc::clone(&turns), Arc::clone(&over));
                    let body = move || {
                        for _ in 0..4 {
                            turns.lock().push(over.load(Ordering::SeqCst));
                            own.pass();
                        }
                    };
                    runtime
                        .spawn_thread("turn", Box::new(body))
                        .expect("it starts");
                }
                runtime.wait_until(Duration::from_secs(1), || turns.lock().len() == 12);
                turns.lock().split_off(0)
            });
            let turns = turns.expect("it ends");
            assert!(turns.is_sorted(), "what has ended stays so: {turns:?}");
            (turns.iter().filter(|over| !**over).count(), report.trace)
        };
        let (first, trace) = ended_at(0);
        assert_eq!((first, ended_at(u64::MAX).0), (0, 12));
        let places: Vec<usize> = (0..30).map(|switches| ended_at(switches).0).collect();
        assert!(places.is_sorted() && places.contains(&5), "{places:?}");
        assert_ne!(ended_at(9).1, trace, "the trace tells where");
    }

    #[test]
    fn a_long_sleep_takes_no_time_and_the_shorter_one_ends_first() {
        let (order, report) = simulate(7, |runtime| {
            let order = Arc::new(Mutex::new(Vec::new()));
            for hours in [30, 10, 20] {
                let (own, order) = (runtime.clone(), Arc::clone(&order));
                let body = move || {
                    own.pause(Duration::from_secs(hours * 3_600));
                    order.lock().push(hours);
                };
                runtime
                    .spawn_thread("sleeper", Box::new(body))
                    .expect("it starts");
            }
            runtime.pause(Duration::from_secs(40 * 3_600));
            order.lock().split_off(0)
        });
        assert_eq!(order, Some(vec![10, 20, 30]));
        assert_eq!(report.failure, None);
        assert_eq!(report.virtual_time, Duration::from_secs(40 * 3_600));
    }

    #[test]
    fn threads_that_wait_for_one_another_and_a_panic_are_told() {
        let (_, report) = simulate(1, |runtime| {
            runtime.wait(pin!(std::future::pending::<()>()));
        });
        assert_eq!(
            report.failure.as_deref(),
            Some("driver wait for one another")
        );
        let (_, report) = simulate(1, |_| assert!(std::hint::black_box(false), "on purpose"));
        let words = report.failure.expect("it failed");
        assert!(words.contains("driver panicked: on purpose"), "{words}");
    }
}
