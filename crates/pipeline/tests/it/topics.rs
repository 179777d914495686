//! Each topic of a deployment has an outbox of its own: one that takes nothing, or never answers,
//! holds back no prediction to another, however much waits for it, and what waits for one topic
//! goes there in order, also over a change of routes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use arrow_array::RecordBatch;
use async_trait::async_trait;
use forebay_core::limits::{
    PENDING_SCORE_MAX_AGE_US, PUBLISH_PROBE_MAX_RECORDS, ROUTE_CHANGE_WAIT_MAX_MS,
    SCORING_CHUNK_MAX_ROWS,
};
use forebay_core::ports::{Publication, Publisher, Scorer, Scores};
use forebay_core::prediction::{OutboxRecord, column};
use forebay_core::time::SECOND_US;
use forebay_core::{ErrorKind, PortResult};
use forebay_pipeline::{DeploymentState, Pipeline, ScoringLimits};
use forebay_testkit::{FakeScorer, Fate, Point, wait_until};
use parking_lot::Mutex;

use forebay_sim::oracle::Oracle;
use forebay_sim::world::{
    PREDICTIONS_TOPIC, Process, SHADOWS_TOPIC as SHADOWS, START_US, Setup, TOPIC, World, event,
};

use crate::stage::{each_ended_once, noted, status};

/// More records than the publisher sends at once, twice over.
const MANY: usize = 5_000;

/// What a topic does that is not well.
#[derive(Debug, Clone, Copy)]
enum Fault {
    Fails(ErrorKind),
    /// It does not answer before the call is abandoned.
    Hangs,
}

/// A publisher with a topic that is not well.
#[derive(Debug)]
struct Ill {
    honest: Arc<dyn Publisher>,
    topic: &'static str,
    fault: Fault,
    is_mended: Arc<AtomicBool>,
}

impl Publisher for Ill {
    fn publish(&self, records: &[&OutboxRecord], abandoned: &AtomicBool) -> Vec<Publication> {
        let is_mended = || self.is_mended.load(Ordering::SeqCst);
        let hangs = matches!(self.fault, Fault::Hangs);
        if hangs && records.iter().any(|record| record.topic == self.topic) {
            while !is_mended() && !abandoned.load(Ordering::SeqCst) {
                std::thread::sleep(Duration::from_millis(1));
            }
        }
        let mended = is_mended();
        let is_well = |record: &OutboxRecord| mended || record.topic != self.topic;
        let kind = match self.fault {
            Fault::Fails(kind) => kind,
            Fault::Hangs => ErrorKind::Unavailable,
        };
        let well = records.iter().copied().filter(|record| is_well(record));
        let well: Vec<&OutboxRecord> = well.collect();
        let mut sent = self.honest.publish(&well, abandoned).into_iter();
        let outcome = |record: &&OutboxRecord| {
            if is_well(record) {
                sent.next().expect("an outcome for each")
            } else {
                Publication::unknown(kind, &format!("topic {} is not well", self.topic))
            }
        };
        records.iter().map(outcome).collect()
    }
}

/// Bytes that the client of a [`Queueing`] publisher keeps.
const QUEUE_BYTES: usize = 32 << 10;

/// A publisher with one queue for the records to all topics, as a client of Kafka has: those to
/// the shadow topic stay in it, and who finds no room waits.
#[derive(Debug)]
struct Queueing {
    honest: Arc<dyn Publisher>,
    /// The shadow topic says at once that it takes nothing.
    fails: AtomicBool,
    is_mended: AtomicBool,
    /// Bytes and records that stay in the queue.
    held: Mutex<(usize, usize)>,
}

impl Queueing {
    fn until(&self, abandoned: &AtomicBool, is_so: impl Fn() -> bool) -> bool {
        loop {
            if is_so() {
                return true;
            }
            if abandoned.load(Ordering::SeqCst) {
                return false;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Take room for `record`; what its topic takes leaves the queue at once.
    fn queue(&self, record: &OutboxRecord, abandoned: &AtomicBool) {
        let bytes = record.key.len() + record.payload.len();
        let stays = record.topic == SHADOWS && !self.is_mended.load(Ordering::SeqCst);
        self.until(abandoned, || {
            let mut held = self.held.lock();
            let has_room = held.0 + bytes <= QUEUE_BYTES;
            if has_room && stays {
                *held = (held.0 + bytes, held.1 + 1);
            }
            has_room
        });
    }
}

impl Publisher for Queueing {
    fn publish(&self, records: &[&OutboxRecord], abandoned: &AtomicBool) -> Vec<Publication> {
        let failed = || Publication::unknown(ErrorKind::Unavailable, "no broker takes it");
        let of_shadows = records.iter().any(|record| record.topic == SHADOWS);
        if of_shadows && self.fails.load(Ordering::SeqCst) {
            return records.iter().map(|_| failed()).collect();
        }
        for record in records {
            self.queue(record, abandoned);
        }
        let is_mended = || self.is_mended.load(Ordering::SeqCst);
        if of_shadows && !self.until(abandoned, is_mended) {
            return records.iter().map(|_| failed()).collect();
        }
        self.honest.publish(records, abandoned)
    }
}

/// A process over `world` one of whose topics is not well until the flag is set.
fn start(
    world: &World,
    topic: &'static str,
    fault: Fault,
    fate: Fate,
) -> (Process, Arc<AtomicBool>) {
    let (fate, is_mended) = (Arc::new(fate), Arc::<AtomicBool>::default());
    let mut parts = world.parts(&fate, 1);
    parts.publisher = Arc::new(Ill {
        honest: Arc::clone(&parts.publisher),
        topic,
        fault,
        is_mended: Arc::clone(&is_mended),
    });
    let pipeline = Pipeline::start(parts, world.settings()).expect("it starts");
    (Process { pipeline, fate }, is_mended)
}

fn shadowed(scoring: ScoringLimits) -> Setup {
    Setup {
        epoch_max_rows: 256,
        shadow: true,
        scoring,
        ..Setup::default()
    }
}

fn published(world: &World, topic: &str) -> usize {
    let published = world.publisher.published();
    published.iter().filter(|r| r.topic == topic).count()
}

/// Events that are scored.
fn scored(world: &World) -> usize {
    Oracle::of(world).accepted.len()
}

fn all_live_are_published(world: &World) {
    let all = scored(world);
    wait_until("every live prediction is published", || {
        world.log.is_read() && published(world, PREDICTIONS_TOPIC) == all
    });
}

/// In each topic the offsets of one entity's events ascend within a partition of its source, and
/// no event is twice.
fn in_order(world: &World) {
    let mut last: BTreeMap<(String, Vec<u8>, i64), i64> = BTreeMap::new();
    let published = world.publisher.published().into_iter();
    // Events without a key are no entity: each is in a shard by itself.
    for record in published.filter(|record| record.key != b"null") {
        let json: serde_json::Value = serde_json::from_slice(&record.payload).expect("JSON");
        let number = |name: &str| json[name].as_i64().expect("a number");
        let (partition, offset) = (
            number(column::SOURCE_PARTITION),
            number(column::SOURCE_OFFSET),
        );
        let place = (record.topic, record.key, partition);
        let before = last.insert(place.clone(), offset);
        assert!(
            before.is_none_or(|before| before < offset),
            "{place:?}: {offset} after {before:?}"
        );
    }
}

#[test]
fn a_shadow_whose_topic_is_not_well_keeps_no_live_prediction_back() {
    let faults = [
        Fault::Fails(ErrorKind::NotFound),
        Fault::Fails(ErrorKind::Unavailable),
        Fault::Hangs,
    ];
    for fault in faults {
        let world = World::with_events(shadowed(ScoringLimits::default()), MANY, 4);
        let (process, is_mended) = start(&world, SHADOWS, fault, Fate::default());
        all_live_are_published(&world);
        let waiting = scored(&world);
        wait_until("every shadow prediction is scored", || {
            world.store.unfinished() == (0, waiting)
        });
        world.append_events(20, 5);
        all_live_are_published(&world);
        assert_eq!(published(&world, SHADOWS), 0, "{fault:?}");
        if let Fault::Fails(_) = fault {
            let shown = status(&process);
            let reason = shown.reason().expect("it retries").to_owned();
            assert_eq!(shown.state(), DeploymentState::Retrying);
            assert!(reason.contains(SHADOWS), "{reason}");
        }
        is_mended.store(true, Ordering::SeqCst);
        wait_until("what waited is published", || world.is_done());
        wait_until("its reason is gone", || status(&process).reason().is_none());
        process.stop().expect("nothing is in the way");
        let (predictions, notes) = each_ended_once(&world);
        assert_eq!(predictions, world.publisher.published().len(), "each once");
        assert_eq!(notes, 0);
        in_order(&world);
    }
}

#[test]
fn a_topic_that_takes_nothing_leaves_the_others_room_in_the_queue_of_the_client() {
    let world = World::with_events(shadowed(ScoringLimits::default()), MANY, 16);
    let fate = Arc::new(Fate::default());
    let mut parts = world.parts(&fate, 1);
    let publisher = Arc::new(Queueing {
        honest: Arc::clone(&parts.publisher),
        fails: AtomicBool::new(true),
        is_mended: AtomicBool::default(),
        held: Mutex::default(),
    });
    parts.publisher = Arc::<Queueing>::clone(&publisher);
    let pipeline = Pipeline::start(parts, world.settings()).expect("it starts");
    let process = Process { pipeline, fate };
    let waiting = scored(&world);
    wait_until("every shadow prediction waits", || {
        published(&world, PREDICTIONS_TOPIC) == waiting && world.store.unfinished() == (0, waiting)
    });
    publisher.fails.store(false, Ordering::SeqCst);
    wait_until("some are in the queue of the client", || {
        publisher.held.lock().1 > 0
    });
    for seed in 17..20 {
        world.append_events(20, seed);
        all_live_are_published(&world);
    }
    let held = publisher.held.lock().1;
    assert!(held <= PUBLISH_PROBE_MAX_RECORDS, "{held} records");
    publisher.is_mended.store(true, Ordering::SeqCst);
    *publisher.held.lock() = (0, 0);
    wait_until("what waited is published", || world.is_done());
    process.stop().expect("nothing is in the way");
    let (predictions, _) = each_ended_once(&world);
    assert_eq!(predictions, world.publisher.published().len(), "each once");
    in_order(&world);
}

#[test]
fn a_shadow_whose_outbox_is_full_takes_no_room_from_the_live_version() {
    let limit = SCORING_CHUNK_MAX_ROWS + 8;
    let scoring = ScoringLimits {
        outbox_records: limit,
        ..ScoringLimits::default()
    };
    let world = World::with_events(shadowed(scoring), 2 * SCORING_CHUNK_MAX_ROWS, 6);
    let fault = Fault::Fails(ErrorKind::NotFound);
    let (process, is_mended) = start(&world, SHADOWS, fault, Fate::default());
    all_live_are_published(&world);
    for seed in 7..10 {
        world.append_events(20, seed);
        all_live_are_published(&world);
    }
    let (pending, outbox) = world.store.unfinished();
    assert!(
        pending > 0 && (8..=limit).contains(&outbox),
        "{pending} wait, {outbox} are scored"
    );
    is_mended.store(true, Ordering::SeqCst);
    wait_until("what waited is scored and published", || world.is_done());
    process.stop().expect("nothing is in the way");
    let (predictions, _) = each_ended_once(&world);
    assert_eq!(predictions, world.publisher.published().len(), "each once");
    in_order(&world);
}

#[test]
fn an_event_that_waits_too_long_for_a_full_topic_is_noted_and_holds_back_no_expiry() {
    let mut setup = shadowed(ScoringLimits {
        // One record is enough to fill the outbox.
        outbox_records: SCORING_CHUNK_MAX_ROWS,
        ..ScoringLimits::default()
    });
    setup.partitions = 1;
    let world = World::new(setup);
    let append = |number: i64, time_us| {
        let values = event(Some("a"), time_us, Some(1.0), number);
        world.log.append(TOPIC, 0, Ok(values));
    };
    append(0, START_US);
    let fault = Fault::Fails(ErrorKind::NotFound);
    let (process, is_mended) = start(&world, SHADOWS, fault, Fate::default());
    wait_until("the outbox is full", || {
        world.store.unfinished() == (0, 1) && published(&world, PREDICTIONS_TOPIC) == 1
    });
    append(1, START_US + SECOND_US);
    append(2, START_US + PENDING_SCORE_MAX_AGE_US + 60 * SECOND_US);
    wait_until("the older one is given up", || !noted(&world).is_empty());
    all_live_are_published(&world);
    wait_until("the newer one alone waits", || {
        world.store.unfinished() == (1, 1)
    });
    assert_eq!(status(&process).unscored["expired"], 1);
    let notes = world.store.notes();
    let words = &notes.first().expect("it is noted").detail;
    assert!(
        words.contains("its topic takes nothing: ") && words.contains(SHADOWS),
        "{words}"
    );
    is_mended.store(true, Ordering::SeqCst);
    wait_until("what waited is scored and published", || {
        world.store.unfinished() == (0, 0)
    });
    process.stop().expect("nothing is in the way");
    assert_eq!(each_ended_once(&world), (5, 1));
}

#[test]
fn a_shadow_that_becomes_live_waits_for_nothing_of_its_shadow_topic() {
    let scoring = ScoringLimits {
        outbox_records: SCORING_CHUNK_MAX_ROWS,
        pending_records: 100,
        ..ScoringLimits::default()
    };
    let mut setup = shadowed(scoring);
    setup.epoch_max_rows = 16;
    // No more at once than the live version may have waiting.
    let mut world = World::with_events(setup, 20, 11);
    let fault = Fault::Fails(ErrorKind::NotFound);
    let (process, _) = start(&world, SHADOWS, fault, Fate::default());
    all_live_are_published(&world);
    for seed in 20..200 {
        world.append_events(20, seed);
        all_live_are_published(&world);
        if status(&process).state() == DeploymentState::Suspended {
            break;
        }
    }
    assert_eq!(status(&process).state(), DeploymentState::Suspended);
    process.stop().expect("shadows are left");
    let waiting = world.store.unfinished();
    assert!(waiting.0 > 0 && waiting.1 > 0, "{waiting:?}");
    let before = scored(&world);

    (world.setup.shadow, world.setup.version) = (false, 2);
    world.append_events(20, 300);
    let (process, is_mended) = start(&world, SHADOWS, fault, Fate::default());
    all_live_are_published(&world);
    wait_until("as many shadows wait as before", || {
        world.store.unfinished() == waiting
    });
    assert!(scored(&world) > before);
    is_mended.store(true, Ordering::SeqCst);
    wait_until("what waited is scored and published", || {
        world.store.unfinished() == (0, 0)
    });
    process.stop().expect("nothing is in the way");
    assert_eq!(published(&world, SHADOWS), waiting.0 + waiting.1);
    in_order(&world);
}

#[test]
fn what_waits_for_a_topic_goes_there_before_what_follows_a_change_of_routes() {
    let setup = Setup {
        shadow: false,
        ..shadowed(ScoringLimits::default())
    };
    let mut world = World::with_events(setup, MANY, 12);
    let fault = Fault::Fails(ErrorKind::Unavailable);
    let (process, _) = start(&world, PREDICTIONS_TOPIC, fault, Fate::default());
    let first = scored(&world);
    wait_until("all is scored", || world.store.unfinished() == (0, first));
    process.stop().expect("predictions are left");
    world.setup.version = 3;
    world.append_events(200, 13);
    let all = scored(&world);
    let (process, is_mended) = start(&world, PREDICTIONS_TOPIC, fault, Fate::default());
    wait_until("the new version has scored", || {
        world.store.unfinished() == (0, all)
    });
    is_mended.store(true, Ordering::SeqCst);
    wait_until("all is published", || world.store.unfinished() == (0, 0));
    process.stop().expect("nothing is in the way");
    assert_eq!(published(&world, PREDICTIONS_TOPIC), all);
    assert!(first > 2_048 && all > first);
    in_order(&world);
}

/// A model of which version 1 takes so long for each question.
#[derive(Debug)]
struct Slow {
    honest: FakeScorer,
    takes: Duration,
}

#[async_trait]
impl Scorer for Slow {
    async fn score(&self, model: &str, version: u32, features: RecordBatch) -> PortResult<Scores> {
        if version == 1 {
            tokio::time::sleep(self.takes).await;
        }
        self.honest.score(model, version, features).await
    }
}

/// Events wait for each of `before`, which were on the route one after the other, and others follow
/// for `version`, which is on it now; the process asks a model of which version 1 takes so long.
/// How many wait for the ones before.
fn changes_of_routes(before: &[u32], version: u32, takes: Duration) -> (World, Process, usize) {
    let mut world = World::new(Setup::default());
    for (seed, version) in (14..).zip(before) {
        world.setup.version = *version;
        world.append_events(60, seed);
        let fate = Fate::default();
        fate.take_away(Point::Score, ErrorKind::Unavailable);
        let process = world.start(fate, 1);
        wait_until("all is read", || world.log.is_read());
        process.stop().expect("scores are left");
    }
    let waiting = world.store.unfinished().0;
    assert!(waiting > 0);
    world.setup.version = version;
    world.append_events(60, 25);
    let fate = Arc::new(Fate::default());
    let mut parts = world.parts(&fate, 1);
    let honest = FakeScorer::new(&fate, None);
    parts.scorer = Arc::new(Slow { honest, takes });
    let pipeline = Pipeline::start(parts, world.settings()).expect("it starts");
    (world, Process { pipeline, fate }, waiting)
}

#[test]
fn what_waits_for_the_model_of_the_version_before_goes_before_what_follows_it() {
    for before in [vec![1], vec![1, 3]] {
        // Of the second one the change is taken back.
        let version = if before.len() == 1 { 3 } else { 1 };
        let takes = Duration::from_millis(500);
        let (world, process, waiting) = changes_of_routes(&before, version, takes);
        let all = scored(&world);
        wait_until("all is published", || {
            published(&world, PREDICTIONS_TOPIC) == all
        });
        process.stop().expect("nothing is in the way");
        assert!(waiting < all);
        in_order(&world);
    }
}

#[test]
fn a_new_version_waits_for_a_slow_one_before_it_no_longer_than_the_limit() {
    let longest = Duration::from_millis(ROUTE_CHANGE_WAIT_MAX_MS);
    let began = Instant::now();
    let (world, process, waiting) = changes_of_routes(&[1], 3, 6 * longest);
    let new = scored(&world) - waiting;
    wait_until("all of the new version is published", || {
        published(&world, PREDICTIONS_TOPIC) == new
    });
    assert!(began.elapsed() >= longest, "{:?}", began.elapsed());
    // The store hears of a publication after the log has it.
    wait_until("what is published is noted", || {
        world.store.unfinished() == (waiting, 0)
    });
    process.stop().expect("what is slow is left");
    let process = world.start(Fate::default(), 2);
    wait_until("what waited is published", || {
        world.store.unfinished() == (0, 0)
    });
    process.stop().expect("nothing is in the way");
    let (all, ids) = (published(&world, PREDICTIONS_TOPIC), world.published_ids());
    assert_eq!((all, ids.len()), (new + waiting, all));
}

#[test]
fn a_kill_while_a_topic_is_not_well_loses_no_prediction_of_either() {
    for write in (4..60).step_by(4) {
        let mut setup = shadowed(ScoringLimits::default());
        setup.epoch_max_rows = 4;
        let world = World::with_events(setup, 60, write);
        let fault = match write {
            // Each takes as long as a stop waits for.
            24 | 40 => Fault::Hangs,
            _ => Fault::Fails(ErrorKind::NotFound),
        };
        let topic = [SHADOWS, PREDICTIONS_TOPIC][usize::from(write % 12 == 0)];
        let killed = Fate::killed_at(write, write % 8 == 0);
        let (process, _) = start(&world, topic, fault, killed);
        wait_until("it is killed, or all is read", || {
            process.fate.is_over() || world.log.is_read()
        });
        let _killed = process.stop();
        world.finish(write + 1);
        each_ended_once(&world);
    }
}
