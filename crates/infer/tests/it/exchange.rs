//! The exchange when all is well, and the refusals that are answers: scores equal
//! those of the same model in this process, bit for bit, however requests are
//! split.

use std::sync::Arc;
use std::time::Duration;

use forebay_core::ErrorKind;
use forebay_core::limits::WORKER_BATCH_MAX_ROWS;
use forebay_core::ports::{Scorer, Scores};
use forebay_infer::{LocalScorer, PoolOptions, WorkerPool};
use forebay_telemetry::Metrics;

use crate::fixture::{
    FINGERPRINT, MODEL, Silent, Worker, options, registry, rows, runtime, store, wait_for,
};

pub(crate) fn same_bits(left: &Scores, right: &Scores) -> bool {
    let bits = |values: &[f64]| values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
    bits(&left.margin) == bits(&right.margin) && bits(&left.score) == bits(&right.score)
}

#[test]
fn workers_score_as_this_process_does() {
    let runtime = runtime(2);
    let local = LocalScorer::new(store(&[MODEL, "squarederror"]));
    let (one, other) = (
        Worker::start(store(&[MODEL, "squarederror"])),
        Worker::start(store(&[MODEL])),
    );
    let pool = WorkerPool::new(
        registry(&[&one, &other]),
        runtime.handle().clone(),
        options(),
    );
    pool.expect(MODEL, 1, FINGERPRINT, "");
    for (model, count) in [
        (MODEL, 1),
        (MODEL, 0),
        (MODEL, 777),
        ("squarederror", 5),
        (MODEL, WORKER_BATCH_MAX_ROWS + 1),
    ] {
        let batch = rows(count, count as u64);
        let (remote, here) = runtime.block_on(async {
            (
                pool.score(model, 1, batch.clone()).await.expect("scored"),
                local.score(model, 1, batch).await.expect("scored"),
            )
        });
        assert_eq!(remote.margin.len(), count);
        assert!(same_bits(&remote, &here), "{model}, {count} rows");
    }
    // From an executor that is not tokio's.
    let batch = rows(9, 9);
    let remote = futures::executor::block_on(pool.score(MODEL, 1, batch.clone())).expect("scored");
    assert!(same_bits(
        &remote,
        &runtime
            .block_on(local.score(MODEL, 1, batch))
            .expect("scored")
    ));
}

#[test]
fn requests_are_split_over_the_workers_and_put_together_in_order() {
    let runtime = runtime(2);
    let local = LocalScorer::new(store(&[MODEL]));
    let workers = [
        Worker::start(store(&[MODEL])),
        Worker::start(store(&[MODEL])),
        Worker::start(store(&[MODEL])),
    ];
    let options = PoolOptions {
        batch_max_rows: 37,
        credit_rows: 200,
        ..options()
    };
    let pool = WorkerPool::new(
        registry(&[&workers[0], &workers[1], &workers[2]]),
        runtime.handle().clone(),
        options,
    );
    let batch = rows(20_000, 1);
    let remote = runtime
        .block_on(pool.score(MODEL, 1, batch.clone()))
        .expect("scored");
    assert!(same_bits(
        &remote,
        &runtime
            .block_on(local.score(MODEL, 1, batch))
            .expect("scored")
    ));
    for worker in &workers {
        let load = worker.service.as_ref().expect("a real one").load();
        assert!(
            load.scored_rows > 1_000 && load.pending_rows == 0,
            "each took its share: {load:?}"
        );
    }
}

#[test]
fn what_every_worker_refuses_is_the_callers_error() {
    let runtime = runtime(2);
    let (one, other) = (
        Worker::start(store(&[MODEL])),
        Worker::start(store(&[MODEL])),
    );
    let pool = WorkerPool::new(
        registry(&[&one, &other]),
        runtime.handle().clone(),
        options(),
    );
    let refused = |model: &str, version: u32, batch| {
        runtime
            .block_on(pool.score(model, version, batch))
            .expect_err("refused")
    };
    let error = refused("nobody", 1, rows(3, 1));
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(
        error.message().contains("nobody") && error.message().contains(MODEL),
        "{error}"
    );
    assert_eq!(refused(MODEL, 7, rows(3, 1)).kind(), ErrorKind::NotFound);
    let error = refused(
        MODEL,
        1,
        rows(3, 1).project(&[0, 1, 2, 3, 4]).expect("five columns"),
    );
    assert_eq!(error.kind(), ErrorKind::FailedPrecondition);
    assert!(error.message().contains("feature flag"), "{error}");
    runtime
        .block_on(pool.score(MODEL, 1, rows(3, 1)))
        .expect("the pool is unharmed");

    let strict = WorkerPool::new(registry(&[&one]), runtime.handle().clone(), options());
    strict.expect(MODEL, 1, "0bad", "");
    let error = runtime
        .block_on(strict.score(MODEL, 1, rows(3, 1)))
        .expect_err("another service");
    assert_eq!(error.kind(), ErrorKind::FailedPrecondition);
    assert!(
        error.message().contains("0bad") && error.message().contains(FINGERPRINT),
        "{error}"
    );
}

/// Whoever refuses to open a stream has seen no row, so the caller must not give its rows up.
#[test]
fn a_worker_that_opens_no_stream_is_passed_over_and_its_refusal_is_no_fault_of_the_rows() {
    let runtime = runtime(2);
    for code in [
        tonic::Code::InvalidArgument,
        tonic::Code::OutOfRange,
        tonic::Code::ResourceExhausted,
    ] {
        let other = Worker::start_with(Silent {
            refuses: Some(code),
            ..Silent::default()
        });
        let pool = WorkerPool::new(registry(&[&other]), runtime.handle().clone(), options());
        let error = runtime
            .block_on(pool.score(MODEL, 1, rows(3, 1)))
            .expect_err("nobody else is there");
        assert_eq!(
            error.kind(),
            ErrorKind::FailedPrecondition,
            "{code}: {error}"
        );
        assert!(error.message().contains("refused by the test"), "{error}");
        let real = Worker::start(store(&[MODEL]));
        let pool = WorkerPool::new(
            registry(&[&other, &real]),
            runtime.handle().clone(),
            options(),
        );
        for seed in 0..8 {
            runtime
                .block_on(pool.score(MODEL, 1, rows(3, seed)))
                .expect("the other worker scores");
        }
    }
}

#[test]
fn metrics_tell_who_is_up_and_what_was_scored() {
    let runtime = runtime(2);
    let worker = Worker::start(store(&[MODEL]));
    let (here, there) = (
        Arc::new(Metrics::new().expect("metrics")),
        Arc::new(Metrics::new().expect("metrics")),
    );
    let service = worker.service.clone().expect("a real one");
    service.record_to(Arc::clone(&there));
    let pool = WorkerPool::new(
        registry(&[&worker]),
        runtime.handle().clone(),
        PoolOptions {
            deadline: Duration::from_secs(1),
            ..options()
        },
    );
    pool.record_to(Arc::clone(&here));
    runtime
        .block_on(pool.score(MODEL, 1, rows(40, 1)))
        .expect("scored");
    let address = worker.address.to_string();
    let up = || here.worker_up.with([&address]).value();
    assert_eq!(up().to_bits(), 1f64.to_bits());
    assert_eq!(
        there
            .inference_compute_duration
            .with([MODEL, "cpu"])
            .count(),
        1
    );
    assert_eq!(there.inference_queue_duration.with([]).count(), 1);
    worker.kill();
    assert!(runtime.block_on(pool.score(MODEL, 1, rows(40, 1))).is_err());
    assert_eq!(up().to_bits(), 0f64.to_bits());

    let local = LocalScorer::new(store(&[MODEL]));
    local.record_to(Arc::clone(&here));
    local.store().record_to(Arc::clone(&here));
    runtime
        .block_on(local.score(MODEL, 1, rows(40, 1)))
        .expect("scored");
    assert_eq!(here.inference_batch_rows.with([MODEL]).count(), 1);
    assert_eq!(
        here.model_ready.with([MODEL, "1", "cpu"]).value().to_bits(),
        1f64.to_bits()
    );
}

/// Also where the choice would never fall on it.
#[test]
fn a_worker_whose_stream_breaks_is_down_with_the_next_batch() {
    let runtime = runtime(2);
    let (one, other) = (
        Worker::start(store(&[MODEL])),
        Worker::start(store(&[MODEL])),
    );
    let metrics = Arc::new(Metrics::new().expect("metrics"));
    let pool = WorkerPool::new(
        registry(&[&one, &other]),
        runtime.handle().clone(),
        options(),
    );
    pool.record_to(Arc::clone(&metrics));
    let (first, second) = (one.address.to_string(), other.address.to_string());
    let up = |address: &String| metrics.worker_up.with([address]).value() > 0.5;
    wait_for("both have scored", || {
        runtime
            .block_on(pool.score(MODEL, 1, rows(3, 1)))
            .expect("scored");
        up(&first) && up(&second)
    });
    one.kill();
    wait_for("it is seen to be down", || {
        runtime
            .block_on(pool.score(MODEL, 1, rows(3, 1)))
            .expect("the other scores");
        !up(&first)
    });
    assert!(up(&second));
}

#[test]
fn without_a_worker_the_error_says_how_to_get_one() {
    let runtime = runtime(1);
    let pool = WorkerPool::new(registry(&[]), runtime.handle().clone(), options());
    let error = runtime
        .block_on(pool.score(MODEL, 1, rows(3, 1)))
        .expect_err("nobody");
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(
        error
            .message()
            .contains("no worker serves logistic version 1"),
        "{error}"
    );
}
