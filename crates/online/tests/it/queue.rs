//! The queues of the scoring stage: pending scores, the outbox and notes, each once, in order, by
//! deployment, arm and topic, over restarts and replays.

use std::collections::BTreeMap;
use std::sync::Arc;

use forebay_core::ports::{
    EpochWriter, OutboxEntry, PendingEntry, Published, ScoreLoad, ScoreQueue, ShardWrite,
};
use forebay_core::prediction::{Arm, OutboxRecord, PendingScore, Role};
use forebay_core::settlement::{Unscored, UnscoredReason};
use forebay_core::view::Window;
use forebay_online::RocksStore;

use crate::model::*;
use crate::pending::*;

const PREDICTIONS: &str = "predictions";

fn record(score: &PendingScore) -> OutboxRecord {
    OutboxRecord {
        topic: PREDICTIONS.into(),
        key: score.request.clone(),
        payload: format!("{{\"id\":\"{}\"}}", score.key.id()).into_bytes(),
        headers: vec![
            ("id".into(), score.key.id().into_bytes()),
            ("empty".into(), vec![]),
        ],
    }
}

fn log() -> Vec<Event> {
    let shape = LogShape {
        events: 60,
        partitions: 2,
        keys: 3,
        step_us: 5,
        jitter_us: 2,
        start_us: 0,
    };
    generate_log(&mut Random(5), shape)
}

fn write(events: &[Event]) -> ShardWrite {
    let view = wide_view(1, &[Window::Lifetime], None);
    ShardWrite {
        pending: events.iter().map(pending_of).collect(),
        ..shard_write(&[view], events, 0, 1)
    }
}

fn reopen(path: &std::path::Path) -> RocksStore {
    open(
        path,
        &options(1, 0),
        &[wide_view(1, &[Window::Lifetime], None)],
    )
}

fn outbox(store: &RocksStore, limit: usize) -> Vec<OutboxEntry> {
    let outbox = store.outbox(0, (DEPLOYMENT, PREDICTIONS), 0, limit);
    outbox.expect("outbox")
}

fn sent(entry: &OutboxEntry) -> Published<'_> {
    Published {
        entry,
        refused: None,
    }
}

/// Reason, partition and offsets of each note.
fn notes(store: &RocksStore) -> Vec<(UnscoredReason, i32, u64)> {
    let entries = store.unscored(0, 0, usize::MAX).expect("notes");
    assert!(entries.windows(2).all(|w| w[0].sequence < w[1].sequence));
    let short = |note: &Unscored| (note.reason, note.partition, note.offsets.count());
    entries.iter().map(|entry| short(&entry.note)).collect()
}

#[test]
fn scores_pass_through_the_outbox_once_and_in_order() {
    let log = log();
    let directory = tempfile::tempdir().expect("temporary directory");
    let store = reopen(directory.path());
    store.commit(0, &write(&log[..40])).expect("commit");
    let pending = all_pending(&store, 0);
    let expected: Vec<_> = log[..40].iter().map(pending_of).collect();
    assert_eq!(scores(&pending), expected);
    let some = store
        .pending(0, DEPLOYMENT, ARM, pending[2].sequence, 3)
        .expect("pending");
    assert_eq!(some, pending[2..5], "from a place, and no more than asked");

    let settled: Vec<_> = pending[..30]
        .iter()
        .map(|p| scored(p, record(&p.score)))
        .collect();
    store.settle(0, &settled).expect("settle");
    assert_eq!(outbox(&store, 1_000).len(), 30);
    // Settled again, one without a prediction, and one twice in a call: skipped.
    let again = [
        scored(&pending[0], record(&pending[0].score)),
        withdrawn(&pending[30]),
        scored(&pending[31], record(&pending[31].score)),
        scored(&pending[31], record(&pending[31].score)),
    ];
    store.settle(0, &again).expect("settle");

    drop(store);
    let store = reopen(directory.path());
    assert_eq!(all_pending(&store, 0), pending[32..]);
    let entries = outbox(&store, 1_000);
    let keys: Vec<_> = entries.iter().map(|e| &e.key).collect();
    let scored_keys = pending[..30].iter().chain([&pending[31]]);
    let expected: Vec<_> = scored_keys.map(|p| &p.score.key).collect();
    assert_eq!(keys, expected, "each in the order of settling");
    assert!(entries.windows(2).all(|w| w[0].sequence < w[1].sequence));
    let first: Vec<_> = entries[..10].iter().map(sent).collect();
    store.clear_outbox(0, &first).expect("clear");
    assert_eq!(outbox(&store, 5), entries[10..15]);
    assert_eq!(store.stats().outbox_records, 21);
    drop(store);
    let store = reopen(directory.path());
    assert_eq!(outbox(&store, 1_000), entries[10..]);
    let all: Vec<_> = entries.iter().map(sent).collect();
    store.clear_outbox(0, &all).expect("clear");
    assert!(outbox(&store, 1).is_empty());
    // The numbering goes on after everything was cleared and reopened.
    drop(store);
    let store = reopen(directory.path());
    let settled = [scored(&pending[32], record(&pending[32].score))];
    store.settle(0, &settled).expect("settle");
    assert!(outbox(&store, 1)[0].sequence > entries[30].sequence);
}

#[test]
fn replayed_events_are_not_pending_again() {
    let log = log();
    let directory = tempfile::tempdir().expect("temporary directory");
    let store = reopen(directory.path());
    store.commit(0, &write(&log[..20])).expect("commit");
    let settled: Vec<_> = all_pending(&store, 0).iter().map(withdrawn).collect();
    store.settle(0, &settled).expect("settle");
    // The log is read again from its start, in another cut.
    store.commit(0, &write(&log[..35])).expect("commit");
    let expected: Vec<_> = log[20..35].iter().map(pending_of).collect();
    assert_eq!(scores(&all_pending(&store, 0)), expected);
    assert!(store.stats().rows_replayed > 0);
}

#[test]
fn each_deployment_has_queues_of_its_own() {
    let log = log();
    let directory = tempfile::tempdir().expect("temporary directory");
    let store = reopen(directory.path());
    let mut both = write(&log[..20]);
    let others: Vec<Arc<PendingScore>> = both
        .pending
        .iter()
        .map(|score| {
            let mut score = PendingScore::clone(score);
            score.key.deployment = "other".into();
            Arc::new(score)
        })
        .collect();
    both.pending.splice(0..0, others);
    store.commit(0, &both).expect("commit");
    let load = store.score_load(0).expect("load");
    let other = load["other"].pending();
    assert_eq!((load[DEPLOYMENT].pending().scores, other.scores), (20, 20));
    assert!(other.bytes > 20 && other.oldest_us.is_some_and(|us| us <= 0));
    let settled: Vec<_> = all_pending(&store, 0)
        .iter()
        .map(|p| scored(p, record(&p.score)))
        .collect();
    store.settle(0, &settled).expect("settle");
    let check = |store: &RocksStore| {
        let load = store.score_load(0).expect("load");
        let other = &load["other"];
        assert_eq!((other.pending().scores, other.outbox_records()), (20, 0));
        let expected = ScoreLoad {
            outbox: BTreeMap::from([(PREDICTIONS.to_owned(), 20)]),
            ..ScoreLoad::default()
        };
        assert_eq!(load[DEPLOYMENT], expected);
        let others = store.outbox(0, ("other", PREDICTIONS), 0, 9);
        assert!(others.expect("outbox").is_empty());
    };
    check(&store);
    drop(store);
    check(&reopen(directory.path()));
}

/// Records say their role and their topic themselves, as those of older builds do: what a restart
/// makes of them is what was there before.
#[test]
fn arms_and_topics_are_told_apart_after_a_restart_as_before() {
    let log = log();
    let directory = tempfile::tempdir().expect("temporary directory");
    let store = reopen(directory.path());
    let shadow = Arm {
        role: Role::Shadow,
        ..ARM
    };
    let mut both = write(&log[..20]);
    let shadows: Vec<Arc<PendingScore>> = both
        .pending
        .iter()
        .map(|score| {
            let mut score = PendingScore::clone(score);
            score.key.role = Role::Shadow;
            Arc::new(score)
        })
        .collect();
    both.pending.splice(0..0, shadows);
    store.commit(0, &both).expect("commit");
    let pending = |store: &RocksStore, arm| {
        let pending = store.pending(0, DEPLOYMENT, arm, 0, usize::MAX);
        pending.expect("pending")
    };
    let settled: Vec<_> = [ARM, shadow]
        .into_iter()
        .flat_map(|arm| pending(&store, arm).into_iter().skip(5))
        .map(|entry| {
            let mut record = record(&entry.score);
            if entry.score.key.role == Role::Shadow {
                record.topic.push_str(".shadow");
            }
            scored(&entry, record)
        })
        .collect();
    store.settle(0, &settled).expect("settle");
    let seen = |store: &RocksStore| {
        let outbox = |topic| store.outbox(0, (DEPLOYMENT, topic), 0, usize::MAX);
        let queues = [ARM, shadow].map(|arm| pending(store, arm));
        let outboxes =
            [PREDICTIONS, "predictions.shadow"].map(|topic| outbox(topic).expect("outbox"));
        (queues, outboxes, store.score_load(0).expect("load"))
    };
    let before = seen(&store);
    assert_eq!(before.0.each_ref().map(Vec::len), [5, 5]);
    assert_eq!(before.1.each_ref().map(Vec::len), [15, 15]);
    drop(store);
    assert_eq!(seen(&reopen(directory.path())), before);
}

#[test]
fn what_has_no_prediction_is_noted_until_the_archive_has_it() {
    let log = log();
    let directory = tempfile::tempdir().expect("temporary directory");
    let store = reopen(directory.path());
    store.commit(0, &write(&log[..20])).expect("commit");
    let pending = all_pending(&store, 0);
    let (sent_on, given_up): (Vec<&PendingEntry>, Vec<_>) =
        pending.iter().partition(|p| p.score.key.partition == 0);
    let settled: Vec<_> = sent_on
        .iter()
        .map(|p| scored(p, record(&p.score)))
        .chain(given_up.iter().map(|p| withdrawn(p)))
        .collect();
    store.settle(0, &settled).expect("settle");
    let entries = outbox(&store, 2);
    let refused: Vec<_> = entries
        .iter()
        .map(|entry| Published {
            entry,
            refused: Some("too large"),
        })
        .collect();
    store.clear_outbox(0, &refused).expect("clear");
    store.clear_outbox(0, &refused).expect("clear");
    let withdrawn = (UnscoredReason::Withdrawn, 1, given_up.len() as u64);
    let expected = vec![withdrawn, (UnscoredReason::PredictionRefused, 0, 2)];
    assert_eq!(notes(&store), expected);
    assert_eq!(outbox(&store, 1_000).len(), sent_on.len() - 2);

    drop(store);
    let store = reopen(directory.path());
    assert_eq!(notes(&store), expected);
    let first = store.unscored(0, 0, 1).expect("notes")[0].sequence;
    store.clear_unscored(0, first).expect("clear");
    assert_eq!(notes(&store), expected[1..]);
    store.clear_unscored(0, u64::MAX).expect("clear");
    assert!(notes(&store).is_empty());
}

#[test]
fn notes_are_numbered_on_from_what_the_archive_has() {
    let log = log();
    let directory = tempfile::tempdir().expect("temporary directory");
    let store = reopen(directory.path());
    let places = |store: &RocksStore| {
        let entries = store.unscored(0, 0, usize::MAX).expect("notes");
        entries
            .iter()
            .map(|entry| entry.sequence)
            .collect::<Vec<_>>()
    };
    store.number_notes_from(0, 7).expect("numbered");
    drop(store);
    let store = reopen(directory.path());
    store.commit(0, &write(&log[..20])).expect("commit");
    let withdraw = |entries: &[PendingEntry]| {
        let settled: Vec<_> = entries.iter().map(withdrawn).collect();
        store.settle(0, &settled).expect("settle");
    };
    let pending = all_pending(&store, 0);
    withdraw(&pending[..1]);
    assert_eq!(places(&store), [7]);
    // A state that is further than the archive goes on by itself.
    store.number_notes_from(0, 5).expect("numbered");
    withdraw(&pending[1..2]);
    // One that was set back leaves out what the archive has had since.
    store.number_notes_from(0, 20).expect("numbered");
    withdraw(&pending[2..3]);
    assert_eq!(places(&store), [7, 8, 20]);
    store.clear_unscored(0, 8).expect("clear");
    assert_eq!(places(&store), [20]);
}

#[test]
fn a_note_of_an_epoch_covers_only_what_the_shard_had_not_applied() {
    let log = log();
    let directory = tempfile::tempdir().expect("temporary directory");
    let store = reopen(directory.path());
    let noted = |events: &[Event]| {
        let mut write = write(events);
        let mut notes = forebay_core::settlement::UnscoredNotes::default();
        for score in write.pending.drain(..) {
            notes.add(&score.key, UnscoredReason::Suspended, "why");
        }
        write.unscored = notes.into_notes();
        write
    };
    store.commit(0, &noted(&log[..20])).expect("commit");
    // Read again from the start, in another cut.
    store.commit(0, &noted(&log[..35])).expect("commit");
    let count: u64 = notes(&store).iter().map(|(_, _, count)| count).sum();
    assert_eq!(count, 35, "each event once");
    drop(store);
    let store = reopen(directory.path());
    store.commit(0, &noted(&log[..40])).expect("commit");
    let count: u64 = notes(&store).iter().map(|(_, _, count)| count).sum();
    assert_eq!(count, 40);
}
