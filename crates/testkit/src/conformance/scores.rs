//! What the scoring stage relies on: each event waits once and in order, and ends with a record or
//! a note.

use std::sync::Arc;

use forebay_core::ports::{OnlineStore, OutboxEntry, PendingEntry, Published, Settled, ShardWrite};
use forebay_core::prediction::{Arm, OutboxRecord, PendingScore, PredictionKey, Role};
use forebay_core::settlement::{ScoreOutcome, Unscored, UnscoredReason};

use super::{Check, Event, TOPIC, write_of};

const DEPLOYMENT: &str = "d";
const PREDICTIONS: &str = "predictions";
const SHADOWS: &str = "predictions.shadow";
/// What [`commit`] waits for.
const LIVE: Arm = arm(1, Role::Live);

pub(super) const CHECKS: &[Check] = &[
    scores_wait_once_and_in_order,
    each_arm_has_a_queue_of_its_own,
    each_topic_has_an_outbox_of_its_own,
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
    let some = store.pending(0, DEPLOYMENT, LIVE, waiting[1].sequence, 2);
    assert_eq!(some.expect("readable"), waiting[1..3]);
    let load = store.score_load(0).expect("counted")[DEPLOYMENT].clone();
    let pending = load.pending();
    assert_eq!(
        (pending.scores, pending.oldest_us, load.outbox_records()),
        (4, Some(0), 0)
    );
    let other = store.pending(0, "another", LIVE, 0, usize::MAX);
    assert!(other.expect("readable").is_empty());
}

fn each_arm_has_a_queue_of_its_own(store: &dyn OnlineStore) {
    // One version in both roles, as where a shadow has become live, and another.
    let (shadow, other) = (arm(1, Role::Shadow), arm(2, Role::Shadow));
    let arms = [LIVE, shadow, other];
    commit_for(store, &[0, 1, 2], &arms);
    let of = |arm: Arm| -> Vec<PendingEntry> {
        let pending = store.pending(0, DEPLOYMENT, arm, 0, usize::MAX);
        pending.expect("readable")
    };
    for arm in arms {
        let keys = of(arm).into_iter().map(|entry| entry.score.key.clone());
        let places: Vec<(Arm, i64)> = keys.map(|key| (key.arm(), key.offset)).collect();
        assert_eq!(places, [(arm, 0), (arm, 1), (arm, 2)]);
    }
    let unknown = arm(2, Role::Live);
    assert!(of(unknown).is_empty());
    let settled: Vec<Settled> = of(shadow).into_iter().skip(1).map(scored).collect();
    store.settle(0, &settled).expect("settled");
    assert_eq!(
        (of(LIVE).len(), of(shadow).len(), of(other).len()),
        (3, 1, 3)
    );
    let load = store.score_load(0).expect("counted")[DEPLOYMENT].clone();
    let scores: Vec<u64> = arms.iter().map(|arm| load.of(*arm).scores).collect();
    assert_eq!((scores, load.of(unknown).scores), (vec![3, 1, 3], 0));
    assert_eq!(load.outbox_records(), 2);
    assert_eq!(load.of(shadow).oldest_us, Some(0));
}

fn each_topic_has_an_outbox_of_its_own(store: &dyn OnlineStore) {
    let shadow = arm(1, Role::Shadow);
    commit_for(store, &[0, 1, 2], &[LIVE, shadow]);
    // What waits for one topic lies before and behind what waits for the other.
    for (arm, range) in [(shadow, 0..2), (LIVE, 0..3), (shadow, 0..1)] {
        let pending = store.pending(0, DEPLOYMENT, arm, 0, usize::MAX);
        let pending = pending.expect("readable").into_iter().map(scored);
        let settled: Vec<Settled> = pending.take(range.len()).collect();
        store.settle(0, &settled).expect("settled");
    }
    let (live, shadows) = (outbox(store, PREDICTIONS), outbox(store, SHADOWS));
    for (entries, of) in [(&live, LIVE), (&shadows, shadow)] {
        let keys = entries
            .iter()
            .map(|entry| (entry.key.arm(), entry.key.offset));
        assert_eq!(keys.collect::<Vec<_>>(), [(of, 0), (of, 1), (of, 2)]);
        assert!(entries.is_sorted_by(|a, b| a.sequence < b.sequence));
    }
    assert!(shadows[1].sequence < live[0].sequence && live[2].sequence < shadows[2].sequence);
    let some = store.outbox(0, (DEPLOYMENT, SHADOWS), shadows[0].sequence + 1, 1);
    assert_eq!(some.expect("readable"), shadows[1..2]);
    assert!(outbox(store, "another").is_empty());
    let load = |topic: &str| store.score_load(0).expect("counted")[DEPLOYMENT].outbox_of(topic);
    assert_eq!(
        (load(PREDICTIONS), load(SHADOWS), load("another")),
        (3, 3, 0)
    );
    let published = live.iter().map(|entry| Published {
        entry,
        refused: None,
    });
    let published: Vec<Published<'_>> = published.collect();
    store.clear_outbox(0, &published).expect("cleared");
    assert!(outbox(store, PREDICTIONS).is_empty());
    assert_eq!(outbox(store, SHADOWS), shadows);
    assert_eq!((load(PREDICTIONS), load(SHADOWS)), (0, 3));
}

fn what_is_settled_waits_in_the_outbox_until_it_is_published(store: &dyn OnlineStore) {
    commit(store, &[0, 1]);
    let settled: Vec<Settled> = pending(store).into_iter().map(scored).collect();
    store.settle(0, &settled).expect("settled");
    store.settle(0, &settled).expect("skipped: settled already");
    assert!(pending(store).is_empty());
    let outbox = outbox(store, PREDICTIONS);
    let offsets: Vec<i64> = outbox.iter().map(|entry| entry.key.offset).collect();
    assert_eq!(offsets, [0, 1]);
    let published = Published {
        entry: &outbox[0],
        refused: None,
    };
    store.clear_outbox(0, &[published]).expect("cleared");
    store.clear_outbox(0, &[published]).expect("gone already");
    let left = store.outbox(0, (DEPLOYMENT, PREDICTIONS), 0, usize::MAX);
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
    let outbox = outbox(store, PREDICTIONS);
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
    commit_for(store, offsets, &[LIVE]);
}

/// The same, whose events wait for a score of each of `arms`.
fn commit_for(store: &dyn OnlineStore, offsets: &[i64], arms: &[Arm]) {
    let events: Vec<Event> = offsets
        .iter()
        .map(|offset| (*offset, *offset, "a"))
        .collect();
    let score = |offset: &i64, arm: Arm| {
        Arc::new(PendingScore {
            key: PredictionKey {
                deployment: DEPLOYMENT.to_owned(),
                model_version: arm.version,
                role: arm.role,
                topic: TOPIC.to_owned(),
                partition: 0,
                offset: *offset,
            },
            event_time_us: *offset,
            request: vec![1, 2, 3],
        })
    };
    let each = |offset| arms.iter().map(move |arm| score(offset, *arm));
    let pending = offsets.iter().flat_map(each).collect();
    let write = ShardWrite {
        folds: Vec::new(),
        pending,
        ..write_of(store, 0, &events)
    };
    store.commit(0, &write).expect("committed");
}

fn pending(store: &dyn OnlineStore) -> Vec<PendingEntry> {
    let pending = store.pending(0, DEPLOYMENT, LIVE, 0, usize::MAX);
    pending.expect("readable")
}

fn outbox(store: &dyn OnlineStore, topic: &str) -> Vec<OutboxEntry> {
    let outbox = store.outbox(0, (DEPLOYMENT, topic), 0, usize::MAX);
    outbox.expect("readable")
}

const fn arm(version: u32, role: Role) -> Arm {
    Arm { version, role }
}

fn scored(entry: PendingEntry) -> Settled {
    let topic = match entry.score.key.role {
        Role::Live => PREDICTIONS,
        Role::Shadow => SHADOWS,
    };
    let record = OutboxRecord {
        topic: topic.to_owned(),
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
