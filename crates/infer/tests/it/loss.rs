//! Killing a worker loses nothing: batches in flight are answered by another one, also
//! when the only worker is replaced, and a worker that goes silent is given up after its
//! time.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use forebay_core::ErrorKind;
use forebay_core::PortResult;
use forebay_core::ports::{Scorer, Scores};
use forebay_infer::{LocalScorer, PoolOptions, WorkerPool, WorkerService, serve};
use futures::future::join_all;
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;

use crate::exchange::same_bits;
use crate::fixture::{MODEL, Silent, Worker, options, registry, rows, runtime, store, wait_for};

/// Tasks that ask at the same time.
const CALLERS: u64 = 24;
const ROWS: usize = 300;

/// Seed of a batch, and what became of it.
type Answered = (u64, PortResult<Scores>);
type Running = Vec<JoinHandle<PortResult<Scores>>>;

fn ask(runtime: &Runtime, pool: &WorkerPool, batches: usize) -> Running {
    let one = |seed: usize| {
        let pool = pool.clone();
        runtime.spawn(async move { pool.score(MODEL, 1, rows(ROWS, seed as u64)).await })
    };
    (0..batches).map(one).collect()
}

fn check_all(runtime: &Runtime, running: Running) {
    let local = LocalScorer::new(store(&[MODEL]));
    for (seed, scored) in runtime.block_on(join_all(running)).into_iter().enumerate() {
        let scored = scored
            .expect("no task panics")
            .unwrap_or_else(|error| panic!("batch {seed} was lost: {error}"));
        let here = runtime
            .block_on(local.score(MODEL, 1, rows(ROWS, seed as u64)))
            .expect("scored");
        assert!(same_bits(&scored, &here), "batch {seed}");
    }
}

/// Callers that ask for one batch after the other until they are told to stop.
struct Load {
    stop: Arc<AtomicBool>,
    callers: Vec<JoinHandle<Vec<Answered>>>,
}

impl Load {
    fn start(runtime: &Runtime, pool: &WorkerPool) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let caller = |caller: u64| {
            let (pool, stop) = (pool.clone(), Arc::clone(&stop));
            runtime.spawn(async move {
                let mut scored = Vec::new();
                while !stop.load(Ordering::SeqCst) {
                    let seed = caller * 1_000_000 + scored.len() as u64;
                    scored.push((seed, pool.score(MODEL, 1, rows(ROWS, seed)).await));
                }
                scored
            })
        };
        let callers = (0..CALLERS).map(caller).collect();
        Self { stop, callers }
    }

    /// Every batch was answered, with the right scores.
    fn check(self, runtime: &Runtime) {
        self.stop.store(true, Ordering::SeqCst);
        let local = LocalScorer::new(store(&[MODEL]));
        for caller in runtime.block_on(join_all(self.callers)) {
            for (seed, scored) in caller.expect("no task panics") {
                let scored =
                    scored.unwrap_or_else(|error| panic!("batch {seed} was lost: {error}"));
                let here = local
                    .store()
                    .get(MODEL, 1)
                    .and_then(|version| version.score(&rows(ROWS, seed), 1))
                    .expect("scored");
                assert!(same_bits(&scored, &here.into()), "batch {seed}");
            }
        }
    }
}

#[test]
fn a_worker_killed_in_mid_stream_loses_no_batch() {
    let runtime = runtime(2);
    let (victim, survivor) = (
        Worker::start(store(&[MODEL])),
        Worker::start(store(&[MODEL])),
    );
    let pool = WorkerPool::new(
        registry(&[&victim, &survivor]),
        runtime.handle().clone(),
        options(),
    );
    let callers = Load::start(&runtime, &pool);
    let (at_victim, at_survivor) = (
        victim.service.clone().expect("real"),
        survivor.service.clone().expect("real"),
    );
    wait_for("the victim at work", || {
        at_victim.load().answered_batches > 20
    });
    victim.kill();
    let before = at_survivor.load().answered_batches;
    wait_for("the survivor goes on", || {
        at_survivor.load().answered_batches > before + 50
    });
    callers.check(&runtime);
}

#[test]
fn batches_that_a_dead_worker_had_taken_are_answered_by_another() {
    let runtime = runtime(2);
    let silent = Silent::default();
    let victim = Worker::start_with(silent.clone());
    let registry = registry(&[&victim]);
    let pool = WorkerPool::new(Arc::clone(&registry), runtime.handle().clone(), options());
    let running = ask(&runtime, &pool, 40);
    // One opening message and every batch: all of them are in the hands of a worker that will never
    // answer.
    wait_for("all batches taken", || {
        silent.taken.load(Ordering::SeqCst) == 41
    });
    assert!(running.iter().all(|task| !task.is_finished()));
    let survivor = Worker::start(store(&[MODEL]));
    registry
        .add_static(&survivor.address.to_string())
        .expect("an address");
    victim.kill();
    check_all(&runtime, running);
}

#[test]
fn a_worker_that_goes_silent_is_given_up_after_its_time() {
    let runtime = runtime(2);
    let (stalled, healthy) = (
        Worker::start_with(Silent::default()),
        Worker::start(store(&[MODEL])),
    );
    let options = PoolOptions {
        answer_timeout: Duration::from_millis(150),
        ..options()
    };
    let pool = WorkerPool::new(
        registry(&[&stalled, &healthy]),
        runtime.handle().clone(),
        options,
    );
    check_all(&runtime, ask(&runtime, &pool, 40));
}

#[test]
fn a_listener_that_never_speaks_is_no_worker() {
    let runtime = runtime(2);
    // Connections are accepted by the kernel and nobody reads them.
    let mute = std::net::TcpListener::bind("127.0.0.1:0").expect("listens");
    let healthy = Worker::start(store(&[MODEL]));
    let registry = registry(&[&healthy]);
    registry
        .add_static(&mute.local_addr().expect("an address").to_string())
        .expect("an address");
    let options = PoolOptions {
        connect_timeout: Duration::from_millis(150),
        ..options()
    };
    let pool = WorkerPool::new(registry, runtime.handle().clone(), options);
    check_all(&runtime, ask(&runtime, &pool, 40));
}

#[test]
fn the_only_worker_may_be_replaced_while_callers_wait() {
    let runtime = runtime(2);
    let first = Worker::start(store(&[MODEL]));
    let registry = registry(&[&first]);
    let options = PoolOptions {
        worker_timeout: Duration::from_secs(10),
        ..options()
    };
    let pool = WorkerPool::new(Arc::clone(&registry), runtime.handle().clone(), options);
    runtime
        .block_on(pool.score(MODEL, 1, rows(ROWS, 0)))
        .expect("the first one scores");
    let gone = first.address.to_string();
    first.kill();
    registry.remove(&gone);
    let running = ask(&runtime, &pool, 20);
    let second = Worker::start(store(&[MODEL]));
    registry
        .add_static(&second.address.to_string())
        .expect("an address");
    check_all(&runtime, running);
}

#[test]
fn a_draining_worker_finishes_what_it_has_and_the_rest_goes_elsewhere() {
    let runtime = runtime(2);
    let other = Worker::start(store(&[MODEL]));
    let handle = runtime
        .block_on(serve(
            ([127, 0, 0, 1], 0).into(),
            WorkerService::new(store(&[MODEL])),
        ))
        .expect("listens");
    let registry = registry(&[&other]);
    registry
        .add_static(&handle.local_addr().to_string())
        .expect("an address");
    let pool = WorkerPool::new(registry, runtime.handle().clone(), options());
    let callers = Load::start(&runtime, &pool);
    let leaving = handle.service().clone();
    wait_for("the leaving worker at work", || {
        leaving.load().answered_batches > 20
    });
    runtime.block_on(handle.shutdown()).expect("a clean end");
    assert_eq!(
        leaving.load().pending_rows,
        0,
        "nothing was left unanswered"
    );
    let at_other = other.service.clone().expect("real");
    let before = at_other.load().answered_batches;
    wait_for("the other one goes on", || {
        at_other.load().answered_batches > before + 50
    });
    callers.check(&runtime);
}

#[test]
fn the_deadline_ends_every_wait() {
    let runtime = runtime(2);
    let stalled = Worker::start_with(Silent::default());
    let options = PoolOptions {
        deadline: Duration::from_millis(250),
        ..options()
    };
    let pool = WorkerPool::new(registry(&[&stalled]), runtime.handle().clone(), options);
    let start = Instant::now();
    let error = runtime
        .block_on(pool.score(MODEL, 1, rows(3, 1)))
        .expect_err("nobody answers");
    assert_eq!(error.kind(), ErrorKind::DeadlineExceeded);
    assert!(
        start.elapsed() < Duration::from_secs(5),
        "{:?}",
        start.elapsed()
    );
}
