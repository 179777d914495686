//! Each version of a deployment is scored for itself: one whose model fails, hangs or is withdrawn
//! stops no other, takes no room from it, and is scored when it is mended, each event once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arrow_array::RecordBatch;
use async_trait::async_trait;
use forebay_core::limits::SCORING_CHUNK_MAX_ROWS;
use forebay_core::ports::{Scorer, Scores};
use forebay_core::prediction::OutboxRecord;
use forebay_core::{ErrorKind, PortError, PortResult};
use forebay_pipeline::{DeploymentState, Pipeline, ScoringLimits};
use forebay_testkit::{FakeScorer, Fate, Point, wait_until};

use forebay_sim::oracle::Oracle;
use forebay_sim::world::{PREDICTIONS_TOPIC, Process, Setup, World};

use crate::stage::{each_ended, each_ended_once, noted, status};

/// A model of which one version is not well.
#[derive(Debug)]
struct Ill {
    honest: FakeScorer,
    version: u32,
    hangs: bool,
    is_mended: Arc<AtomicBool>,
}

#[async_trait]
impl Scorer for Ill {
    async fn score(&self, model: &str, version: u32, features: RecordBatch) -> PortResult<Scores> {
        if version == self.version && !self.is_mended.load(Ordering::SeqCst) {
            if self.hangs {
                std::future::pending::<()>().await;
            }
            let words = "model.json is not what its manifest says";
            return Err(PortError::new(ErrorKind::FailedPrecondition, words));
        }
        self.honest.score(model, version, features).await
    }
}

/// A process over `world` in whose model `version` fails, or hangs, until the flag is set.
fn start(world: &World, version: u32, hangs: bool, fate: Fate) -> (Process, Arc<AtomicBool>) {
    let (fate, is_mended) = (Arc::new(fate), Arc::<AtomicBool>::default());
    let mut parts = world.parts(&fate, 1);
    parts.scorer = Arc::new(Ill {
        honest: FakeScorer::new(&fate, None),
        version,
        hangs,
        is_mended: Arc::clone(&is_mended),
    });
    let pipeline = Pipeline::start(parts, world.settings()).expect("it starts");
    (Process { pipeline, fate }, is_mended)
}

fn shadowed(scoring: ScoringLimits) -> Setup {
    Setup {
        epoch_max_rows: 4,
        shadow: true,
        scoring,
        ..Setup::default()
    }
}

fn published(world: &World, is_live: bool) -> usize {
    let of = |record: &&OutboxRecord| (record.topic == PREDICTIONS_TOPIC) == is_live;
    world.publisher.published().iter().filter(of).count()
}

/// Events that are scored.
fn scored(world: &World) -> usize {
    Oracle::of(world).predictions.len() / 2
}

#[test]
fn a_shadow_that_fails_stops_no_live_prediction_and_is_scored_when_it_is_mended() {
    const LIMIT: u64 = 20;
    let world = World::with_events(
        shadowed(ScoringLimits {
            pending_records: LIMIT,
            ..ScoringLimits::default()
        }),
        10,
        4,
    );
    let (process, is_mended) = start(&world, 2, false, Fate::default());
    wait_until(
        "the live version answers, and the shadow says why not",
        || {
            world.log.is_read()
                && published(&world, true) == scored(&world)
                && status(&process).state() == DeploymentState::Retrying
        },
    );
    let reason = status(&process).reason().expect("it retries").to_owned();
    assert!(
        reason.contains("version 2 (shadow): ")
            && reason.contains("model.json")
            && !reason.contains("version 1"),
        "{reason}"
    );
    // Beyond the limit only the events of the shadow get notes.
    for seed in 5..25 {
        world.append_events(10, seed);
        wait_until("every live event is published", || {
            world.log.is_read() && published(&world, true) == scored(&world)
        });
    }
    wait_until("the shadow is suspended", || {
        status(&process).state() == DeploymentState::Suspended
    });
    let reason = status(&process)
        .reason()
        .expect("it is suspended")
        .to_owned();
    assert!(
        reason.contains("version 2 (shadow): ") && reason.contains("pending_max_records"),
        "{reason}"
    );
    assert_eq!(published(&world, false), 0);
    let waiting = world.store.unfinished().0;
    assert!(waiting as u64 >= LIMIT, "{waiting}");
    let suspended = noted(&world).len();
    assert_eq!(suspended + waiting, scored(&world), "of the shadow alone");

    is_mended.store(true, Ordering::SeqCst);
    wait_until("what waited is scored", || {
        world.store.unfinished() == (0, 0)
    });
    assert_eq!(published(&world, false), waiting);
    world.append_events(20, 90);
    wait_until("every later event has both", || {
        each_ended(&world) && world.log.is_read() && status(&process).suspended.is_empty()
    });
    assert_eq!(status(&process).state(), DeploymentState::Scoring);
    process.stop().expect("nothing is in the way");
    let (predictions, notes) = each_ended_once(&world);
    assert_eq!(predictions, world.publisher.published().len(), "each once");
    assert!(notes >= suspended);
    assert_eq!(published(&world, true), scored(&world));
}

#[test]
fn a_version_that_hangs_keeps_no_other_waiting() {
    let world = World::with_events(shadowed(ScoringLimits::default()), 60, 9);
    let (process, _) = start(&world, 1, true, Fate::default());
    wait_until("the shadow is published while the live one hangs", || {
        world.log.is_read() && published(&world, false) == scored(&world)
    });
    assert_eq!(published(&world, true), 0);
    process.stop().expect("what hangs is left");
    // It is read again from the store.
    world.finish(2);
    assert_eq!(published(&world, true), scored(&world));
    each_ended_once(&world);
}

#[test]
fn what_waits_for_a_version_that_is_withdrawn_and_hangs_stops_not_the_one_in_its_place() {
    let setup = Setup {
        scoring: ScoringLimits {
            call_max: Duration::from_millis(50),
            ..ScoringLimits::default()
        },
        ..Setup::default()
    };
    let mut world = World::with_events(setup, 30, 12);
    let fate = Fate::default();
    fate.take_away(Point::Score, ErrorKind::Unavailable);
    let process = world.start(fate, 1);
    wait_until("all is read", || world.log.is_read());
    process.stop().expect("scores are left");
    let waiting = world.store.unfinished().0;
    assert!(waiting > 0);
    world.setup.version = 3;
    world.append_events(30, 13);
    let (process, is_mended) = start(&world, 1, true, Fate::default());
    wait_until(
        "the new version answers, and the old one says why not",
        || {
            let reason = status(&process).reason().map(|reason| reason.to_owned());
            world.log.is_read()
                && world.store.unfinished() == (waiting, 0)
                && reason.is_some_and(|reason| reason.starts_with("version 1: "))
        },
    );
    assert!(published(&world, true) > 0);
    is_mended.store(true, Ordering::SeqCst);
    wait_until("what waited is scored", || {
        world.store.unfinished() == (0, 0) && status(&process).state() == DeploymentState::Scoring
    });
    process.stop().expect("nothing is in the way");
    assert!(noted(&world).is_empty());
}

#[test]
fn a_kill_while_a_version_fails_ends_no_event_twice_and_none_never() {
    for write in (4..60).step_by(4) {
        let world = World::with_events(shadowed(ScoringLimits::default()), 60, write);
        let killed = Fate::killed_at(write, write % 8 == 0);
        let (process, _) = start(&world, 1 + (write % 8 / 4) as u32, false, killed);
        wait_until("it is killed, or all is read", || {
            process.fate.is_over() || world.log.is_read()
        });
        let _killed = process.stop();
        world.finish(write + 1);
        each_ended_once(&world);
    }
}

#[test]
fn versions_share_the_room_at_their_topic_and_exceed_it_by_a_chunk_at_most() {
    const ROOM: usize = 8;
    let limit = SCORING_CHUNK_MAX_ROWS + ROOM;
    let setup = Setup {
        scoring: ScoringLimits {
            outbox_records: limit,
            ..ScoringLimits::default()
        },
        ..Setup::default()
    };
    let events = 3 * SCORING_CHUNK_MAX_ROWS / 2;
    let mut world = World::with_events(setup, events, 4);
    let fate = Fate::default();
    fate.take_away(Point::Score, ErrorKind::Unavailable);
    let process = world.start(fate, 1);
    wait_until("all is read", || world.log.is_read());
    process.stop().expect("scores are left");
    // What waits for the version before goes to the same topic.
    world.setup.version = 3;
    world.append_events(events, 5);
    let fate = Fate::default();
    fate.take_away(Point::Publish, ErrorKind::Unavailable);
    let process = world.start(fate, 2);
    wait_until("no whole chunk has room any more", || {
        world.log.is_read() && world.store.unfinished().1 > ROOM
    });
    std::thread::sleep(Duration::from_millis(200));
    let (pending, outbox) = world.store.unfinished();
    let most = limit + SCORING_CHUNK_MAX_ROWS;
    assert!(
        pending > 0 && outbox <= most,
        "{pending} wait, {outbox} are scored"
    );
    process.fate.restore(Point::Publish);
    wait_until("all is published", || world.store.unfinished() == (0, 0));
    process.stop().expect("nothing is in the way");
    let all = Oracle::of(&world).predictions.len();
    assert_eq!(world.published_ids().len(), all);
    assert_eq!(world.publisher.published().len(), all, "each once");
}

#[test]
fn a_version_that_hangs_keeps_no_room_in_the_outbox_from_another() {
    let least = ScoringLimits {
        outbox_records: SCORING_CHUNK_MAX_ROWS,
        ..ScoringLimits::default()
    };
    let world = World::with_events(shadowed(least), 40, 6);
    let (process, _) = start(&world, 2, true, Fate::default());
    for seed in 7..10 {
        world.append_events(10, seed);
        wait_until("every live event is published", || {
            world.log.is_read() && published(&world, true) == scored(&world)
        });
    }
    process.stop().expect("what hangs is left");
    world.finish(2);
    each_ended_once(&world);
}
