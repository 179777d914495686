//! What the scoring stage relies on: each event waits once and in order, and ends with a record or
//! a note.

use std::sync::Arc;

use forebay_core::ports::{OnlineStore, PendingEntry, Published, Settled, ShardWrite};
use forebay_core::prediction::{OutboxRecord, PendingScore, PredictionKey, Role};
use forebay_core::settlement::{ScoreOutcome, Unscored, UnscoredReason};

use super::{Check, Event, TOPIC, write_of};

const DEPLOYMENT: &str = "d";

pub(super) const CHECKS: &[Check] = &[
    scores_wait_once_and_in_order,
    each_version_has_a_queue_of_its_own,
    what_is_settled_waits_in_the_outbox_until_it_is_published,
    what_has_no_prediction_is_noted_until_the_archive_has_it,
    what_is_lost_is_noted_whatever_was_applied,
];

fn scores_wait_once_and_in_order(store: &dyn OnlineStore) {
    commit(store, &[0, 1, 2]);
    // The log is read again.
    commit(store, &[0, 1, 2, 3]);
    let waiting = pending(store);
    let offsets: Vec<i64> = waiting.iter().map(|entry| entry.score.key.offset).collect();
    assert_eq!(offsets, [0, 1, 2, 3]);
    assert!(waiting.is_sorted_by(|a, b| a.sequence < b.sequence));
    let some = store.pending(0, DEPLOYMENT, 1, waiting[1].sequence, 2);
    assert_eq!(some.expect("readable"), waiting[1..3]);
    let load = store.score_load(0).expect("counted")[DEPLOYMENT].clone();
    let pending = load.pending();
    assert_eq!(
        (pending.scores, pending.oldest_us, load.outbox),
        (4, Some(0), 0)
    );
    let other = store.pending(0, "another", 1, 0, usize::MAX);
    assert!(other.expect("readable").is_empty());
}

fn each_version_has_a_queue_of_its_own(store: &dyn OnlineStore) {
    commit_for(store, &[0, 1, 2], &[1, 2]);
    let of = |version: u32| -> Vec<PendingEntry> {
        let pending = store.pending(0, DEPLOYMENT, version, 0, usize::MAX);
        pending.expect("readable")
    };
    for version in [1, 2] {
        let keys = of(version).into_iter().map(|entry| entry.score.key.clone());
        let places: Vec<(u32, i64)> = keys.map(|key| (key.model_version, key.offset)).collect();
        assert_eq!(places, [(version, 0), (version, 1), (version, 2)]);
    }
    assert!(of(3).is_empty());
    let settled: Vec<Settled> = of(2).into_iter().skip(1).map(scored).collect();
    store.settle(0, &settled).expect("settled");
    assert_eq!((of(1).len(), of(2).len()), (3, 1));
    let load = store.score_load(0).expect("counted")[DEPLOYMENT].clone();
    let scores = |version| load.of(version).scores;
    assert_eq!((scores(1), scores(2), scores(3), load.outbox), (3, 1, 0, 2));
    assert_eq!(load.of(2).oldest_us, Some(0));
}

fn what_is_settled_waits_in_the_outbox_until_it_is_published(store: &dyn OnlineStore) {
    commit(store, &[0, 1]);
    let settled: Vec<Settled> = pending(store).into_iter().map(scored).collect();
    store.settle(0, &settled).expect("settled");
    store.settle(0, &settled).expect("skipped: settled already");
    assert!(pending(store).is_empty());
    let outbox = store
        .outbox(0, DEPLOYMENT, 0, usize::MAX)
        .expect("readable");
    let offsets: Vec<i64> = outbox.iter().map(|entry| entry.key.offset).collect();
    assert_eq!(offsets, [0, 1]);
    let published = Published {
        entry: &outbox[0],
        refused: None,
    };
    store.clear_outbox(0, &[published]).expect("cleared");
    store.clear_outbox(0, &[published]).expect("gone already");
    let left = store.outbox(0, DEPLOYMENT, 0, usize::MAX);
    assert_eq!(left.expect("readable"), outbox[1..]);
    assert!(
        store
            .unscored(0, 0, usize::MAX)
            .expect("readable")
            .is_empty()
    );
}

fn what_has_no_prediction_is_noted_until_the_archive_has_it(store: &dyn OnlineStore) {
    store.number_notes_from(0, 40).expect("numbered");
    commit(store, &[0, 1]);
    let waiting = pending(store);
    let (refused, gone) = (scored(waiting[0].clone()), withdrawn(waiting[1].clone()));
    store.settle(0, &[refused, gone]).expect("settled");
    let outbox = store
        .outbox(0, DEPLOYMENT, 0, usize::MAX)
        .expect("readable");
    let published = Published {
        entry: &outbox[0],
        refused: Some("too large"),
    };
    store.clear_outbox(0, &[published]).expect("cleared");
    let notes = store.unscored(0, 0, usize::MAX).expect("readable");
    let reasons: Vec<UnscoredReason> = notes.iter().map(|entry| entry.note.reason).collect();
    let expected = [UnscoredReason::Withdrawn, UnscoredReason::PredictionRefused];
    assert_eq!(reasons, expected);
    assert!(notes[0].sequence >= 40 && notes[1].sequence > notes[0].sequence);
    store.clear_unscored(0, notes[0].sequence).expect("cleared");
    let left = store.unscored(0, 0, usize::MAX);
    assert_eq!(left.expect("readable"), notes[1..]);
}

/// An epoch of shard 0 with one event at each of `offsets` that waits for a score.
fn what_is_lost_is_noted_whatever_was_applied(store: &dyn OnlineStore) {
    commit(store, &[0, 1]);
    let score = &pending(store)[0].score;
    let note = Unscored::one(&score.key, UnscoredReason::Lost, "a gap");
    let before = store.unscored(0, 0, usize::MAX).expect("readable").len();
    store.note(0, &[note.clone(), note.clone()]).expect("noted");
    let notes = store.unscored(0, 0, usize::MAX).expect("readable");
    let new: Vec<_> = notes[before..].iter().map(|entry| &entry.note).collect();
    assert_eq!(new, [&note, &note]);
    assert!(notes.is_sorted_by(|a, b| a.sequence < b.sequence));
    assert_eq!(pending(store).len(), 2, "another's matter");
}

fn commit(store: &dyn OnlineStore, offsets: &[i64]) {
    commit_for(store, offsets, &[1]);
}

/// The same, whose events wait for a score of each of `versions`.
fn commit_for(store: &dyn OnlineStore, offsets: &[i64], versions: &[u32]) {
    let events: Vec<Event> = offsets
        .iter()
        .map(|offset| (*offset, *offset, "a"))
        .collect();
    let score = |offset: &i64, version: u32| {
        Arc::new(PendingScore {
            key: PredictionKey {
                deployment: DEPLOYMENT.to_owned(),
                model_version: version,
                role: Role::Live,
                topic: TOPIC.to_owned(),
                partition: 0,
                offset: *offset,
            },
            event_time_us: *offset,
            request: vec![1, 2, 3],
        })
    };
    let each = |offset| versions.iter().map(move |version| score(offset, *version));
    let pending = offsets.iter().flat_map(each).collect();
    let write = ShardWrite {
        folds: Vec::new(),
        pending,
        ..write_of(store, 0, &events)
    };
    store.commit(0, &write).expect("committed");
}

fn pending(store: &dyn OnlineStore) -> Vec<PendingEntry> {
    let pending = store.pending(0, DEPLOYMENT, 1, 0, usize::MAX);
    pending.expect("readable")
}

fn scored(entry: PendingEntry) -> Settled {
    let record = OutboxRecord {
        topic: "predictions".to_owned(),
        key: Vec::new(),
        payload: vec![7],
        headers: Vec::new(),
    };
    Settled {
        entry,
        outcome: ScoreOutcome::Scored(record),
    }
}

fn withdrawn(entry: PendingEntry) -> Settled {
    Settled {
        entry,
        outcome: ScoreOutcome::Unscored(UnscoredReason::Withdrawn, "gone".to_owned()),
    }
}
