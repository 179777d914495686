//! Where a start begins and what it refuses: a log that has lost its head, another log, a gap, a
//! source that was dropped while scores waited, and watermarks that are there before the first
//! event.

use std::sync::Arc;

use forebay_core::ports::{LogNotes, StateProgress};
use forebay_core::progress::TopicPartition;
use forebay_core::{ErrorKind, PortError};
use forebay_pipeline::archive::DEAD_LETTER_TABLE;
use forebay_pipeline::{Pipeline, PipelineError, PipelineStatus};
use forebay_testkit::{Fate, Point, TableFault, wait_until};

use forebay_sim::oracle::{Oracle, check};
use forebay_sim::world::{DELAY_US, EVENTS, LIFETIME, Setup, TOPIC, World, event_source};

fn start_fails(world: &World) -> PipelineError {
    let fate = Arc::new(Fate::default());
    Pipeline::start(world.parts(&fate, 1), world.settings()).expect_err("it must not start")
}

#[test]
fn a_new_state_begins_where_the_log_does() {
    let world = World::with_events(Setup::default(), 60, 37);
    for partition in 0..2 {
        world.log.delete_before(TOPIC, partition, 12);
    }
    world.finish(1);
    check(&world, true);
}

#[test]
fn where_reading_began_is_remembered_whatever_the_log_loses_later() {
    let world = World::with_events(Setup::default(), 60, 37);
    world.log.delete_before(TOPIC, 1, 12);
    world.finish(1);
    let begins = || {
        let note = world.store.topic_note(TOPIC).expect("readable");
        note.expect("noted").begins.into_iter().collect::<Vec<_>>()
    };
    assert_eq!(begins(), [(0, 0), (1, 12)]);
    for partition in 0..2 {
        let last = world
            .log
            .records(TOPIC, partition)
            .last()
            .expect("some")
            .offset;
        world.log.delete_before(TOPIC, partition, last);
    }
    world.finish(2);
    assert_eq!(begins(), [(0, 0), (1, 12)]);
}

#[test]
fn a_crash_before_every_sink_has_a_mark_goes_on_where_the_log_begins() {
    for write in 0..6 {
        let world = World::with_events(
            Setup {
                scored: false,
                ..Setup::default()
            },
            60,
            37,
        );
        for partition in 0..2 {
            world.log.delete_before(TOPIC, partition, 12);
        }
        let process = world.start(Fate::killed_at(write, true), 1);
        wait_until("it is killed", || process.fate.is_over());
        process.stop().expect_err("it was killed");
        world.finish(2);
        check(&world, false);
    }
}

#[test]
fn two_sources_over_one_topic_are_refused() {
    let mut world = World::new(Setup::default());
    world.sources.push(event_source("again", TOPIC));
    assert!(matches!(
        start_fails(&world),
        PipelineError::SharedTopic { .. }
    ));
}

#[test]
fn scores_that_waited_do_not_wait_for_a_source_that_was_dropped() {
    let mut world = World::with_events(Setup::default(), 20, 47);
    world.sources.push(event_source("other", "topic.other"));
    world.log.create_topic("topic.other", 1);
    world.log.append(
        "topic.other",
        0,
        world
            .log
            .records(TOPIC, 0)
            .into_iter()
            .find_map(|r| r.values.ok())
            .ok_or("none"),
    );
    let fate = Fate::default();
    fate.take_away(Point::Score, ErrorKind::Unavailable);
    let process = world.start(fate, 1);
    wait_until("all is read", || world.log.is_read());
    process.stop().expect("scores are left");
    assert!(world.store.unfinished().0 > 0);
    let other = TopicPartition::new("topic.other", 0);
    assert!((0..3).any(|shard| world.store.applied(shard).next_offset(&other) > 0));
    world.sources.pop();
    world.finish(2);
    check(&world, true);
}

#[test]
fn watermarks_are_there_before_the_first_event_of_a_run() {
    let mut world = World::with_events(Setup::default(), 40, 53);
    world.finish(1);
    let before = world.watermarks.of(EVENTS).expect("there were events");
    world.watermarks = Arc::default();
    let process = world.start(Fate::default(), 2);
    wait_until("the source is read", || {
        process.pipeline.watermarks().of(EVENTS) == Some(before)
    });
    process.stop().expect("nothing is in the way");
    let oracle = Oracle::of(&world);
    let newest = |partition| {
        let of = oracle
            .accepted
            .iter()
            .filter(move |a| a.place == TopicPartition::new(TOPIC, partition));
        of.map(|a| a.time_us).max().expect("some")
    };
    assert_eq!(before, newest(0).min(newest(1)) - DELAY_US);
}

#[test]
fn an_untouched_shard_records_its_progress_too() {
    // One key lives in one of the shards; the others must not hold a restart back.
    let world = World::new(Setup {
        scored: false,
        partitions: 1,
        ..Setup::default()
    });
    world.log.append(
        TOPIC,
        0,
        Ok(forebay_sim::world::event(
            Some("a"),
            forebay_sim::world::START_US,
            Some(0.5),
            0,
        )),
    );
    let process = world.start(Fate::default(), 1);
    let place = TopicPartition::new(TOPIC, 0);
    wait_until("every shard has the mark", || {
        (0..3).all(|shard| world.store.applied(shard).next_offset(&place) == 1)
    });
    assert_eq!(
        world
            .store
            .rows(LIFETIME)
            .iter()
            .filter(|rows| !rows.is_empty())
            .count(),
        1
    );
    process.stop().expect("nothing is in the way");
}

#[test]
fn rows_dead_letters_and_late_rows_are_counted_for_each_source() {
    let world = World::with_events(
        Setup {
            scored: false,
            ..Setup::default()
        },
        40,
        59,
    );
    let process = world.start(Fate::default(), 1);
    let counters = process.pipeline.counters();
    wait_until("all is read", || world.log.is_read());
    process.stop().expect("nothing is in the way");
    let (status, oracle) = (counters.snapshot(), Oracle::of(&world));
    assert_eq!(status.rows, oracle.accepted.len() as u64);
    assert_eq!(status.sources[EVENTS].rows, status.rows);
    assert_eq!(
        status.sources[EVENTS].dead_letters,
        oracle.dead.len() as u64
    );
    assert_eq!(
        status.sources[EVENTS].watermark_us,
        world.watermarks.of(EVENTS)
    );
    assert_eq!(
        status.late_rows,
        oracle.accepted.iter().filter(|a| a.late).count() as u64
    );
    assert_eq!(status.archived_rows, status.rows);
}

/// State without archive: the next process reads everything again, for the archive alone.
#[test]
fn rows_that_are_read_again_after_a_kill_are_not_counted_again() {
    let setup = Setup {
        scored: false,
        epoch_max_rows: 4,
        ..Setup::default()
    };
    let world = World::with_events(setup, 40, 59);
    let fate = Fate::default();
    for table in [EVENTS, DEAD_LETTER_TABLE] {
        fate.break_table(table, TableFault::Fails(ErrorKind::Unavailable));
    }
    let process = world.start(fate, 1);
    let ends = world.log.ends(TOPIC);
    let has_all = |shard| {
        let applied = world.store.applied(shard);
        let has = |(partition, end): (i32, &i64)| {
            applied.next_offset(&TopicPartition::new(TOPIC, partition)) == *end
        };
        (0..).zip(&ends).all(has)
    };
    wait_until("every shard has all", || (0..3).all(has_all));
    let first = process.pipeline.status();
    process.stop().expect_err("the archive takes nothing");
    assert!(world.archive.rows(EVENTS).is_empty());

    world.append_events(20, 60);
    let process = world.start(Fate::default(), 2);
    let counters = process.pipeline.counters();
    wait_until("all is read", || world.log.is_read());
    process.stop().expect("nothing is in the way");
    let (second, oracle) = (counters.snapshot(), Oracle::of(&world));
    let late = oracle.accepted.iter().filter(|a| a.late).count();
    let of = |status: &PipelineStatus| {
        let source = &status.sources[EVENTS];
        assert_eq!(source.rows, status.rows);
        [source.rows, status.late_rows]
    };
    let sums: Vec<u64> = of(&first)
        .iter()
        .zip(of(&second))
        .map(|(a, b)| a + b)
        .collect();
    assert_eq!(
        sums,
        [oracle.accepted.len(), late].map(|count| count as u64)
    );
    assert_eq!(second.archived_rows, sums[0], "the archive had nothing");
    assert_eq!(second.sources[EVENTS].again_rows, first.rows, "told apart");
    check(&world, false);
}

#[test]
fn an_error_of_an_adapter_keeps_its_kind() {
    let error = PipelineError::from(PortError::new(ErrorKind::DataLoss, "damaged"));
    assert_eq!(
        (error.kind(), PortError::from(error).kind()),
        (ErrorKind::DataLoss, ErrorKind::DataLoss)
    );
}
