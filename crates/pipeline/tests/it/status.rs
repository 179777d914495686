//! What the pipeline tells of itself: the lag of each source under its own name, and counters that
//! go on where a pipeline is stopped and another one started, as each change of definitions does.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use forebay_core::ErrorKind;
use forebay_pipeline::{Counters, Pipeline};
use forebay_testkit::{Fate, Point, wait_until};

use forebay_sim::world::{EVENTS, PREDICTIONS, Process, Setup, TOPIC, World};

fn start(world: &World, counters: &Arc<Counters>, fate: Fate, seed: u64) -> Process {
    let fate = Arc::new(fate);
    let mut parts = world.parts(&fate, seed);
    parts.counters = Arc::clone(counters);
    let pipeline = Pipeline::start(parts, world.settings()).expect("it starts");
    Process { pipeline, fate }
}

#[test]
fn lag_is_what_may_be_read_less_what_every_shard_has_and_counts_without_ingest() {
    assert_ne!(EVENTS, TOPIC, "a source need not be named as its topic");
    let world = World::with_events(Setup::default(), 40, 83);
    let fate = Fate::default();
    fate.take_away(Point::Commit, ErrorKind::Unavailable);
    let process = world.start(fate, 1);
    let events = |partition| {
        let last = world.log.records(TOPIC, partition).last().cloned();
        last.map_or(0, |record| record.offset + 1)
    };
    let lag = |name: &str| process.pipeline.status().sources[name].lag_records;
    let all = u64::try_from(events(0) + events(1)).expect("offsets");
    wait_until("nothing is applied and all of it is lag", || {
        lag(EVENTS) == Some(all)
    });
    world.log.append(TOPIC, 0, Err("not_json"));
    wait_until("it grows while ingest stands still", || {
        lag(EVENTS) == Some(all + 1)
    });
    process.fate.restore(Point::Commit);
    wait_until("all is done", || world.is_done());
    wait_until("nothing is left", || {
        (lag(EVENTS), lag(PREDICTIONS)) == (Some(0), Some(0))
    });
    let status = process.pipeline.status();
    let partitions = &status.sources[EVENTS].partitions;
    assert_eq!(partitions.len(), 2);
    for status in partitions {
        let partition = usize::try_from(status.partition).expect("small");
        let end = events(partition);
        assert_eq!(
            (status.applied, status.last_stable, status.lag),
            (end, end, Some(0))
        );
    }
    process.stop().expect("nothing is in the way");
}

#[test]
fn control_records_do_not_count_as_lag_for_ever() {
    let setup = Setup {
        scored: false,
        ..Setup::default()
    };
    let world = World::with_events(setup, 10, 97);
    world.log.control(TOPIC, 0);
    world.log.control(TOPIC, 1);
    let process = world.start(Fate::default(), 1);
    let lag = || {
        process
            .pipeline
            .status()
            .sources
            .get(EVENTS)
            .and_then(|s| s.lag_records)
    };
    wait_until("the control records are passed", || {
        world.log.is_read() && lag() == Some(0)
    });
    process.stop().expect("nothing is in the way");
}

#[test]
fn counters_outlive_a_pipeline_and_what_describes_it_does_not() {
    let world = World::with_events(Setup::default(), 40, 89);
    let counters = Arc::new(Counters::default());
    let fate = Fate::default();
    fate.take_away(Point::Settle, ErrorKind::FailedPrecondition);
    let process = start(&world, &counters, fate, 1);
    wait_until("it fails", || {
        let status = counters.snapshot();
        status.deployments["scorer"].reason().is_some() && status.scores_waiting > 0
    });
    process.stop().expect("the deployment alone has failed");
    let before = counters.snapshot();
    assert!(before.rows > 0 && before.scores_waiting > 0, "{before:?}");
    counters
        .sources
        .lock()
        .insert("dropped".to_owned(), before.sources[EVENTS].clone());

    let process = start(&world, &counters, Fate::default(), 2);
    let scorer = || process.pipeline.status().deployments["scorer"].clone();
    assert_eq!(scorer().reason(), None, "the new one has not failed");
    wait_until("all is done", || world.is_done());
    let after = process.pipeline.status();
    process.stop().expect("nothing is in the way");
    assert!(
        after.rows >= before.rows && after.sources[EVENTS].rows >= before.sources[EVENTS].rows,
        "{after:?}"
    );
    assert!(after.commits > before.commits);
    assert_eq!(
        after.sources.keys().map(String::as_str).collect::<Vec<_>>(),
        [EVENTS, PREDICTIONS]
    );
    assert_eq!(
        counters.snapshot().scores_waiting,
        0,
        "none is counted twice"
    );
}

#[test]
fn epochs_commits_appends_and_the_waits_of_scores_are_timed() {
    let world = World::with_events(Setup::default(), 40, 61);
    let counters = Arc::new(Counters::default());
    let process = start(&world, &counters, Fate::default(), 1);
    wait_until("all is done", || world.is_done());
    process.stop().expect("nothing is in the way");
    let (epochs, commits) = (counters.epoch.read(), counters.commit.read());
    assert!(
        epochs.count > 0 && commits.count > 0,
        "{epochs:?} {commits:?}"
    );
    assert_eq!(commits.count, counters.snapshot().commits);
    let appends = counters.appends.of(EVENTS).read();
    assert!(
        appends.count > 0 && appends.sum_seconds > 0.0,
        "{appends:?}"
    );
    let deployment = world.deployment().def().name.clone();
    let waits = counters.score_waits.of(&deployment).read();
    let predictions = world.published_ids().len() as u64;
    assert!(predictions > 0);
    assert_eq!(waits.count, predictions, "one for each settled event");
}

#[test]
fn an_append_that_is_tried_again_is_timed_once_from_its_first_try() {
    let setup = Setup {
        scored: false,
        ..Setup::default()
    };
    let world = World::with_events(setup, 10, 67);
    let counters = Arc::new(Counters::default());
    let fate = Fate::default();
    fate.take_away(Point::Append, ErrorKind::Unavailable);
    let process = start(&world, &counters, fate, 1);
    wait_until("it has failed", || {
        counters.retries.load(Ordering::Relaxed) >= 2
    });
    assert_eq!(counters.appends.of(EVENTS).count(), 0);
    process.fate.restore(Point::Append);
    wait_until("it has passed", || counters.appends.of(EVENTS).count() > 0);
    process.stop().expect("nothing is in the way");
    let appends = counters.appends.all().into_iter();
    let longest = appends.map(|(_, timing)| timing.read().sum_seconds);
    let longest = longest.fold(0.0, f64::max);
    assert!(longest > 0.01, "the pauses count too: {longest}");
}
