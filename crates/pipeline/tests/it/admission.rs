//! Events that a view or a deployment cannot take: the view leaves them out, the deployment notes
//! them, and they are events for all others. A view that fails for another reason than its data is
//! set aside alone.

use std::sync::Arc;

use arrow_array::{ArrayRef, Int64Array, StringArray};
use forebay_core::limits::KEY_MAX_BYTES;
use forebay_core::ports::{
    CompiledView, EpochWriter, ShardWrite, StateHealth, StateProgress, ViewStates,
};
use forebay_core::prediction::{PendingScore, PredictionKey, Role};
use forebay_core::progress::{Applied, PartitionProgress, TopicPartition};
use forebay_core::settlement::SETTLEMENT_TABLE;
use forebay_core::time::SECOND_US;
use forebay_core::value::Value;
use forebay_core::view::Window;
use forebay_pipeline::PipelineStatus;
use forebay_pipeline::archive::DEAD_LETTER_TABLE;
use forebay_pipeline::left_out::{Among, left_out_rows};
use forebay_pipeline::pending::encode_row;
use forebay_testkit::{PlainView, unbounded_budget};

use forebay_sim::oracle::check;
use forebay_sim::world::{
    EVENTS, LEFT_OUT, LIFETIME, OF_PREDICTIONS, RECENT, START_US, Setup, TOPIC, World, event,
    event_source,
};

/// A view over another source than the scored one.
const OF_ROUTES: u32 = 4;

fn append(world: &World, key: &str, x: f64) -> i64 {
    let number = i64::try_from(world.log.records(TOPIC, 0).len()).expect("few");
    world.log.append(
        TOPIC,
        0,
        Ok(event(
            Some(key),
            START_US + number * SECOND_US,
            Some(x),
            number,
        )),
    )
}

fn one_partition() -> World {
    World::new(Setup {
        partitions: 1,
        ..Setup::default()
    })
}

fn offsets(world: &World, view: u32) -> Vec<i64> {
    let rows = world.store.rows(view).into_iter().flatten();
    let mut offsets: Vec<i64> = rows.map(|row| row.offset).collect();
    offsets.sort_unstable();
    offsets
}

fn left_out(status: &PipelineStatus) -> Vec<(&str, u64)> {
    let left_out = status.left_out.iter();
    left_out
        .map(|((_, view), rows)| (view.as_str(), *rows))
        .collect()
}

#[test]
fn a_row_on_which_one_view_fails_is_left_out_of_that_view_alone() {
    let world = one_partition();
    for x in [0.5, LEFT_OUT, 0.5, 0.5, LEFT_OUT] {
        append(&world, "a", x);
    }
    let process = world.start(forebay_testkit::Fate::default(), 1);
    forebay_testkit::wait_until("all are scored and archived", || world.is_done());
    let status = process.pipeline.status();
    process.stop().expect("nothing is in the way");
    check(&world, true);
    assert_eq!(offsets(&world, RECENT), [0, 2, 3]);
    assert_eq!(offsets(&world, LIFETIME), [0, 1, 2, 3, 4]);
    assert_eq!(world.archive.rows(EVENTS).len(), 5);
    assert!(world.archive.rows(DEAD_LETTER_TABLE).is_empty());
    assert_eq!(left_out(&status), [("view_1", 2)]);
    // Asked of the archive they are the same rows, with their reason.
    assert_eq!(listed(&world, RECENT, None), [1, 4]);
    assert_eq!(listed(&world, RECENT, Some((2, 5))), [4]);
    assert_eq!(listed(&world, RECENT, Some((2, 4))), [0_i64; 0]);
    assert_eq!(listed(&world, LIFETIME, None), [0_i64; 0]);
}

/// Offsets of the archived rows that `view` leaves out, of all or of those `within` two offsets.
fn listed(world: &World, view: u32, within: Option<(i64, i64)>) -> Vec<i64> {
    let of_id = |v: &&Arc<dyn CompiledView>| v.spec().id == view;
    let view = world.views.iter().find(of_id).expect("of this world");
    let at = |next_offset| {
        let progress = PartitionProgress {
            next_offset,
            ..PartitionProgress::default()
        };
        Applied([(TopicPartition::new(TOPIC, 0), progress)].into())
    };
    let among = Among {
        from: within.map(|(from, _)| at(from)).unwrap_or_default(),
        below: within.map(|(_, below)| at(below)),
    };
    let mut offsets = Vec::new();
    let looked_at = futures::executor::block_on(left_out_rows(
        view.as_ref(),
        &world.sources[0],
        (&world.archive, &unbounded_budget()),
        among,
        |row| {
            assert_eq!(&*row.partition.topic, TOPIC);
            assert!(!row.what.is_empty());
            offsets.push(row.offset);
        },
    ));
    let expected = within.map_or(5, |(from, below)| (below - from).unsigned_abs());
    assert_eq!(looked_at.expect("in memory"), expected);
    offsets
}

#[test]
fn a_row_that_is_left_out_moves_the_watermark_as_every_event_does() {
    let world = one_partition();
    append(&world, "a", 0.5);
    let ahead_us = START_US + 3_600 * SECOND_US;
    let ahead = event(Some("a"), ahead_us, Some(LEFT_OUT), 1);
    world.log.append(TOPIC, 0, Ok(ahead));
    append(&world, "a", 0.5);
    world.finish(1);
    check(&world, true);
    assert_eq!(
        world.watermarks.of(EVENTS),
        Some(ahead_us - forebay_sim::world::DELAY_US)
    );
}

/// A world of three events, the one in the middle with a key over its limit, read by one process.
fn with_a_long_key(world: &World) -> PipelineStatus {
    append(world, "a", 0.5);
    append(world, &"x".repeat(KEY_MAX_BYTES), 0.5);
    append(world, "b", 0.5);
    let process = world.start(forebay_testkit::Fate::default(), 1);
    forebay_testkit::wait_until("both neighbours are scored", || {
        world.published_ids().len() == 2
    });
    forebay_testkit::wait_until("the log is read", || {
        world.log.is_read() && world.store.unfinished() == (0, 0)
    });
    let status = process.pipeline.status();
    process.stop().expect("nothing is in the way");
    assert_eq!(
        (status.retries, status.failed.is_some()),
        (0, false),
        "{status:?}"
    );
    assert!(world.archive.rows(DEAD_LETTER_TABLE).is_empty());
    assert_eq!(world.archive.rows(EVENTS).len(), 3, "it is an event");
    status
}

fn assert_noted(world: &World, words: &str) {
    let notes = world.archive.rows(SETTLEMENT_TABLE);
    let [note] = notes.as_slice() else {
        panic!("{notes:?}")
    };
    let text = |name: &str| match &note.values[name] {
        Value::Text(text) => text.to_string(),
        other => panic!("{other:?}"),
    };
    assert_eq!(text("reason"), "row_refused");
    assert!(text("detail").contains(words), "{}", text("detail"));
}

#[test]
fn an_event_whose_key_is_over_its_limit_is_in_no_view_and_has_no_score() {
    let world = one_partition();
    let status = with_a_long_key(&world);
    assert_eq!(left_out(&status), [("view_1", 1), ("view_2", 1)]);
    assert_eq!(offsets(&world, LIFETIME), [0, 2]);
    assert_noted(
        &world,
        "the key that routes it is longer than 1024 bytes (KEY_MAX_BYTES)",
    );
}

/// The key is of no view of the source itself: a view over another source is asked for it, when the
/// event is scored.
#[test]
fn an_event_with_a_key_that_only_its_deployment_asks_for_has_no_score_either() {
    let setup = Setup {
        partitions: 1,
        asks: OF_ROUTES,
        sticky_by: &["n"],
        ..Setup::default()
    };
    let mut world = World::new(setup);
    let routes = event_source("routes", "topic.routes");
    world.log.create_topic("topic.routes", 1);
    // No view folds events of the scored source by `k`.
    world.views.retain(|view| view.spec().id == OF_PREDICTIONS);
    world.views.push(Arc::new(PlainView::new(
        OF_ROUTES,
        &routes,
        "k",
        "x",
        Window::Lifetime,
    )));
    world.sources.push(routes);
    let status = with_a_long_key(&world);
    assert_eq!(left_out(&status), []);
    let words = "the key by which it asks view 'view_4' is longer than 1024 bytes (KEY_MAX_BYTES)";
    assert_noted(&world, words);
}

/// As an earlier version left it: the pending score of an event whose key is too long.
#[test]
fn a_pending_score_whose_key_is_over_the_limit_is_given_up_and_its_neighbours_are_scored() {
    let world = one_partition();
    let deployment = world.deployment();
    let mut scores = Vec::new();
    for (offset, key) in ["a", &"x".repeat(2_000), "b"].into_iter().enumerate() {
        let key_column: ArrayRef = Arc::new(StringArray::from(vec![key]));
        let number: ArrayRef = Arc::new(Int64Array::from(vec![0]));
        let request = encode_row(&[key_column, number], 0).expect("supported types");
        let key = PredictionKey {
            deployment: deployment.def().name.clone(),
            model_version: 1,
            role: Role::Live,
            topic: TOPIC.to_owned(),
            partition: 0,
            offset: i64::try_from(offset).expect("few"),
        };
        scores.push(Arc::new(PendingScore {
            key,
            event_time_us: START_US,
            request,
        }));
    }
    world.log.skip(TOPIC, 0, 3);
    for shard in 0..world.store.shards() {
        let write = ShardWrite {
            pending: if shard == 0 {
                std::mem::take(&mut scores)
            } else {
                Vec::new()
            },
            progress: vec![(
                TopicPartition::new(TOPIC, 0),
                PartitionProgress {
                    next_offset: 3,
                    max_event_time_us: Some(START_US),
                    last: None,
                },
            )],
            ..ShardWrite::default()
        };
        world.store.commit(shard, &write).expect("in memory");
    }
    let process = world.start(forebay_testkit::Fate::default(), 1);
    forebay_testkit::wait_until("nothing waits", || world.store.unfinished() == (0, 0));
    let status = process.pipeline.status();
    process.stop().expect("nothing is in the way");
    assert_eq!(
        (status.unscored, status.retries, status.failed.is_some()),
        (1, 0, false),
        "{status:?}"
    );
    assert_eq!(world.published_ids().len(), 2);
}

/// A view that nobody asks.
const EXTRA: u32 = 9;
/// What breaks a view.
const BREAKS: f64 = 0.25;

/// A world with a view that `make` spoils, which is known to its store.
fn with_extra(make: impl FnOnce(PlainView) -> PlainView) -> World {
    let mut world = one_partition();
    let source = Arc::clone(&world.sources[0]);
    let extra = PlainView::new(EXTRA, &source, "k", "x", Window::Lifetime);
    let spec = Arc::clone(extra.spec());
    world.store.register_view(spec).expect("registered");
    world.views.push(Arc::new(make(extra)));
    world
}

/// The view is set aside in every shard, for a reason that has `words`.
fn assert_aside(world: &World, words: &str) {
    let aside = world.store.set_aside();
    let places: Vec<(u32, u16)> = aside.iter().map(|d| (d.view, d.shard)).collect();
    let shards = 0..world.store.shards();
    let expected: Vec<(u32, u16)> = shards.map(|shard| (EXTRA, shard)).collect();
    assert_eq!(places, expected);
    let why = &aside[0].why;
    assert!(
        why.contains(words) && why.contains("correct it and apply it"),
        "{why}"
    );
}

#[test]
fn a_view_that_breaks_on_a_row_is_set_aside_alone_and_keeps_no_other_from_the_row() {
    let world = with_extra(|view| view.breaking(BREAKS));
    for x in [0.5, 0.5, BREAKS, LEFT_OUT, 0.5] {
        append(&world, "a", x);
    }
    world.finish(1);
    check(&world, true);
    assert_aside(&world, "another type came out");
    let folded = world.store.rows(EXTRA);
    assert!(folded.iter().flatten().count() < 4, "it lacks rows");
    // It stays so, and all else goes on, whatever comes and however often ingest begins anew.
    for x in [0.5, BREAKS] {
        append(&world, "b", x);
        world.finish(2);
        check(&world, true);
        assert_aside(&world, "another type came out");
    }
    assert_eq!(world.store.rows(EXTRA), folded);
}

#[test]
fn a_view_whose_sql_fails_on_every_batch_is_set_aside_alone() {
    let world = with_extra(PlainView::never);
    for x in [0.5, LEFT_OUT, 0.5] {
        append(&world, "a", x);
    }
    world.finish(1);
    check(&world, true);
    assert_aside(&world, "no time zone 'Mars/Base'");
    assert!(offsets(&world, EXTRA).is_empty());
}
