//! Outages: a store, the archive, the broker or the model fails for a while, or its answers are
//! lost. Ingest pauses and reads go on; what came is not lost, and goes on when the part is back.
//! What fails for good, panics or hangs stops itself alone, with its words: a deployment, a table
//! with its source. Only a shard and the log itself stop ingest.

use std::time::{Duration, Instant};

use forebay_core::ErrorKind;
use forebay_core::limits::ARCHIVE_DRAIN_MAX_MS;
use forebay_core::settlement::SETTLEMENT_TABLE;
use forebay_core::value::Value;
use forebay_pipeline::archive::DEAD_LETTER_TABLE;
use forebay_pipeline::{DeploymentState, SourceState};
use forebay_testkit::{ArchivedRow, Fate, Point, TableFault, wait_until};

use forebay_sim::oracle::{Oracle, check};
use forebay_sim::world::{
    EVENTS as EVENT_TABLE, KEYS, PREDICTIONS, Process, START_US, Setup, World, runtime,
};

const EVENTS: usize = 300;

fn world() -> World {
    World::with_events(
        Setup {
            epoch_max_rows: 4,
            ..Setup::default()
        },
        EVENTS,
        11,
    )
}

/// Take `point` away from the start, see what `meanwhile` sees, and bring it back.
fn recovers_from(point: Point, kind: ErrorKind, meanwhile: impl FnOnce(&World, &Process)) {
    let fate = Fate::default();
    fate.take_away(point, kind);
    recovers_under(fate, point, meanwhile);
}

/// The same with what `fate` holds for `point`.
fn recovers_under(fate: Fate, point: Point, meanwhile: impl FnOnce(&World, &Process)) {
    let world = world();
    let process = world.start(fate, 1);
    wait_until("the failing part was tried again", || {
        process.pipeline.status().retries > 1
    });
    meanwhile(&world, &process);
    let status = process.pipeline.status();
    assert!(status.failed.is_none(), "{status:?}");
    process.fate.restore(point);
    wait_until("all is done", || world.is_done());
    process.stop().expect("nothing is in the way");
    check(&world, true);
}

/// While tries go on, the log is polled no more, and most of it waits.
fn pauses(world: &World, process: &Process) {
    wait_until("the reader pauses", || {
        let (polls, retries) = (
            process.fate.calls(Point::Poll),
            process.pipeline.status().retries,
        );
        wait_until("tries go on", || {
            process.pipeline.status().retries > retries + 1
        });
        process.fate.calls(Point::Poll) == polls
    });
    assert!(!world.log.is_read());
}

/// While a deployment is tried again, all is read, folded and archived, and its status says why it
/// waits.
fn reads_on(world: &World, process: &Process) {
    wait_until("the log is read to its end", || world.log.is_read());
    wait_until("all is archived", || {
        world.archive.rows("events").len() == Oracle::of(world).accepted.len()
    });
    let waiting = Oracle::of(world).predictions.len();
    wait_until("every event waits for its score", || {
        world.store.unfinished() == (waiting, 0)
    });
    let status = process.pipeline.status();
    let deployment = &status.deployments["scorer"];
    assert_eq!(deployment.state(), DeploymentState::Retrying);
    let reason = deployment.reason().expect("it retries");
    assert!(reason.contains("taken away by the test"), "{reason}");
    wait_until("what waits is shown", || {
        process.pipeline.status().deployments["scorer"].pending == waiting as u64
    });
}

#[test]
fn while_the_store_fails_ingest_pauses_and_reads_go_on() {
    recovers_from(Point::Commit, ErrorKind::Unavailable, |world, process| {
        pauses(world, process);
        assert_eq!(
            world.count_of(KEYS[0], START_US),
            None,
            "reads are answered"
        );
    });
}

#[test]
fn while_the_archive_fails_ingest_pauses_and_loses_no_row() {
    recovers_from(Point::Append, ErrorKind::Unavailable, |world, process| {
        pauses(world, process);
        assert!(world.archive.rows("events").is_empty());
        assert!(
            KEYS.iter()
                .any(|key| world.count_of(key, i64::MAX / 2).is_some()),
            "reads see what the shards have"
        );
    });
}

#[test]
fn an_append_whose_answer_is_lost_is_not_doubled() {
    for kind in [ErrorKind::MaybeWritten, ErrorKind::Unavailable] {
        let world = world();
        let fate = Fate::default();
        fate.lose_replies(Point::Append, kind, 3);
        let process = world.start(fate, 2);
        wait_until("all is done", || world.is_done());
        assert!(process.pipeline.status().retries >= 3);
        process.stop().expect("nothing is in the way");
        check(&world, true);
    }
}

#[test]
fn while_scores_cannot_be_written_they_wait() {
    recovers_from(Point::Settle, ErrorKind::Unavailable, |world, _| {
        assert!(world.publisher.published().is_empty())
    });
}

#[test]
fn while_the_model_does_not_answer_scores_wait() {
    recovers_from(Point::Score, ErrorKind::Unavailable, |world, process| {
        reads_on(world, process);
        assert!(world.publisher.published().is_empty());
    });
}

/// A worker with another fingerprint, a model that is not there, bytes that contradict themselves,
/// a defect: no row's fault.
#[test]
fn while_the_model_is_deployed_wrongly_scores_wait_and_none_is_lost() {
    for kind in [
        ErrorKind::FailedPrecondition,
        ErrorKind::NotFound,
        ErrorKind::DataLoss,
        ErrorKind::Internal,
    ] {
        recovers_from(Point::Score, kind, |world, process| {
            reads_on(world, process);
            assert_eq!(process.pipeline.status().unscored, 0, "{kind:?}");
            assert!(world.publisher.published().is_empty());
        });
    }
}

#[test]
fn while_broker_or_topic_take_nothing_predictions_wait_in_the_outbox_and_the_log_is_read() {
    let kinds = [
        ErrorKind::Unavailable,
        ErrorKind::NotFound,
        ErrorKind::FailedPrecondition,
    ];
    for kind in kinds {
        recovers_from(Point::Publish, kind, |world, process| {
            let scored = Oracle::of(world).predictions.len();
            wait_until("all is scored and read", || {
                world.store.unfinished() == (0, scored) && world.log.is_read()
            });
            assert!(world.publisher.published().is_empty());
            let status = process.pipeline.status();
            let deployment = &status.deployments["scorer"];
            assert_eq!(deployment.state(), DeploymentState::Retrying, "{kind:?}");
            assert!(!deployment.publishing.is_empty() && deployment.scoring.is_empty());
        });
    }
}

#[test]
fn predictions_whose_acknowledgement_is_lost_are_sent_again_and_count_once() {
    let world = world();
    let fate = Fate::default();
    fate.lose_replies(Point::Publish, ErrorKind::Unavailable, 3);
    let process = world.start(fate, 3);
    let counters = process.pipeline.counters();
    wait_until("all is done", || world.is_done());
    process.stop().expect("nothing is in the way");
    let status = counters.snapshot();
    let repeats = world.publisher.published().len() - world.published_ids().len();
    assert!(
        repeats > 0 && status.repeats == repeats as u64,
        "{repeats} repeats, {status:?}"
    );
    check(&world, true);
}

#[test]
fn an_outbox_that_cannot_be_cleared_is_cleared_later() {
    recovers_from(Point::ClearOutbox, ErrorKind::Unavailable, |world, _| {
        assert!(!world.publisher.published().is_empty());
    });
}

#[test]
fn a_log_that_does_not_answer_is_asked_again() {
    recovers_from(Point::Poll, ErrorKind::Unavailable, |world, _| {
        assert!(world.observed.lock().is_empty())
    });
}

#[test]
fn a_stop_leaves_what_cannot_be_scored_or_sent_to_the_next_start() {
    let cases = [
        (Point::Score, ErrorKind::Unavailable),
        (Point::Score, ErrorKind::FailedPrecondition),
        (Point::Publish, ErrorKind::Unavailable),
    ];
    for (point, kind) in cases {
        let world = world();
        let fate = Fate::default();
        fate.take_away(point, kind);
        let process = world.start(fate, 4);
        wait_until("the failing part was tried again", || {
            process.pipeline.status().retries > 1
        });
        process.stop().expect("it is not in the way of stopping");
        let (pending, outbox) = world.store.unfinished();
        assert!(pending + outbox > 0, "{point:?}");
        world.finish(5);
        check(&world, true);
    }
}

#[test]
fn a_stop_while_a_store_fails_says_so_and_the_next_start_goes_on() {
    for point in [Point::Commit, Point::Append] {
        let world = world();
        let fate = Fate::default();
        fate.take_away(point, ErrorKind::Unavailable);
        let process = world.start(fate, 6);
        wait_until("the failing part was tried again", || {
            process.pipeline.status().retries > 1
        });
        let error = process
            .stop()
            .expect_err("what was read could not be written");
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{point:?}: {error}");
        world.finish(7);
        check(&world, point == Point::Commit);
    }
}

#[test]
fn what_ingest_cannot_do_without_stops_it_with_its_words_and_a_restart_goes_on() {
    for point in [Point::Commit, Point::Poll] {
        let world = world();
        let fate = Fate::default();
        fate.take_away(point, ErrorKind::FailedPrecondition);
        let process = world.start(fate, 8);
        let words = format!("{point:?} is taken away");
        wait_until("it is told", || {
            let failed = process.pipeline.status().failed;
            failed.is_some_and(|why| why.contains(&words))
        });
        wait_until("ingest has ended", || !process.pipeline.is_ingesting());
        assert_eq!(
            world.count_of("nobody", START_US),
            None,
            "reads are answered"
        );
        let error = process.stop().expect_err("it failed");
        assert!(error.to_string().contains(&words), "{point:?}: {error}");
        world.finish(9);
        check(&world, true);
    }
}

/// Whose work it is, and what shows that all before it was done.
fn fails_alone(point: Point, fate: Fate) {
    recovers_under(fate, point, |world, process| {
        wait_until("the log is read to its end", || world.log.is_read());
        wait_until("all is archived", || {
            world.archive.rows("events").len() == Oracle::of(world).accepted.len()
        });
        let status = process.pipeline.status();
        let deployment = &status.deployments["scorer"];
        assert_eq!(deployment.state(), DeploymentState::Retrying, "{point:?}");
        let (scoring, publishing) = (&deployment.scoring, &deployment.publishing);
        let is_of_scoring = point == Point::Settle;
        assert_eq!(!scoring.is_empty(), is_of_scoring, "{point:?}");
        assert_eq!(!publishing.is_empty(), !is_of_scoring, "{point:?}");
    });
}

#[test]
fn a_deployment_that_fails_for_good_is_tried_again_alone_and_all_else_goes_on() {
    for point in [Point::Settle, Point::ClearOutbox] {
        for kind in [ErrorKind::FailedPrecondition, ErrorKind::DataLoss] {
            let fate = Fate::default();
            fate.take_away(point, kind);
            fails_alone(point, fate);
        }
    }
}

#[test]
fn a_deployment_that_panics_is_started_again_alone_and_all_else_goes_on() {
    for point in [Point::Settle, Point::Publish, Point::ClearOutbox] {
        let fate = Fate::default();
        fate.panic_at(point);
        fails_alone(point, fate);
    }
}

#[test]
fn a_stop_beside_a_deployment_that_fails_for_good_is_a_stop() {
    let world = world();
    let fate = Fate::default();
    fate.take_away(Point::Settle, ErrorKind::FailedPrecondition);
    let process = world.start(fate, 8);
    wait_until("it was tried again", || {
        process.pipeline.status().retries > 1
    });
    process.stop().expect("the deployment alone has failed");
    world.finish(9);
    check(&world, true);
}

/// Break `table`; `halted` is the source that is then read no more, until it is mended.
fn halts_alone(table: &str, fault: TableFault, halted: &str) {
    let world = world();
    let fate = Fate::default();
    fate.break_table(table, fault);
    let process = world.start(fate, 21);
    let state = |source: &str| process.pipeline.status().sources[source].state.clone();
    wait_until("the source is halted", || {
        matches!(state(halted), SourceState::Halted(_))
    });
    let reason = state(halted).reason().expect("it is halted").to_owned();
    let names = format!("rows of '{halted}' are not archived");
    assert!(reason.contains(&names), "{fault:?}: {reason}");
    let (oracle, other) = (Oracle::of(&world), [PREDICTIONS, EVENT_TABLE]);
    if halted == PREDICTIONS {
        wait_until("events are read, archived, scored and published", || {
            world.archive.rows(EVENT_TABLE).len() == oracle.accepted.len()
                && world.published_ids().len() == oracle.predictions.len()
        });
    } else {
        wait_until("what is published comes back and is archived", || {
            let published = world.published_ids().len();
            published > 0 && world.archive.rows(PREDICTIONS).len() == published
        });
        assert!(world.archive.rows(EVENT_TABLE).is_empty());
    }
    let other = other[usize::from(halted == PREDICTIONS)];
    assert_eq!(state(other), SourceState::Reading, "{fault:?}");
    let status = process.pipeline.status();
    assert!(status.failed.is_none(), "{fault:?}: {status:?}");
    process.fate.mend_table(table);
    // What is not assigned does not count as unread.
    wait_until("all is archived and done", || {
        world.archive.rows(EVENT_TABLE).len() == oracle.accepted.len()
            && world.archive.rows(PREDICTIONS).len() == oracle.predictions.len()
            && world.is_done()
    });
    process.stop().expect("nothing is in the way");
    check(&world, true);
}

#[test]
fn a_table_that_takes_nothing_halts_its_source_alone_and_loses_no_row() {
    let faults = [
        TableFault::Fails(ErrorKind::FailedPrecondition),
        TableFault::Fails(ErrorKind::Unavailable),
        TableFault::Panics,
    ];
    for fault in faults {
        for source in [EVENT_TABLE, PREDICTIONS] {
            halts_alone(source, fault, source);
        }
        halts_alone(DEAD_LETTER_TABLE, fault, EVENT_TABLE);
    }
}

#[test]
fn a_table_whose_appends_hang_halts_its_source_alone_and_loses_no_row() {
    for source in [EVENT_TABLE, PREDICTIONS] {
        halts_alone(source, TableFault::Hangs, source);
    }
}

/// With `fault` at a start the source of the table is halted for these words, and nothing else; it
/// goes on when the table is whole.
fn halts_alone_at_a_start(fault: TableFault, words: &str) {
    let world = world();
    let fate = Fate::default();
    fate.break_table(PREDICTIONS, fault);
    let process = world.start(fate, 24);
    let oracle = Oracle::of(&world);
    wait_until("events are archived, scored and published", || {
        world.archive.rows(EVENT_TABLE).len() == oracle.accepted.len()
            && world.published_ids().len() == oracle.predictions.len()
    });
    let state = process.pipeline.status().sources[PREDICTIONS].state.clone();
    let reason = state.reason().expect("it is halted");
    assert!(reason.contains(words), "{reason}");
    process.fate.mend_table(PREDICTIONS);
    wait_until("all is archived", || {
        world.archive.rows(PREDICTIONS).len() == oracle.predictions.len() && world.is_done()
    });
    process.stop().expect("nothing is in the way");
    check(&world, true);
}

#[test]
fn a_table_that_cannot_be_read_at_a_start_halts_its_source_alone() {
    halts_alone_at_a_start(TableFault::Shut, "'predictions' is damaged");
}

#[test]
fn a_table_that_does_not_answer_at_a_start_halts_its_source_alone() {
    halts_alone_at_a_start(TableFault::Silent, "has not answered for");
}

#[test]
fn a_source_that_cannot_be_read_at_a_start_holds_back_no_expiry() {
    let world = world();
    let fate = Fate::default();
    fate.break_table(PREDICTIONS, TableFault::Shut);
    let process = world.start(fate, 26);
    let all = Oracle::of(&world).predictions.len();
    wait_until("events are scored and published", || {
        world.published_ids().len() == all
    });
    wait_until("state is kept for nothing any more", || {
        world.store.kept_from().is_none()
    });
    let halts = process.pipeline.halts();
    assert!(halts.iter().any(|halt| halt.source == PREDICTIONS));
    process.fate.mend_table(PREDICTIONS);
    wait_until("all is archived", || {
        world.archive.rows(PREDICTIONS).len() == all && world.is_done()
    });
    process.stop().expect("nothing is in the way");
    check(&world, true);
}

#[test]
fn a_stop_beside_a_table_that_takes_nothing_says_so_and_the_next_start_goes_on() {
    let world = world();
    let fate = Fate::default();
    fate.break_table(EVENT_TABLE, TableFault::Fails(ErrorKind::DataLoss));
    let process = world.start(fate, 22);
    wait_until("it was tried again", || {
        process.pipeline.status().retries > 1
    });
    let error = process.stop().expect_err("rows are not archived");
    assert_eq!(error.kind(), ErrorKind::DataLoss, "{error}");
    world.finish(23);
    check(&world, false);
}

#[test]
fn a_stop_beside_a_table_that_hangs_leaves_it_behind_and_the_next_start_goes_on() {
    let longest = Duration::from_millis(ARCHIVE_DRAIN_MAX_MS);
    for (table, other) in [(EVENT_TABLE, PREDICTIONS), (PREDICTIONS, EVENT_TABLE)] {
        let world = world();
        let fate = Fate::default();
        fate.break_table(table, TableFault::Hangs);
        let Process { pipeline, .. } = world.start(fate, 25);
        let archiver = pipeline.archiver();
        wait_until("an append hangs", || !archiver.running()[table].is_zero());
        let began = Instant::now();
        let stopped = runtime().block_on(pipeline.stop());
        // A batch that comes for it last may wait as long before it is left.
        let took = began.elapsed();
        assert!(longest <= took && took < 3 * longest, "{took:?}");
        assert!(!stopped.is_whole() && stopped.lacks(other).is_none());
        let why = stopped.lacks(table).expect("it hangs").to_string();
        assert!(why.contains(&format!("table '{table}'")), "{why}");
        let error = stopped.all().expect_err("rows are not archived");
        assert_eq!(error.kind(), ErrorKind::DeadlineExceeded, "{error}");
        world.finish(26);
        check(&world, false);
    }
}

#[test]
fn a_stop_while_an_append_of_notes_hangs_leaves_them_to_the_next_start() {
    let setup = Setup {
        model_refuses: Some(1.0),
        ..Setup::default()
    };
    let world = World::with_events(setup, 60, 13);
    let fate = Fate::default();
    fate.break_table(SETTLEMENT_TABLE, TableFault::Hangs);
    let process = world.start(fate, 27);
    wait_until("the log is read and nothing waits", || {
        world.log.is_read() && world.store.unfinished() == (0, 0)
    });
    let noted = process.pipeline.status().unscored;
    assert!(noted > 0 && world.archive.rows(SETTLEMENT_TABLE).is_empty());
    let began = Instant::now();
    process.stop().expect("all that was read is archived");
    let longest = Duration::from_millis(ARCHIVE_DRAIN_MAX_MS);
    assert!(began.elapsed() < 2 * longest, "{:?}", began.elapsed());
    let events = |row: &ArchivedRow| match row.values["events"] {
        Value::Int(events) => events.unsigned_abs(),
        ref other => panic!("{other:?} is no count"),
    };
    let process = world.start(Fate::default(), 28);
    wait_until("the notes are archived, each once", || {
        let rows = world.archive.rows(SETTLEMENT_TABLE);
        rows.iter().map(events).sum::<u64>() == noted
    });
    process.stop().expect("nothing is in the way");
}

#[test]
fn rows_that_the_model_refuses_or_panics_on_do_not_hold_up_their_neighbours() {
    for model_panics in [false, true] {
        // The first feature is the count of the last minute: the model refuses those who are alone
        // in it.
        let setup = Setup {
            model_refuses: Some(1.0),
            model_panics,
            ..Setup::default()
        };
        let world = World::with_events(setup, 60, 13);
        let process = world.start(Fate::default(), 1);
        wait_until("the log is read and nothing waits", || {
            world.log.is_read() && world.store.unfinished() == (0, 0) && {
                let status = process.pipeline.status();
                let scored = world.published_ids().len() as u64 + status.unscored;
                scored == Oracle::of(&world).predictions.len() as u64
            }
        });
        let status = process.pipeline.status();
        process.stop().expect("nothing is in the way");
        assert!(
            status.unscored > 0 && !world.publisher.published().is_empty(),
            "{status:?}"
        );
    }
}

#[test]
fn scores_of_a_version_that_is_off_the_route_and_gone_hold_up_nothing() {
    let mut world = world();
    let fate = Fate::default();
    fate.take_away(Point::Score, ErrorKind::Unavailable);
    let process = world.start(fate, 14);
    wait_until("scores wait", || process.pipeline.status().retries > 1);
    process.stop().expect("scores are left");
    let waiting = world.store.unfinished().0 as u64;
    world.setup.model_lacks = Some(world.setup.version);
    world.setup.version = 5;
    let process = world.start(Fate::default(), 15);
    let counters = process.pipeline.counters();
    let scored = || world.published_ids().len() as u64 + waiting;
    wait_until("all others are scored", || {
        world.store.unfinished() == (0, 0)
            && scored() == Oracle::of(&world).predictions.len() as u64
    });
    process.stop().expect("nothing is in the way");
    let status = counters.snapshot();
    assert_eq!(
        (status.unscored, status.retries, status.scores_waiting),
        (waiting, 0, 0),
        "{status:?}"
    );
}
