//! Decides who runs: tasks are threads of which one holds the baton, the next is drawn from those
//! that can run, and when none can, virtual time jumps to the next timer. All choices follow from
//! one seed. Tasks call it, nothing else does; it knows nothing of what they do.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Wake, Waker};
use std::time::Duration;

use forebay_testkit::Random;
use parking_lot::{Condvar, Mutex};

use super::pool;

/// Choices after which a run counts as one that does not end.
const CHOICES_MAX: u64 = 300_000;
/// Virtual time after which it does.
const VIRTUAL_MAX: Duration = Duration::from_secs(90 * 24 * 3_600);
/// Real time after which a task is taken for one that waits outside the runtime.
const REAL_MAX: Duration = Duration::from_secs(120);

thread_local! {
    /// The task that this thread runs.
    static CURRENT: Cell<Option<usize>> = const { Cell::new(None) };
}

/// Who runs, who waits for what, and what the virtual clock says.
#[derive(Debug)]
pub(super) struct Kernel {
    state: Mutex<State>,
    over: Condvar,
}

#[derive(Debug)]
struct State {
    now: Duration,
    random: Random,
    tasks: Vec<Task>,
    /// In order: who is drawn follows from who can run, and not from who was woken first, which a
    /// channel may leave to chance.
    ready: BTreeSet<usize>,
    /// By due time and order of making.
    timers: BTreeMap<(Duration, u64), Waker>,
    timers_made: u64,
    alive: usize,
    choices: u64,
    /// The choice with which a process ends, and what tells it.
    end: Option<(u64, Arc<AtomicBool>)>,
    trace: u64,
    failure: Option<String>,
}

#[derive(Debug)]
struct Task {
    name: String,
    gate: Arc<Gate>,
    phase: Phase,
    /// Woken since it was last polled.
    woken: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Ready,
    Running,
    Waiting,
    Ended,
}

/// What a thread without the baton waits at.
#[derive(Debug, Default)]
struct Gate {
    open: Mutex<bool>,
    opened: Condvar,
}

impl Gate {
    fn open(&self) {
        *self.open.lock() = true;
        self.opened.notify_one();
    }

    fn pass(&self) {
        let mut open = self.open.lock();
        while !*open {
            self.opened.wait(&mut open);
        }
        *open = false;
    }
}

/// How a run went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// Why it failed, if it did.
    pub failure: Option<String>,
    /// A digest of all choices: equal for two runs of one seed.
    pub trace: u64,
    /// How often somebody was drawn.
    pub choices: u64,
    /// How long it took on the virtual clock.
    pub virtual_time: Duration,
}

impl Kernel {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            state: Mutex::new(State {
                now: Duration::ZERO,
                random: Random::new(seed),
                tasks: Vec::new(),
                ready: BTreeSet::new(),
                timers: BTreeMap::new(),
                timers_made: 0,
                alive: 0,
                choices: 0,
                end: None,
                trace: 0,
                failure: None,
            }),
            over: Condvar::new(),
        }
    }

    pub(super) fn now(&self) -> Duration {
        self.state.lock().now
    }

    /// The task that the calling thread runs.
    pub(super) fn current() -> usize {
        CURRENT
            .get()
            .expect("only tasks of a simulation wait in it")
    }

    /// A new task, which runs when it is drawn.
    pub(super) fn spawn(self: &Arc<Self>, name: &str, body: impl FnOnce() + Send + 'static) {
        let gate = Arc::<Gate>::default();
        let id = {
            let mut state = self.state.lock();
            state.tasks.push(Task {
                name: name.to_owned(),
                gate: Arc::clone(&gate),
                phase: Phase::Ready,
                woken: false,
            });
            let id = state.tasks.len() - 1;
            state.ready.insert(id);
            state.alive += 1;
            id
        };
        let kernel = Arc::clone(self);
        pool::run(move || {
            gate.pass();
            CURRENT.set(Some(id));
            let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(body));
            CURRENT.set(None);
            kernel.ended(id, outcome.err().map(|panic| words_of(panic.as_ref())));
        });
    }

    /// Draw the first task, and hold this thread until all have ended or the run has failed.
    #[allow(
        clippy::disallowed_methods,
        reason = "the thread outside the simulation waits for real time"
    )]
    pub(super) fn run(&self) -> Report {
        self.give_on();
        let mut state = self.state.lock();
        while state.alive > 0 && state.failure.is_none() {
            if self.over.wait_for(&mut state, REAL_MAX).timed_out() {
                let names = state.names(Phase::Running);
                state.failure = Some(format!("{names} waits outside the runtime"));
            }
        }
        Report {
            failure: state.failure.clone(),
            trace: state.trace,
            choices: state.choices,
            virtual_time: state.now,
        }
    }

    /// Something that a repetition must do too.
    pub(super) fn note(&self, what: u64) {
        self.state.lock().mix(what);
    }

    /// Set `over` when so many more tasks were drawn, before the last of them goes on: between any
    /// two polls of any task. It replaces what was to be set before.
    pub(super) fn end_after(&self, choices: u64, over: Arc<AtomicBool>) {
        let mut state = self.state.lock();
        state.end = Some((state.choices.saturating_add(choices), over));
    }

    /// Another task may go first.
    pub(super) fn pass(&self, id: usize) {
        {
            let mut state = self.state.lock();
            state.tasks[id].phase = Phase::Ready;
            state.ready.insert(id);
        }
        self.hand_over(id);
    }

    /// Wait until task `id` is woken; at once if it was since [`Self::polls`].
    pub(super) fn block(&self, id: usize) {
        {
            let mut state = self.state.lock();
            if state.tasks[id].woken {
                return;
            }
            state.tasks[id].phase = Phase::Waiting;
        }
        self.hand_over(id);
    }

    /// Task `id` is about to look: what wakes it from now on counts.
    pub(super) fn polls(&self, id: usize) {
        self.state.lock().tasks[id].woken = false;
    }

    /// Have task `id` look once more: whoever waited inside its look may have taken its wake.
    pub(super) fn look_again(&self, id: usize) {
        self.state.lock().tasks[id].woken = true;
    }

    /// Wake `waker` at `due`; what takes it back.
    pub(super) fn set_timer(&self, due: Duration, waker: Waker) -> (Duration, u64) {
        let mut state = self.state.lock();
        state.timers_made += 1;
        let key = (due, state.timers_made);
        state.timers.insert(key, waker);
        key
    }

    pub(super) fn take_timer(&self, key: (Duration, u64)) {
        self.state.lock().timers.remove(&key);
    }

    fn ended(&self, id: usize, panic: Option<String>) {
        {
            let mut state = self.state.lock();
            state.tasks[id].phase = Phase::Ended;
            state.alive -= 1;
            if let Some(words) = panic {
                let name = state.tasks[id].name.clone();
                state.fail(format!("{name} panicked: {words}"));
            }
            if state.alive == 0 || state.failure.is_some() {
                self.over.notify_all();
                return;
            }
        }
        self.give_on();
    }

    fn hand_over(&self, id: usize) {
        let gate = Arc::clone(&self.state.lock().tasks[id].gate);
        self.give_on();
        gate.pass();
    }

    /// Draw who runs next, and let it. After a failure nobody does.
    fn give_on(&self) {
        loop {
            let due = {
                let mut state = self.state.lock();
                if state.failure.is_some() {
                    self.over.notify_all();
                    return;
                }
                if let Some(gate) = state.draw() {
                    gate.open();
                    return;
                }
                state.jump()
            };
            // Wakers lock the state again.
            due.into_iter().for_each(Waker::wake);
        }
    }
}

impl State {
    /// Draw one that can run.
    fn draw(&mut self) -> Option<Arc<Gate>> {
        if self.ready.is_empty() {
            return None;
        }
        let at = self.random.below(self.ready.len());
        let id = *self.ready.iter().nth(at)?;
        self.ready.remove(&id);
        self.choices += 1;
        self.mix(id as u64);
        let choices = self.choices;
        if let Some((at, over)) = self.end.take_if(|(at, _)| *at <= choices) {
            over.store(true, Ordering::SeqCst);
            self.mix(at);
        }
        if self.choices > CHOICES_MAX {
            let names = self.names(Phase::Ready);
            self.fail(format!("it does not end: {names} run on and on"));
        }
        let task = &mut self.tasks[id];
        task.phase = Phase::Running;
        Some(Arc::clone(&task.gate))
    }

    /// Nobody can run: go to the next timer. Those to wake.
    fn jump(&mut self) -> Vec<Waker> {
        let Some(&(due, _)) = self.timers.keys().next() else {
            let names = self.names(Phase::Waiting);
            self.fail(format!("{names} wait for one another"));
            return Vec::new();
        };
        self.now = self.now.max(due);
        self.mix(due.as_secs() ^ (u64::from(due.subsec_nanos()) << 32));
        if self.now > VIRTUAL_MAX {
            let names = self.names(Phase::Waiting);
            self.fail(format!("it does not end: {names} wait again and again"));
        }
        let later = self.timers.split_off(&(due, u64::MAX));
        let woken = std::mem::replace(&mut self.timers, later);
        woken.into_values().collect()
    }

    fn mix(&mut self, what: u64) {
        self.trace = Random::new(self.trace ^ what).bits();
    }

    fn fail(&mut self, words: String) {
        self.failure.get_or_insert(words);
    }

    fn names(&self, phase: Phase) -> String {
        let of_phase = self.tasks.iter().filter(|task| task.phase == phase);
        let names: Vec<&str> = of_phase.map(|task| task.name.as_str()).collect();
        names.join(", ")
    }
}

fn words_of(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
    text.unwrap_or("no words").to_owned()
}

/// Wakes one task.
#[derive(Debug)]
pub(super) struct TaskWaker {
    pub(super) kernel: Arc<Kernel>,
    pub(super) id: usize,
}

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        let mut state = self.kernel.state.lock();
        let task = &mut state.tasks[self.id];
        task.woken = true;
        if task.phase == Phase::Waiting {
            task.phase = Phase::Ready;
            state.ready.insert(self.id);
        }
    }
}
