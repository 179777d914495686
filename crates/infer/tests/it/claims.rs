//! A worker that refuses, hangs, is gone, or answers what no such model answers loses its claim:
//! its batches go elsewhere, whoever can score by itself is told at once, and nothing waits for it
//! until a probe was answered.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use arrow_array::{ArrayRef, Float64Array, Int64Array, RecordBatch};
use arrow_flight::FlightData;
use arrow_flight::utils::batches_to_flight_data;
use forebay_core::ErrorKind;
use forebay_core::limits::WORKER_PROBE_ROWS;
use forebay_core::ports::{Scorer, Scores};
use forebay_infer::{Declined, LocalScorer, ModelId, PoolOptions, WorkerPool};
use forebay_proto::v1::{AnswerMeta, AnswerStatus, BatchMeta};
use prost::Message;
use tokio::runtime::Runtime;

use crate::exchange::same_bits;
use crate::fixture::{
    FINGERPRINT, MODEL, Silent, Worker, options, registry, rows, runtime, store, wait_for,
};

/// What an honest worker would say of the version, since the fakes have no files.
const DIGEST: &str = "d16e57";

fn answer(columns: Vec<(&str, ArrayRef)>, meta: &AnswerMeta) -> Vec<FlightData> {
    let batch = RecordBatch::try_from_iter(columns).expect("one length");
    let schema = batch.schema();
    let mut messages = batches_to_flight_data(&schema, vec![batch]).expect("encodes");
    if let Some(last) = messages.last_mut() {
        last.app_metadata = meta.encode_to_vec().into();
    }
    messages
}

fn meta_of(meta: &BatchMeta) -> AnswerMeta {
    AnswerMeta {
        batch_id: meta.batch_id,
        digest: DIGEST.to_owned(),
        ..AnswerMeta::default()
    }
}

fn doubles(value: f64, rows: u32) -> ArrayRef {
    Arc::new(Float64Array::from(vec![value; rows as usize]))
}

fn scores(value: f64, rows: u32) -> Vec<(&'static str, ArrayRef)> {
    vec![
        ("margin", doubles(value, rows)),
        ("score", doubles(0.5, rows)),
    ]
}

fn a_row_too_few(meta: &BatchMeta) -> Vec<FlightData> {
    answer(scores(0.0, meta.rows - 1), &meta_of(meta))
}

fn not_a_number(meta: &BatchMeta) -> Vec<FlightData> {
    answer(scores(f64::NAN, meta.rows), &meta_of(meta))
}

fn another_version(meta: &BatchMeta) -> Vec<FlightData> {
    let digest = "0ther".to_owned();
    answer(
        scores(0.0, meta.rows),
        &AnswerMeta {
            digest,
            ..meta_of(meta)
        },
    )
}

fn other_columns(meta: &BatchMeta) -> Vec<FlightData> {
    let whole: ArrayRef = Arc::new(Int64Array::from(vec![1; meta.rows as usize]));
    answer(
        vec![("margin", Arc::clone(&whole)), ("score", whole)],
        &meta_of(meta),
    )
}

fn no_metadata(meta: &BatchMeta) -> Vec<FlightData> {
    let mut messages = answer(scores(0.0, meta.rows), &meta_of(meta));
    messages
        .iter_mut()
        .for_each(|m| m.app_metadata = vec![0xff; 9].into());
    messages
}

fn its_own_failure(meta: &BatchMeta) -> Vec<FlightData> {
    let status = AnswerStatus::Internal.into();
    answer(
        scores(0.0, 0),
        &AnswerMeta {
            status,
            message: "broken".to_owned(),
            ..meta_of(meta)
        },
    )
}

fn a_rows_fault(meta: &BatchMeta) -> Vec<FlightData> {
    let status = AnswerStatus::InvalidArgument.into();
    answer(
        scores(0.0, 0),
        &AnswerMeta {
            status,
            message: "bad row".to_owned(),
            ..meta_of(meta)
        },
    )
}

fn fake(answers: Option<fn(&BatchMeta) -> Vec<FlightData>>) -> Silent {
    Silent {
        answers,
        ..Silent::default()
    }
}

fn short() -> PoolOptions {
    PoolOptions {
        answer_timeout: Duration::from_millis(300),
        connect_timeout: Duration::from_secs(2),
        ejection: Duration::from_secs(60),
        ..options()
    }
}

fn asks(runtime: &Runtime, pool: &WorkerPool, seed: u64) -> Result<Scores, Declined> {
    runtime.block_on(pool.score_or_decline(MODEL, 1, rows(200, seed)))
}

type Lie = (
    &'static str,
    Option<fn(&BatchMeta) -> Vec<FlightData>>,
    &'static str,
);

const LIES: [Lie; 7] = [
    ("hangs", None, "no answer in"),
    ("a row too few", Some(a_row_too_few), "is not 200 doubles"),
    ("NaN", Some(not_a_number), "has a NaN"),
    ("another version", Some(another_version), "0ther"),
    ("other columns", Some(other_columns), "is not 200 doubles"),
    ("no metadata", Some(no_metadata), "no AnswerMeta"),
    ("its own failure", Some(its_own_failure), "broken"),
];

#[test]
fn a_worker_that_hangs_or_answers_malformed_is_asked_no_more_and_the_caller_told_at_once() {
    let runtime = runtime(2);
    for (name, answers, words) in LIES {
        let silent = fake(answers);
        let liar = Worker::start_with(silent.clone());
        let pool = WorkerPool::new(registry(&[&liar]), runtime.handle().clone(), short());
        pool.expect(MODEL, 1, FINGERPRINT, DIGEST);
        let declined = asks(&runtime, &pool, 1).expect_err("no scores");
        assert!(
            declined.refused_by.is_empty(),
            "{name}: no fault of the rows"
        );
        assert!(!declined.error.kind().is_of_the_data(), "{name}");
        let said = declined.error.to_string();
        assert!(said.contains(words), "{name}: {said}");
        let (taken, start) = (silent.taken.load(Ordering::SeqCst), Instant::now());
        for seed in 0..50 {
            let declined = asks(&runtime, &pool, seed).expect_err("still none");
            let said = declined.error.to_string();
            assert!(said.contains(words), "{name}: the reason stays: {said}");
        }
        let took = start.elapsed();
        assert!(took < Duration::from_secs(2), "{name}: {took:?}");
        assert_eq!(
            silent.taken.load(Ordering::SeqCst),
            taken,
            "{name}: asked again"
        );
    }
}

#[test]
fn beside_an_honest_worker_one_that_lies_costs_no_batch_and_alters_no_score() {
    let runtime = runtime(2);
    let local = LocalScorer::new(store(&[MODEL]));
    let digest = local
        .store()
        .get(MODEL, 1)
        .expect("loaded")
        .digest()
        .to_owned();
    for (name, answers, _) in LIES {
        let (liar, honest) = (
            Worker::start_with(fake(answers)),
            Worker::start(store(&[MODEL])),
        );
        let pool = WorkerPool::new(
            registry(&[&liar, &honest]),
            runtime.handle().clone(),
            short(),
        );
        pool.expect(MODEL, 1, FINGERPRINT, &digest);
        for seed in 0..20 {
            let scored = asks(&runtime, &pool, seed)
                .unwrap_or_else(|declined| panic!("{name}: {}", declined.error));
            let here = local.score(MODEL, 1, rows(200, seed));
            assert!(
                same_bits(&scored, &runtime.block_on(here).expect("scored")),
                "{name}"
            );
        }
    }
}

#[test]
fn a_worker_of_other_files_under_the_same_version_is_not_asked() {
    let runtime = runtime(2);
    let worker = Worker::start(store(&[MODEL]));
    let pool = WorkerPool::new(registry(&[&worker]), runtime.handle().clone(), short());
    pool.expect(MODEL, 1, FINGERPRINT, DIGEST);
    let declined = asks(&runtime, &pool, 1).expect_err("another model");
    assert_eq!(declined.error.kind(), ErrorKind::AlreadyExists);
    assert!(
        declined.error.to_string().contains(DIGEST),
        "{}",
        declined.error
    );
    let declined = asks(&runtime, &pool, 1).expect_err("its claim is lost");
    assert_eq!(declined.error.kind(), ErrorKind::Unavailable);
    let load = worker.service.as_ref().expect("a real one").load();
    assert_eq!(load.answered_batches, 0);
}

#[test]
fn who_refuses_rows_that_others_score_is_named_and_loses_its_claim_when_contradicted() {
    let runtime = runtime(2);
    let silent = fake(Some(a_rows_fault));
    let liar = Worker::start_with(silent.clone());
    let pool = WorkerPool::new(registry(&[&liar]), runtime.handle().clone(), short());
    let address = liar.address.to_string();
    for _ in 0..2 {
        let declined = asks(&runtime, &pool, 1).expect_err("refused");
        assert_eq!(declined.error.kind(), ErrorKind::InvalidArgument);
        assert_eq!(
            declined.refused_by,
            [address.as_str()],
            "it keeps its claim"
        );
    }
    pool.contradict(&address, &ModelId::new(MODEL, 1));
    let taken = silent.taken.load(Ordering::SeqCst);
    let declined = asks(&runtime, &pool, 1).expect_err("nobody is left");
    assert!(declined.refused_by.is_empty());
    assert!(
        declined.error.to_string().contains("this process scores"),
        "{}",
        declined.error
    );
    assert_eq!(silent.taken.load(Ordering::SeqCst), taken);
}

#[test]
fn who_refuses_rows_that_another_worker_scores_loses_its_claim_and_no_row_is_lost_by_it() {
    let runtime = runtime(2);
    let silent = fake(Some(a_rows_fault));
    let (liar, honest) = (
        Worker::start_with(silent.clone()),
        Worker::start(store(&[MODEL])),
    );
    let known = registry(&[&liar, &honest]);
    let pool = WorkerPool::new(known, runtime.handle().clone(), short());
    for seed in 0..40 {
        asks(&runtime, &pool, seed).unwrap_or_else(|declined| panic!("{}", declined.error));
    }
    let taken = silent.taken.load(Ordering::SeqCst);
    // The message that opens the exchange, and one batch.
    assert!(taken <= 2, "asked again after it was contradicted: {taken}");
}

#[test]
fn rows_that_every_worker_refuses_are_refused_and_all_keep_their_claim() {
    let runtime = runtime(2);
    let both = [fake(Some(a_rows_fault)), fake(Some(a_rows_fault))];
    let workers = both.clone().map(Worker::start_with);
    let known = registry(&[&workers[0], &workers[1]]);
    let pool = WorkerPool::new(known, runtime.handle().clone(), short());
    for asked in 1..3 {
        let declined = asks(&runtime, &pool, 1).expect_err("refused");
        assert_eq!(declined.error.kind(), ErrorKind::InvalidArgument);
        assert_eq!(declined.refused_by.len(), 2, "{:?}", declined.refused_by);
        let taken = both
            .each_ref()
            .map(|fake| fake.taken.load(Ordering::SeqCst));
        assert_eq!(taken, [asked + 1; 2], "one opens the exchange");
    }
}

#[test]
fn rows_that_one_worker_refuses_wait_while_another_does_not_answer() {
    let runtime = runtime(2);
    let (liar, mute) = (
        Worker::start_with(fake(Some(a_rows_fault))),
        Worker::start_with(fake(None)),
    );
    let known = registry(&[&liar, &mute]);
    let pool = WorkerPool::new(known, runtime.handle().clone(), short());
    for seed in 0..3 {
        let declined = asks(&runtime, &pool, seed).expect_err("nobody scores");
        assert_eq!(declined.error.kind(), ErrorKind::Unavailable);
        assert_eq!(declined.refused_by, [liar.address.to_string()]);
    }
}

#[test]
fn a_worker_that_is_back_is_asked_again_after_a_probe_that_no_batch_waits_for() {
    let runtime = runtime(2);
    let options = PoolOptions {
        ejection: Duration::from_millis(20),
        ..options()
    };
    let worker = Worker::start(store(&[MODEL]));
    let (address, known) = (worker.address, registry(&[&worker]));
    let pool = WorkerPool::new(known, runtime.handle().clone(), options);
    asks(&runtime, &pool, 1).expect("it scores");
    worker.kill();
    wait_for("its claim to be lost", || asks(&runtime, &pool, 1).is_err());
    for _ in 0..10 {
        let start = Instant::now();
        asks(&runtime, &pool, 1).expect_err("it is gone");
        assert!(start.elapsed() < Duration::from_secs(1));
    }
    let back = Worker::start_at(address, store(&[MODEL]));
    wait_for("it to be asked again", || asks(&runtime, &pool, 1).is_ok());
    let load = back.service.as_ref().expect("a real one").load();
    assert_eq!(
        load.scored_rows,
        200 + WORKER_PROBE_ROWS as u64,
        "a probe of few rows, then a batch"
    );
}
