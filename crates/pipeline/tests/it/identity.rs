//! A log that is not the one that was read, or not there, or damaged: its source is halted alone,
//! with words that name the place and a remedy that works; the others are read. What is mended goes
//! on by itself; nothing is skipped that nobody accepted.

use std::sync::atomic::AtomicBool;

use forebay_core::limits::LOG_GAPS_MAX;
use forebay_core::ports::{AcceptedGap, LogNotes, Publication, StateProgress};
use forebay_core::prediction::OutboxRecord;
use forebay_core::progress::TopicPartition;
use forebay_pipeline::{PipelineError, SourceState};
use forebay_testkit::{Fate, wait_until};

use forebay_sim::oracle::check;
use forebay_sim::world::event_source;
use forebay_sim::world::{
    EVENTS, LIFETIME, PREDICTIONS, Process, START_US, Setup, TOPIC, World, event,
};

pub(crate) const OTHER: &str = "other";
pub(crate) const OTHER_TOPIC: &str = "topic.other";

/// Not scored; a second source beside the events, which no view reads.
pub(crate) fn world(events: usize) -> World {
    let setup = Setup {
        scored: false,
        ..Setup::default()
    };
    let mut world = World::with_events(setup, events, 41);
    world.sources.push(event_source(OTHER, OTHER_TOPIC));
    world.log.create_topic(OTHER_TOPIC, 1);
    world
}

fn append_other(world: &World) {
    let row = event(Some("a"), START_US, Some(0.5), 0);
    world.log.append(OTHER_TOPIC, 0, Ok(row));
}

pub(crate) fn state(process: &Process, source: &str) -> SourceState {
    let status = process.pipeline.status();
    status
        .sources
        .get(source)
        .map_or(SourceState::Starting, |status| status.state.clone())
}

/// Wait until `source` is halted, and give the reason.
pub(crate) fn halted(process: &Process, source: &str) -> String {
    let mut reason = String::new();
    wait_until("the source is halted", || {
        if let SourceState::Halted(why) = state(process, source) {
            reason = why.reason;
        }
        !reason.is_empty()
    });
    reason
}

pub(crate) fn reads(process: &Process, source: &str) {
    wait_until("the source is read", || {
        state(process, source) == SourceState::Reading
    });
}

pub(crate) fn applied(world: &World, topic: &str, partition: i32) -> i64 {
    let place = TopicPartition::new(topic, partition);
    let shards = (0..world.setup.shards).map(|shard| world.store.applied(shard));
    let offsets = shards.map(|applied| applied.next_offset(&place));
    offsets.min().expect("there are shards")
}

/// The other source goes on while the events do not.
pub(crate) fn others_go_on(world: &World, process: &Process) {
    let before = applied(world, OTHER_TOPIC, 0);
    append_other(world);
    wait_until("the other source is read", || {
        applied(world, OTHER_TOPIC, 0) == before + 1
    });
    assert!(process.pipeline.is_ingesting() && process.pipeline.status().failed.is_none());
}

/// Delete the events' topic and make it anew with this many partitions and records in each.
pub(crate) fn make_anew(world: &World, partitions: usize, records: i64) {
    world.log.delete_topic(TOPIC);
    world.log.create_topic(TOPIC, partitions);
    for partition in 0..partitions {
        for number in 0..records {
            let row = event(Some("new"), START_US, Some(1.0), number);
            world.log.append(TOPIC, partition, Ok(row));
        }
    }
}

#[test]
fn a_topic_made_anew_halts_its_source_whatever_its_size_and_a_restart_skips_nothing() {
    for (hide_ids, partitions, records) in [
        (false, 2, 500),
        (false, 2, 1),
        (false, 1, 500),
        (true, 2, 500),
        (true, 2, 1),
        (true, 1, 500),
    ] {
        let world = world(40);
        if hide_ids {
            world.log.hide_ids();
        }
        world.finish(1);
        let before = [applied(&world, TOPIC, 0), applied(&world, TOPIC, 1)];
        make_anew(&world, partitions, records);
        for run in 2..4 {
            let process = world.start(Fate::default(), run);
            let reason = halted(&process, EVENTS);
            assert!(
                reason.contains(TOPIC) && reason.contains("--data-dir"),
                "{reason}"
            );
            others_go_on(&world, &process);
            assert!(matches!(
                process.accept_gaps(EVENTS, None),
                Err(PipelineError::NoGap { .. })
            ));
            process.stop().expect("others are in order");
        }
        let after = [applied(&world, TOPIC, 0), applied(&world, TOPIC, 1)];
        assert_eq!(before, after, "nothing of the new topic was taken");
    }
}

#[test]
fn a_topic_made_anew_while_it_is_read_halts_its_source() {
    for (hide_ids, records) in [(false, 500), (true, 0)] {
        let world = world(40);
        if hide_ids {
            world.log.hide_ids();
        }
        let process = world.start(Fate::default(), 1);
        wait_until("all is read", || world.log.is_read());
        wait_until("it is applied", || applied(&world, TOPIC, 1) > 0);
        make_anew(&world, 2, records);
        halted(&process, EVENTS);
        others_go_on(&world, &process);
        process.stop().expect("others are in order");
    }
}

#[test]
fn the_remedy_for_another_log_is_another_state() {
    let mut world = world(20);
    world.finish(1);
    make_anew(&world, 2, 7);
    let process = world.start(Fate::default(), 2);
    halted(&process, EVENTS);
    process.stop().expect("others are in order");
    // Another data directory.
    let fresh = World::new(world.setup.clone());
    (world.store, world.archive) = (fresh.store, fresh.archive);
    world.finish(3);
    assert_eq!(applied(&world, TOPIC, 0), 7);
}

#[test]
fn a_log_that_lost_its_tail_and_grew_again_halts_its_source() {
    let world = world(0);
    for number in 0..10 {
        let row = event(Some("a"), START_US, Some(0.5), number);
        world.log.append(TOPIC, 0, Ok(row));
    }
    world.finish(1);
    world.log.truncate(TOPIC, 0, 8);
    for number in 0..5 {
        let row = event(Some("b"), START_US, Some(0.5), number);
        world.log.append(TOPIC, 0, Ok(row));
    }
    let process = world.start(Fate::default(), 2);
    let reason = halted(&process, EVENTS);
    assert!(
        reason.contains(&format!("{TOPIC}-0")) && reason.contains("offset 9"),
        "{reason}"
    );
    process.stop().expect("others are in order");
}

#[test]
fn a_predictions_topic_made_anew_halts_it() {
    let world = World::with_events(Setup::default(), 20, 3);
    world.finish(1);
    world
        .log
        .delete_topic(forebay_sim::world::PREDICTIONS_TOPIC);
    world
        .log
        .create_topic(forebay_sim::world::PREDICTIONS_TOPIC, 1);
    let process = world.start(Fate::default(), 2);
    halted(&process, PREDICTIONS);
    reads(&process, EVENTS);
    process.stop().expect("events are in order");
}

#[test]
fn another_cluster_halts_all_sources_and_publishes_nothing() {
    let mut world = World::with_events(Setup::default(), 20, 43);
    let fate = Fate::default();
    fate.take_away(
        forebay_testkit::Point::Publish,
        forebay_core::ErrorKind::Unavailable,
    );
    let process = world.start(fate, 1);
    wait_until("predictions wait", || world.store.unfinished().1 > 0);
    process.stop().expect("predictions are left");
    let (own, waiting) = (world.log.clone(), world.store.unfinished().1);
    world.log = forebay_testkit::MemoryLog::new("another");
    for source in &world.sources {
        world.log.create_topic(&source.topic, 2);
    }
    let process = world.start(Fate::default(), 2);
    let reason = halted(&process, EVENTS);
    assert!(
        reason.contains("'cluster'") && reason.contains("'another'"),
        "{reason}"
    );
    halted(&process, PREDICTIONS);
    let alarm = OutboxRecord {
        topic: "alerts".to_owned(),
        key: b"monitor".to_vec(),
        payload: b"{}".to_vec(),
        headers: Vec::new(),
    };
    let refused = process.pipeline.publisher();
    let refused = refused.publish(&[&alarm], &AtomicBool::new(false));
    assert!(
        matches!(refused.as_slice(), [Publication::Unknown(_)]),
        "nothing beside scoring is sent either: {refused:?}"
    );
    process.stop().expect("nothing is in the way");
    assert!(world.store.unfinished().1 >= waiting);
    assert!(world.publisher.published().is_empty());
    assert_eq!(
        world.store.log_identity().expect("in memory").as_deref(),
        Some("cluster")
    );
    // The remedy: back to the cluster that the state follows.
    world.log = own;
    world.finish(3);
    check(&world, true);
}

#[test]
fn a_broker_that_is_away_at_the_start_holds_up_nothing_but_reading() {
    let world = World::with_events(Setup::default(), 40, 5);
    world.log.set_down(true);
    let process = world.start(Fate::default(), 1);
    wait_until("the source waits", || {
        matches!(state(&process, EVENTS), SourceState::Waiting(_))
    });
    assert_eq!(world.count_of("a", START_US), None, "reads are answered");
    for _ in 0..3 {
        world.log.set_down(false);
        reads(&process, EVENTS);
        world.append_events(10, 7);
        world.log.set_down(true);
        wait_until("it waits again", || {
            matches!(state(&process, EVENTS), SourceState::Waiting(_))
        });
    }
    world.log.set_down(false);
    wait_until("all is done", || world.is_done());
    process.stop().expect("nothing is in the way");
    check(&world, true);
}

#[test]
fn a_missing_topic_halts_its_source_until_it_is_there() {
    let world = world(40);
    world.log.delete_topic(OTHER_TOPIC);
    let process = world.start(Fate::default(), 1);
    let reason = halted(&process, OTHER);
    assert!(
        reason.contains(OTHER_TOPIC) && reason.contains("create it"),
        "{reason}"
    );
    reads(&process, EVENTS);
    wait_until("events are read", || applied(&world, TOPIC, 0) > 0);
    world.log.create_topic(OTHER_TOPIC, 1);
    append_other(&world);
    wait_until("it is read", || applied(&world, OTHER_TOPIC, 0) == 1);
    process.stop().expect("nothing is in the way");
}

#[test]
fn a_source_that_the_broker_refuses_is_read_when_it_is_granted() {
    let world = world(40);
    world.log.refuse(TOPIC, true);
    let process = world.start(Fate::default(), 1);
    let reason = halted(&process, EVENTS);
    assert!(reason.contains("grant"), "{reason}");
    others_go_on(&world, &process);
    world.log.refuse(TOPIC, false);
    reads(&process, EVENTS);
    wait_until("all is done", || {
        applied(&world, TOPIC, 0) > 0 && world.is_done()
    });
    process.stop().expect("nothing is in the way");
    check(&world, true);
}

#[test]
fn added_partitions_are_read_from_their_beginning_and_are_lag_before() {
    let mut world = world(40);
    let process = world.start(Fate::default(), 1);
    wait_until("all is read", || world.log.is_read());
    world.setup.partitions = 3;
    world.log.grow(TOPIC, 3);
    world.append_events(40, 9);
    let third = world.log.records(TOPIC, 2).len();
    assert!(third > 0);
    wait_until("they are read", || {
        world.is_done() && applied(&world, TOPIC, 2) > 0
    });
    process.stop().expect("nothing is in the way");
    check(&world, true);
}

#[test]
fn a_retention_gap_halts_its_source_until_it_is_accepted_and_is_noted() {
    let world = world(20);
    world.finish(1);
    let from = applied(&world, TOPIC, 0);
    for number in 0..20 {
        let row = event(Some("z"), START_US, Some(0.5), number);
        world.log.append(TOPIC, 0, Ok(row));
    }
    world.log.delete_before(TOPIC, 0, from + 12);
    let process = world.start(Fate::default(), 2);
    let reason = halted(&process, EVENTS);
    assert!(
        reason.contains(&format!("{TOPIC}-0")) && reason.contains("forebay gap accept"),
        "{reason}"
    );
    others_go_on(&world, &process);
    let listed = process.pipeline.halts();
    assert_eq!(listed.len(), 1);
    assert_eq!(
        (listed[0].partition, listed[0].from, listed[0].to),
        (Some(0), Some(from), Some(from + 12))
    );
    assert!(process.accept_gaps(OTHER, None).is_err());
    assert!(process.accept_gaps(EVENTS, Some(1)).is_err());
    assert!(process.accept_gaps("nobody", None).is_err());
    let accepted = process.accept_gaps(EVENTS, Some(0)).expect("there is one");
    assert_eq!(
        (
            accepted[0].gap.from,
            accepted[0].gap.to,
            accepted[0].gap.accepted_us
        ),
        (from, from + 12, 77)
    );
    reads(&process, EVENTS);
    wait_until("the rest is read", || {
        applied(&world, TOPIC, 0) == from + 20
    });
    process.stop().expect("nothing is in the way");
    assert_eq!(world.archive.batches("_gaps").len(), 1);
    let rows: Vec<i64> = world
        .store
        .rows(LIFETIME)
        .concat()
        .iter()
        .filter(|row| row.key == encoded("z"))
        .map(|row| row.offset)
        .collect();
    assert_eq!(rows, (from + 12..from + 20).collect::<Vec<_>>());
    // Nobody has to accept it twice.
    let process = world.start(Fate::default(), 3);
    reads(&process, EVENTS);
    process.stop().expect("nothing is in the way");
}

fn encoded(key: &str) -> Vec<u8> {
    let array = arrow_array::StringArray::from(vec![key]);
    let keys = forebay_core::key::KeyBuffer::encode(&[std::sync::Arc::new(array)]);
    keys.expect("a key").get(0).expect("not null").to_vec()
}

#[test]
fn a_topic_has_so_many_accepted_gaps_and_no_more() {
    for (noted, accepted) in [(LOG_GAPS_MAX - 1, true), (LOG_GAPS_MAX, false)] {
        let world = world(20);
        world.finish(1);
        let mut note = world
            .store
            .topic_note(TOPIC)
            .expect("readable")
            .expect("noted");
        let gap = AcceptedGap {
            partition: 1,
            from: 1 << 40,
            to: 1 << 41,
            applied_to: 1 << 40,
            accepted_us: 0,
        };
        note.gaps = vec![gap; noted];
        world.store.set_topic_note(TOPIC, &note).expect("writable");
        world.append_events(20, 13);
        let last = world.log.records(TOPIC, 0).last().expect("some").offset;
        world.log.delete_before(TOPIC, 0, last);
        let process = world.start(Fate::default(), 2);
        halted(&process, EVENTS);
        assert_eq!(process.accept_gaps(EVENTS, None).is_ok(), accepted);
        process.stop().expect("nothing is in the way");
    }
}

#[test]
fn a_gap_that_opens_while_reading_halts_its_source() {
    let world = world(20);
    let fate = Fate::default();
    let process = world.start(fate, 1);
    wait_until("all is read", || world.log.is_read());
    world.log.set_down(true);
    world.append_events(40, 11);
    let last = world.log.records(TOPIC, 1).last().expect("some").offset;
    world.log.delete_before(TOPIC, 1, last);
    world.log.set_down(false);
    let reason = halted(&process, EVENTS);
    assert!(reason.contains(&format!("{TOPIC}-1")), "{reason}");
    others_go_on(&world, &process);
    process.accept_gaps(EVENTS, None).expect("there is one");
    reads(&process, EVENTS);
    wait_until("the rest is read", || applied(&world, TOPIC, 1) == last + 1);
    process.stop().expect("nothing is in the way");
}

#[test]
fn a_damaged_batch_halts_its_partition_alone_and_is_passed_where_it_ends() {
    let world = world(0);
    for partition in 0..2 {
        for number in 0..20 {
            let row = event(Some("a"), START_US, Some(0.5), number);
            world.log.append(TOPIC, partition, Ok(row));
        }
    }
    world.log.damage(TOPIC, 0, 5, 12);
    let process = world.start(Fate::default(), 1);
    wait_until("the other partition is read", || {
        applied(&world, TOPIC, 1) == 20
    });
    wait_until("the damaged one is not", || applied(&world, TOPIC, 0) == 5);
    let reason = || {
        let status = process.pipeline.status();
        let partitions = status.sources.get(EVENTS)?.partitions.first().cloned();
        partitions?.halted
    };
    wait_until("it is named", || reason().is_some());
    let halt = reason().expect("it is halted");
    let reason = &halt.reason;
    assert!(
        reason.contains(&format!("{TOPIC}-0")) && reason.contains("offset 5"),
        "{reason}"
    );
    assert!(
        reason.ends_with(&format!("`forebay gap accept {EVENTS}/0`")),
        "{reason}"
    );
    assert_eq!(halt.code, "unreadable");
    let accepted = process.accept_gaps(EVENTS, Some(0)).expect("the way past");
    assert_eq!((accepted[0].gap.from, accepted[0].gap.to), (5, 12));
    wait_until("the rest is read", || applied(&world, TOPIC, 0) == 20);
    process.stop().expect("nothing is in the way");
}

#[test]
fn a_record_beyond_the_end_of_its_log_is_not_taken() {
    let world = world(0);
    for number in 0..10 {
        let row = event(Some("a"), START_US, Some(0.5), number);
        world.log.append(TOPIC, 0, Ok(row));
    }
    world.log.shift(TOPIC, 0, 6, 956_301_312);
    let process = world.start(Fate::default(), 1);
    let listed = || process.pipeline.halts();
    wait_until("the partition is halted", || !listed().is_empty());
    let reason = listed()[0].halt.reason.clone();
    assert!(reason.contains("offset 956301318 came after 6"), "{reason}");
    others_go_on(&world, &process);
    assert_eq!(applied(&world, TOPIC, 0), 6);
    process.stop().expect("nothing is in the way");
}

#[test]
fn scores_that_waited_do_not_wait_for_a_source_that_is_halted() {
    let mut world = World::with_events(Setup::default(), 20, 47);
    world.sources.push(event_source(OTHER, OTHER_TOPIC));
    world.log.create_topic(OTHER_TOPIC, 1);
    append_other(&world);
    let fate = Fate::default();
    fate.take_away(
        forebay_testkit::Point::Score,
        forebay_core::ErrorKind::Unavailable,
    );
    let process = world.start(fate, 1);
    wait_until("all is read", || world.log.is_read());
    process.stop().expect("scores are left");
    assert!(world.store.unfinished().0 > 0);
    world.log.delete_topic(OTHER_TOPIC);
    let process = world.start(Fate::default(), 2);
    wait_until("they are scored and sent", || {
        world.store.unfinished() == (0, 0)
    });
    process.stop().expect("nothing is in the way");
}

#[test]
fn a_log_that_ends_in_control_records_and_that_retention_has_emptied_is_no_gap() {
    let world = world(20);
    let records = world.log.records(TOPIC, 0);
    let last = records.last().expect("it has records").offset;
    world.log.control(TOPIC, 0);
    let process = world.start(Fate::default(), 1);
    wait_until("the control record is passed", || {
        applied(&world, TOPIC, 0) > last + 1
    });
    process.stop().expect("nothing is in the way");
    world.log.delete_before(TOPIC, 0, applied(&world, TOPIC, 0));
    let process = world.start(Fate::default(), 2);
    reads(&process, EVENTS);
    process.stop().expect("nothing is in the way");
}

#[test]
fn scores_behind_an_accepted_gap_wait_for_no_new_record() {
    let mut behind_gaps = 0;
    for write in 0..24 {
        let world = World::with_events(Setup::default(), 40, 53);
        let process = world.start(Fate::killed_at(write, true), write);
        wait_until("the process ends or is done", || {
            process.fate.is_over() || world.is_done()
        });
        // A kill is an error of the stop.
        drop(process.stop());
        for partition in 0..world.setup.partitions {
            let number = i32::try_from(partition).expect("few");
            let place = TopicPartition::new(TOPIC, number);
            let shards = (0..world.setup.shards).map(|shard| world.store.applied(shard));
            let furthest = shards.map(|applied| applied.next_offset(&place)).max();
            let furthest = furthest.expect("there are shards");
            behind_gaps += usize::from(applied(&world, TOPIC, number) < furthest);
            world.log.delete_before(TOPIC, partition, furthest);
        }
        let process = world.start(Fate::default(), write + 1);
        wait_until("the source is read or halted", || {
            !matches!(state(&process, EVENTS), SourceState::Starting)
        });
        if matches!(state(&process, EVENTS), SourceState::Halted(_)) {
            process.accept_gaps(EVENTS, None).expect("there are gaps");
        }
        wait_until("nothing waits", || {
            world.log.is_read() && world.store.unfinished() == (0, 0)
        });
        process.stop().expect("nothing is in the way");
    }
    assert!(behind_gaps > 0, "a kill leaves one shard behind another");
}
