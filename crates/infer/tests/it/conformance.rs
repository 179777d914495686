//! The models of this process and a pool of workers keep what every implementation of their port
//! promises.

use forebay_infer::{LocalScorer, WorkerPool};
use forebay_testkit::conformance::scorer::{self, ScoredModel};

use crate::fixture::{FINGERPRINT, MODEL, Worker, options, registry, rows, runtime, store};

fn model() -> ScoredModel<'static> {
    ScoredModel {
        known: (MODEL, 1),
        unknown: &[(MODEL, 4_711), ("no_such_model", 1)],
        features: rows(9, 9),
    }
}

#[test]
fn the_models_of_this_process_keep_the_promises() {
    let local = LocalScorer::new(store(&[MODEL]));
    // On the threads of a runtime, and without one.
    runtime(2).block_on(scorer::scorer(&local, &model()));
    futures::executor::block_on(scorer::scorer(&local, &model()));
}

#[test]
fn a_pool_of_workers_keeps_the_promises() {
    let runtime = runtime(2);
    let workers = [
        Worker::start(store(&[MODEL])),
        Worker::start(store(&[MODEL])),
    ];
    let registry = registry(&[&workers[0], &workers[1]]);
    let pool = WorkerPool::new(registry, runtime.handle().clone(), options());
    pool.expect(MODEL, 1, FINGERPRINT, "");
    runtime.block_on(scorer::scorer(&pool, &model()));
}
