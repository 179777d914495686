//! The scoring stage: whatever a model or a topic does, ingest of every source goes on, what waits
//! is bounded, each event ends once (with a prediction or a note), and a stop ends in time.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use arrow_array::RecordBatch;
use async_trait::async_trait;
use forebay_core::limits::{
    PENDING_SCORE_MAX_AGE_US, SCORING_CHUNK_MAX_ROWS, SCORING_CHUNKS_MAX, SCORING_DRAIN_MAX_MS,
};
use forebay_core::memory::{Budget, Part};
use forebay_core::ports::{Scorer, Scores, StateProgress};
use forebay_core::prediction::{PredictionKey, Role};
use forebay_core::settlement::{SETTLEMENT_TABLE, UnscoredReason};
use forebay_core::time::SECOND_US;
use forebay_core::value::Value;
use forebay_core::{ErrorKind, PortResult};
use forebay_pipeline::{DeploymentState, DeploymentStatus, Pipeline, ScoringLimits};
use forebay_testkit::{FakeScorer, Fate, MemoryStore, Point, unbounded_budget, wait_until};

use forebay_sim::oracle::{Oracle, check};
use forebay_sim::world::{
    EVENTS, Process, START_US, Setup, TOPIC, World, event, event_source, id_of,
};

/// What a [`Model`] does with the batch of this number, from 0, before it answers as
/// [`FakeScorer`] does.
#[derive(Debug, Clone, Copy)]
enum Deed {
    Answers,
    Hangs,
    /// Answers for one row less.
    Lies,
    Sleeps(Duration),
    /// Sleeps once two batches have been under way at once.
    Follows(Duration),
}

#[derive(Debug)]
struct Model {
    honest: FakeScorer,
    deed: fn(usize) -> Deed,
    /// While it is set, every batch is answered.
    is_well: Arc<AtomicBool>,
    calls: AtomicUsize,
    under_way: AtomicUsize,
    /// Most batches that were under way at once, and most rows of one.
    most: Arc<(AtomicUsize, AtomicUsize)>,
}

#[async_trait]
impl Scorer for Model {
    async fn score(&self, model: &str, version: u32, features: RecordBatch) -> PortResult<Scores> {
        let number = self.calls.fetch_add(1, Ordering::SeqCst);
        let under_way = self.under_way.fetch_add(1, Ordering::SeqCst) + 1;
        self.most.0.fetch_max(under_way, Ordering::SeqCst);
        self.most.1.fetch_max(features.num_rows(), Ordering::SeqCst);
        let deed = if self.is_well.load(Ordering::SeqCst) {
            Deed::Answers
        } else {
            (self.deed)(number)
        };
        if let Deed::Follows(_) = deed {
            while self.most.0.load(Ordering::SeqCst) < 2 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
        if let Deed::Sleeps(pause) | Deed::Follows(pause) = deed {
            tokio::time::sleep(pause).await;
        }
        if matches!(deed, Deed::Hangs) {
            std::future::pending::<()>().await;
        }
        let mut scores = self.honest.score(model, version, features).await?;
        if matches!(deed, Deed::Lies) {
            scores.score.pop();
        }
        self.under_way.fetch_sub(1, Ordering::SeqCst);
        Ok(scores)
    }
}

struct Handles {
    is_well: Arc<AtomicBool>,
    most: Arc<(AtomicUsize, AtomicUsize)>,
}

/// A process over `world` whose model does `deed`.
fn start(world: &World, deed: fn(usize) -> Deed) -> (Process, Handles) {
    start_within(world, deed, &unbounded_budget())
}

/// The same, whose features draw on `budget`.
fn start_within(
    world: &World,
    deed: fn(usize) -> Deed,
    budget: &Arc<Budget>,
) -> (Process, Handles) {
    let fate = Arc::new(Fate::default());
    let handles = Handles {
        is_well: Arc::default(),
        most: Arc::default(),
    };
    let mut parts = world.parts(&fate, 1);
    parts.reader = Arc::new(world.reader().drawing_on(Arc::clone(budget)));
    parts.memory = unbounded_budget();
    parts.scorer = Arc::new(Model {
        honest: FakeScorer::new(&fate, None),
        deed,
        is_well: Arc::clone(&handles.is_well),
        calls: AtomicUsize::new(0),
        under_way: AtomicUsize::new(0),
        most: Arc::clone(&handles.most),
    });
    let pipeline = Pipeline::start(parts, world.settings()).expect("it starts");
    (Process { pipeline, fate }, handles)
}

pub(crate) fn status(process: &Process) -> DeploymentStatus {
    process.pipeline.status().deployments["scorer"].clone()
}

/// Ids of the predictions that were noted as unscored, in the store or in the archive; each once.
pub(crate) fn noted(world: &World) -> BTreeSet<String> {
    let mut places: Vec<(String, i64, i64, Role, String)> = world
        .store
        .notes()
        .iter()
        .map(|n| {
            let partition = i64::from(n.partition);
            let version = i64::from(n.model_version);
            let offsets = n.offsets.to_text();
            (n.topic.clone(), partition, version, n.role, offsets)
        })
        .collect();
    for row in world.archive.rows(SETTLEMENT_TABLE) {
        let text = |name: &str| match &row.values[name] {
            Value::Text(text) => text.to_string(),
            other => panic!("{name} is {other:?}"),
        };
        let number = |name: &str| match &row.values[name] {
            Value::Int(number) => *number,
            other => panic!("{name} is {other:?}"),
        };
        let (partition, version) = (number("source_partition"), number("model_version"));
        let role = Role::parse(&text("role")).expect("a role");
        let topic = text("source_topic");
        places.push((topic, partition, version, role, text("offsets")));
    }
    let mut ids = BTreeSet::new();
    for (topic, partition, version, role, runs) in places {
        for run in runs.split(',') {
            let (first, last) = run.split_once('-').unwrap_or((run, run));
            let range: std::ops::RangeInclusive<i64> =
                first.parse().expect("a number")..=last.parse().expect("a number");
            for offset in range {
                let key = PredictionKey {
                    deployment: "scorer".to_owned(),
                    model_version: u32::try_from(version).expect("small"),
                    role,
                    topic: topic.clone(),
                    partition: i32::try_from(partition).expect("few"),
                    offset,
                };
                assert!(ids.insert(key.id()), "{key:?} is noted twice");
            }
        }
    }
    ids
}

/// Every event was published or noted, and none was both.
pub(crate) fn each_ended_once(world: &World) -> (usize, usize) {
    let (published, noted) = (world.published_ids(), noted(world));
    let both: Vec<_> = published.intersection(&noted).collect();
    assert!(both.is_empty(), "{both:?} have a prediction and a note");
    let all: BTreeSet<String> = published.union(&noted).cloned().collect();
    assert_eq!(all, Oracle::of(world).predictions);
    (published.len(), noted.len())
}

#[test]
fn a_dead_model_holds_back_no_source_and_every_event_is_scored_once_when_it_is_back() {
    const OTHERS: usize = 20_000;
    let mut world = World::with_events(
        Setup {
            epoch_max_rows: 512,
            ..Setup::default()
        },
        400,
        3,
    );
    world.sources.push(event_source("others", "topic.others"));
    world.log.create_topic("topic.others", 1);
    let process = world.start(
        {
            let fate = Fate::default();
            fate.take_away(Point::Score, ErrorKind::Unavailable);
            fate
        },
        1,
    );
    for number in 0..OTHERS {
        let number = i64::try_from(number).expect("few");
        let values = event(Some("a"), START_US + number * SECOND_US, Some(1.0), number);
        world.log.append("topic.others", 0, Ok(values));
    }
    wait_until("all is read and archived", || {
        world.log.is_read()
            && world.archive.rows("others").len() == OTHERS
            && world.archive.rows(EVENTS).len() == Oracle::of(&world).accepted.len()
    });
    let waiting = Oracle::of(&world).predictions.len();
    wait_until("all of it waits on disk", || {
        world.store.unfinished() == (waiting, 0)
    });
    wait_until("nothing is held in memory", || {
        let status = status(&process);
        status.pending == waiting as u64 && status.in_flight == 0
    });
    assert_eq!(status(&process).state(), DeploymentState::Retrying);
    process.fate.restore(Point::Score);
    wait_until("all is done", || world.is_done());
    assert_eq!(status(&process).state(), DeploymentState::Scoring);
    process.stop().expect("nothing is in the way");
    assert_eq!(world.publisher.published().len(), waiting, "each once");
    assert!(noted(&world).is_empty());
}

#[test]
fn while_there_is_no_memory_for_more_features_nothing_is_read_until_a_chunk_is_settled() {
    const LATER: i64 = 150;
    let world = World::with_events(Setup::default(), 40, 9);
    let budget = Budget::whole(128);
    let deed = |number| match number {
        0 => Deed::Sleeps(Duration::from_millis(700)),
        _ => Deed::Answers,
    };
    let (process, handles) = start_within(&world, deed, &budget);
    wait_until(
        "a chunk is under way, and there is no memory for another",
        || handles.most.0.load(Ordering::SeqCst) > 0 && budget.refused(Part::Scoring) > 0,
    );
    for number in 0..LATER {
        let values = event(Some("a"), START_US + number * SECOND_US, Some(1.0), number);
        world.log.append(TOPIC, 0, Ok(values));
        std::thread::sleep(Duration::from_millis(2));
    }
    let refused = budget.refused(Part::Scoring);
    assert_eq!(
        world.publisher.published().len(),
        0,
        "the model still thinks"
    );
    assert!(refused < 20, "{refused} times for {LATER} epochs");
    wait_until("all is done", || world.is_done());
    process.stop().expect("nothing is in the way");
    assert_eq!(budget.used_bytes(Part::Scoring), 0, "nothing leaks");
}

#[test]
fn a_deployment_with_too_much_on_disk_is_suspended_alone_and_its_events_are_noted() {
    let setup = Setup {
        epoch_max_rows: 4,
        scoring: ScoringLimits {
            pending_records: 60,
            ..ScoringLimits::default()
        },
        ..Setup::default()
    };
    let world = World::with_events(setup, 10, 4);
    let fate = Fate::default();
    fate.take_away(Point::Score, ErrorKind::Unavailable);
    let process = world.start(fate, 1);
    wait_until("its trouble is known", || {
        status(&process).state() == DeploymentState::Retrying
    });
    world.append_events(300, 5);
    wait_until("all is read", || world.log.is_read());
    wait_until("it is suspended", || {
        status(&process).state() == DeploymentState::Suspended
    });
    let shown = status(&process);
    let reason = shown.reason().expect("it is suspended").to_owned();
    assert!(
        reason.contains("pending_max_records") && reason.contains("taken away"),
        "{reason}"
    );
    wait_until("the notes are archived", || {
        world.store.notes().is_empty() && !noted(&world).is_empty()
    });
    let on_disk = world.store.unfinished().0;
    assert!((60..100).contains(&on_disk), "{on_disk} scores wait");
    process.fate.restore(Point::Score);
    wait_until("what waited is scored", || {
        world.store.unfinished() == (0, 0)
    });
    world.append_events(20, 6);
    wait_until("later events are scored", || {
        world.log.is_read() && each_ended(&world) && status(&process).suspended.is_empty()
    });
    let counted = status(&process).unscored["suspended"];
    process.stop().expect("nothing is in the way");
    let (published, noted) = each_ended_once(&world);
    assert!(published > on_disk && noted > 0);
    assert_eq!(counted, noted as u64);
}

#[test]
fn while_nothing_is_published_so_many_records_wait_and_the_rest_is_not_scored() {
    const ROOM: usize = 8;
    let setup = Setup {
        scoring: ScoringLimits {
            outbox_records: SCORING_CHUNK_MAX_ROWS + ROOM,
            ..ScoringLimits::default()
        },
        ..Setup::default()
    };
    let world = World::with_events(setup, 2 * SCORING_CHUNK_MAX_ROWS, 4);
    let fate = Fate::default();
    fate.take_away(Point::Publish, ErrorKind::Unavailable);
    let process = world.start(fate, 1);
    wait_until("all is read", || world.log.is_read());
    wait_until("no whole chunk has room any more", || {
        world.store.unfinished().1 > ROOM
    });
    std::thread::sleep(Duration::from_millis(200));
    let (pending, outbox) = world.store.unfinished();
    assert!(pending > 0, "{pending} are not scored, {outbox} wait");
    assert!(outbox <= SCORING_CHUNK_MAX_ROWS + ROOM, "{outbox} wait");
    process.fate.restore(Point::Publish);
    wait_until("all is published", || world.is_done());
    process.stop().expect("nothing is in the way");
    each_ended_once(&world);
}

/// Whether every event has ended.
pub(crate) fn each_ended(world: &World) -> bool {
    let all = Oracle::of(world).predictions;
    let ended: BTreeSet<_> = world
        .published_ids()
        .union(&noted(world))
        .cloned()
        .collect();
    world.store.unfinished() == (0, 0) && all.is_subset(&ended)
}

#[test]
fn a_kill_while_a_deployment_is_suspended_ends_no_event_twice_and_none_never() {
    let setup = Setup {
        epoch_max_rows: 4,
        shards: 2,
        scoring: ScoringLimits {
            pending_records: 10,
            ..ScoringLimits::default()
        },
        ..Setup::default()
    };
    for write in (20..60).step_by(5) {
        let world = World::with_events(setup.clone(), 80, write);
        let fate = Fate::killed_at(write, write % 2 == 0);
        fate.take_away(Point::Score, ErrorKind::Unavailable);
        let process = world.start(fate, write);
        wait_until("it is killed, or all is read", || {
            process.fate.is_over() || world.log.is_read()
        });
        let _killed = process.stop();
        let process = world.start(Fate::default(), write + 1);
        wait_until("every event has ended", || {
            world.log.is_read() && each_ended(&world)
        });
        process.stop().expect("nothing is in the way");
        each_ended_once(&world);
    }
}

#[test]
fn a_model_that_hangs_or_lies_is_asked_again_and_loses_nothing() {
    type Deeds = (fn(usize) -> Deed, &'static str);
    let deeds: [Deeds; 2] = [
        (|_| Deed::Hangs, "did not answer"),
        (|_| Deed::Lies, "scores and"),
    ];
    for (deed, words) in deeds {
        let setup = Setup {
            scoring: ScoringLimits {
                call_max: Duration::from_millis(20),
                ..ScoringLimits::default()
            },
            ..Setup::default()
        };
        let world = World::with_events(setup, 60, 9);
        let (process, handles) = start(&world, deed);
        wait_until("it is tried again and the log is read", || {
            process.pipeline.status().retries > 1 && world.log.is_read()
        });
        let shown = status(&process);
        let reason = shown.reason().expect("it retries").to_owned();
        assert!(reason.contains(words), "{reason}");
        assert!(world.publisher.published().is_empty());
        handles.is_well.store(true, Ordering::SeqCst);
        wait_until("all is done", || world.is_done());
        process.stop().expect("nothing is in the way");
        check(&world, true);
    }
}

#[test]
fn a_stop_while_the_model_hangs_ends_in_time_and_leaves_the_scores_on_disk() {
    let world = World::with_events(Setup::default(), 60, 21);
    let (process, _handles) = start(&world, |_| Deed::Hangs);
    wait_until("all is read and the model is asked", || {
        world.log.is_read() && status(&process).in_flight > 0
    });
    let begin = Instant::now();
    process.stop().expect("a hanging model is in no stop's way");
    let took = begin.elapsed();
    assert!(
        took < Duration::from_millis(SCORING_DRAIN_MAX_MS) + Duration::from_secs(2),
        "{took:?}"
    );
    assert_eq!(
        world.store.unfinished(),
        (Oracle::of(&world).predictions.len(), 0)
    );
    world.finish(2);
    check(&world, true);
}

/// A topic takes no record whose id begins so.
fn refused(record: &forebay_core::prediction::OutboxRecord) -> Option<String> {
    let is_refused = id_of(&record.headers).as_bytes()[0] < b'4';
    is_refused.then(|| "Broker: Message size too large".to_owned())
}

#[test]
fn a_record_that_its_topic_refuses_is_noted_with_the_brokers_words_and_stops_no_other() {
    let mut world = World::with_events(Setup::default(), 120, 33);
    world.publisher = world.publisher.clone().refusing(refused);
    let process = world.start(Fate::default(), 1);
    wait_until("every event has ended", || {
        world.log.is_read() && each_ended(&world)
    });
    wait_until("the notes are archived", || world.store.notes().is_empty());
    let shown = status(&process);
    process.stop().expect("a refused record is in nobody's way");
    let (published, noted) = each_ended_once(&world);
    assert!(published > 0 && noted > 0);
    assert_eq!(shown.unscored["prediction_refused"], noted as u64);
    assert_eq!(shown.state(), DeploymentState::Scoring);
    for row in world.archive.rows(SETTLEMENT_TABLE) {
        let text = |name: &str| format!("{:?}", row.values[name]);
        assert!(text("reason").contains(UnscoredReason::PredictionRefused.label()));
        assert!(text("detail").contains("Broker: Message size too large"));
    }
}

#[test]
fn an_event_whose_note_is_archived_gets_no_prediction_after_a_power_cut() {
    let mut world = World::with_events(Setup::default(), 120, 33);
    let takes_all = world.publisher.clone();
    world.publisher = world.publisher.clone().refusing(refused);
    let process = world.start(Fate::default(), 1);
    wait_until("every event has ended", || {
        world.log.is_read() && each_ended(&world)
    });
    wait_until("the notes are archived", || world.store.notes().is_empty());
    process.stop().expect("a refused record is in nobody's way");
    let (_, noted) = each_ended_once(&world);
    assert!(noted > 0);
    let shards = usize::from(world.setup.shards);
    (0..shards).for_each(|shard| world.store.lose_writes(shard, usize::MAX));
    world.publisher = takes_all;
    let process = world.start(Fate::default(), 2);
    wait_until("what was lost is done again", || {
        world.log.is_read() && world.store.unfinished() == (0, 0) && world.store.notes().is_empty()
    });
    process.stop().expect("nothing is in the way");
    assert_eq!(each_ended_once(&world).1, noted);
}

#[test]
fn notes_of_a_new_state_beside_a_kept_archive_are_archived_too() {
    let mut world = World::with_events(Setup::default(), 60, 34);
    let all = |_: &forebay_core::prediction::OutboxRecord| Some("not authorised".to_owned());
    world.publisher = world.publisher.clone().refusing(all);
    let events_noted = |world: &World| -> i64 {
        let rows = world.archive.rows(SETTLEMENT_TABLE);
        rows.iter()
            .map(|row| match &row.values["events"] {
                Value::Int(events) => *events,
                other => panic!("{other:?}"),
            })
            .sum()
    };
    let run = |world: &World| {
        let process = world.start(Fate::default(), 1);
        wait_until("every note is archived", || {
            world.log.is_read()
                && world.store.unfinished() == (0, 0)
                && world.store.notes().is_empty()
        });
        process.stop().expect("refused records are in nobody's way");
    };
    run(&world);
    let first = events_noted(&world);
    assert_eq!(first, Oracle::of(&world).predictions.len() as i64);
    // The state is lost: all events are read, scored, refused and noted once more.
    world.store = MemoryStore::new(world.setup.shards, 0, &Arc::default());
    run(&world);
    assert_eq!(events_noted(&world), 2 * first);
}

#[test]
fn several_chunks_are_under_way_at_once_and_settle_in_the_order_of_the_queue() {
    const MANY: i64 = 22_000;
    let setup = Setup {
        partitions: 1,
        shards: 1,
        epoch_max_rows: 8_192,
        asks: forebay_sim::world::LIFETIME,
        ..Setup::default()
    };
    let mut world = World::new(setup);
    // Nothing is folded: what is tested is the way of the scores.
    world.views.truncate(2);
    for number in 0..MANY {
        let values = event(None, START_US + number * SECOND_US, Some(1.0), number);
        world.log.append(TOPIC, 0, Ok(values));
    }
    // The first answers come last.
    let (process, handles) = start(&world, |number| {
        if number < 3 {
            Deed::Follows(Duration::from_millis(300))
        } else {
            Deed::Sleeps(Duration::from_millis(1))
        }
    });
    wait_until("all is scored and sent", || {
        world.publisher.published().len() as i64 >= MANY
    });
    process.stop().expect("nothing is in the way");
    assert_eq!(
        handles.most.1.load(Ordering::SeqCst),
        SCORING_CHUNK_MAX_ROWS
    );
    let at_once = handles.most.0.load(Ordering::SeqCst);
    assert!(
        (2..=SCORING_CHUNKS_MAX).contains(&at_once),
        "{at_once} at once"
    );
    let published = world.publisher.published();
    let place: BTreeMap<String, usize> = published
        .iter()
        .enumerate()
        .map(|(place, record)| (id_of(&record.headers), place))
        .collect();
    assert_eq!(place.len() as i64, MANY, "each once");
    let ids = (0..MANY).map(|offset| {
        let key = PredictionKey {
            deployment: "scorer".to_owned(),
            model_version: 1,
            role: Role::Live,
            topic: TOPIC.to_owned(),
            partition: 0,
            offset,
        };
        place[&key.id()]
    });
    assert!(ids.is_sorted(), "in the order of the log");
}

#[test]
fn an_event_that_waits_too_long_for_its_model_is_noted_and_holds_back_no_expiry() {
    let world = World::new(Setup {
        partitions: 1,
        ..Setup::default()
    });
    let later = START_US + PENDING_SCORE_MAX_AGE_US + 60 * SECOND_US;
    for (number, time_us) in [START_US, later].into_iter().enumerate() {
        let number = i64::try_from(number).expect("few");
        let values = event(Some("a"), time_us, Some(1.0), number);
        world.log.append(TOPIC, 0, Ok(values));
    }
    let fate = Fate::default();
    fate.take_away(Point::Score, ErrorKind::Unavailable);
    let process = world.start(fate, 1);
    wait_until("the older one is given up", || !noted(&world).is_empty());
    assert_eq!(world.store.unfinished().0, 1, "the newer one waits");
    assert_eq!(status(&process).unscored["expired"], 1);
    process.fate.restore(Point::Score);
    wait_until("every event has ended", || each_ended(&world));
    process.stop().expect("nothing is in the way");
    assert_eq!(each_ended_once(&world), (1, 1));
    assert_eq!(world.store.shards(), 3);
}
