//! Which events are settled for lost, and when that is known.

use std::sync::Arc;

use forebay_core::ports::{EpochWriter, Published, Settled, ShardWrite};
use forebay_core::prediction::{Arm, OutboxRecord, PendingScore};
use forebay_core::progress::PartitionProgress;
use forebay_core::settlement::ScoreOutcome;
use forebay_testkit::MemoryStore;

use super::*;

const D: &str = "d";
const SOURCE: &str = "predictions_d";

fn place() -> TopicPartition {
    TopicPartition::new("events", 0)
}

fn set(offsets: &[i64]) -> OffsetSet {
    offsets.iter().map(|at| *at..*at + 1).collect()
}

/// Two shards that have applied offsets 0 to 6: 0 and 1 are published, 2 and 3 stand in the outbox,
/// on 4 there is a note, 5 and 6 are pending.
fn store() -> MemoryStore {
    let store = MemoryStore::new(2, 0, &Arc::default());
    let score = |offset| {
        let key = PredictionKey {
            deployment: D.to_owned(),
            model_version: 1,
            role: Role::Live,
            topic: "events".to_owned(),
            partition: 0,
            offset,
        };
        Arc::new(PendingScore {
            key,
            event_time_us: offset,
            request: Vec::new(),
        })
    };
    let write = |pending| ShardWrite {
        pending,
        progress: vec![(
            place(),
            PartitionProgress {
                next_offset: 7,
                ..PartitionProgress::default()
            },
        )],
        ..ShardWrite::default()
    };
    let scores = (0..7).map(score).collect();
    store.commit(0, &write(scores)).expect("committed");
    store.commit(1, &write(Vec::new())).expect("committed");
    let record = OutboxRecord {
        topic: "predictions".to_owned(),
        key: Vec::new(),
        payload: Vec::new(),
        headers: Vec::new(),
    };
    let arm = Arm {
        version: 1,
        role: Role::Live,
    };
    let pending = store.pending(0, D, arm, 0, 5).expect("in memory");
    let settled = pending.into_iter().map(|entry| Settled {
        outcome: if entry.score.key.offset < 4 {
            ScoreOutcome::Scored(record.clone())
        } else {
            ScoreOutcome::Unscored(UnscoredReason::RowRefused, "why".to_owned())
        },
        entry,
    });
    let settled: Vec<Settled> = settled.collect();
    store.settle(0, &settled).expect("settled");
    let outbox = store
        .outbox(0, (D, "predictions"), 0, 2)
        .expect("in memory");
    let published = outbox.iter().map(|entry| Published {
        entry,
        refused: None,
    });
    let published: Vec<_> = published.collect();
    store.clear_outbox(0, &published).expect("published");
    store
}

/// A step at `now`: the reader stands at `reader`, has met what was asked for at `met`, and
/// observers wait for `awaited`.
fn step(
    lost: &mut Lost,
    store: &MemoryStore,
    gaps: usize,
    (now, met): (u64, Option<u64>),
    (reader, awaited): (i64, &[i64]),
) -> Vec<String> {
    let gaps = BTreeMap::from([(SOURCE.to_owned(), gaps)]);
    let awaited = || {
        let of = |predictions: &str| Awaited {
            deployment: D.to_owned(),
            predictions: predictions.to_owned(),
            place: place(),
            offsets: set(awaited),
        };
        vec![of(SOURCE)]
    };
    let facts = Facts {
        now: &|| Duration::from_secs(now),
        met: met.map(Duration::from_secs),
        gaps: &gaps,
        scored: &BTreeSet::from(["events"]),
        reader: &|_| reader,
        awaited: &awaited,
    };
    let notes = lost.step(&facts, store).expect("in memory");
    let told = notes.iter().map(|note| {
        assert_eq!(note.reason, UnscoredReason::Lost);
        note.offsets.to_text()
    });
    told.collect()
}

#[test]
fn what_is_published_and_never_comes_back_is_settled_once_the_reader_has_met_all_that_followed() {
    let (store, mut lost) = (store(), Lost::default());
    let nothing: Vec<String> = Vec::new();
    let all = [0, 1, 2, 3, 4, 5, 6, 7, 9];
    // No gap: what is waited for comes.
    assert_eq!(step(&mut lost, &store, 0, (1, Some(1)), (7, &all)), nothing);
    assert!(lost.search.is_none());
    // An event that the state has, and observers have not read.
    assert_eq!(step(&mut lost, &store, 1, (2, Some(2)), (6, &[])), nothing);
    assert_eq!(step(&mut lost, &store, 1, (3, Some(3)), (9, &all)), nothing);
    let (_, suspects) = lost
        .search
        .as_ref()
        .and_then(|s| s.suspects.as_ref())
        .expect("looked");
    assert_eq!(
        suspects[&(D.to_owned(), place())],
        set(&[0, 1]),
        "no other can be lost"
    );
    // The prediction of 1 stood beyond the reader; that of 2 was sent meanwhile, and is no suspect.
    assert_eq!(step(&mut lost, &store, 1, (20, None), (9, &all)), nothing);
    assert_eq!(
        step(&mut lost, &store, 1, (20, Some(12)), (9, &all)),
        nothing
    );
    let left = [0, 2, 5, 7, 9];
    assert_eq!(
        step(&mut lost, &store, 1, (20, Some(13)), (9, &left)),
        ["0"]
    );
    let noted = store.notes().into_iter().map(|note| note.reason);
    assert_eq!(
        noted.collect::<Vec<_>>(),
        [UnscoredReason::RowRefused, UnscoredReason::Lost]
    );
    // Once is enough, until another gap is accepted.
    assert_eq!(
        step(&mut lost, &store, 1, (60, Some(60)), (9, &left)),
        nothing
    );
    assert_eq!(
        step(&mut lost, &store, 2, (70, Some(70)), (9, &left)),
        nothing
    );
    assert!(lost.search.is_none(), "a note on 0 is on its way");
}

#[test]
fn a_run_that_follows_a_crash_looks_again_and_settles_what_the_one_before_had_not() {
    let (store, mut lost) = (store(), Lost::default());
    step(&mut lost, &store, 1, (1, Some(1)), (7, &[0, 1]));
    let mut next = Lost::default();
    step(&mut next, &store, 1, (1, Some(1)), (7, &[0, 1]));
    assert_eq!(
        step(&mut next, &store, 1, (20, Some(19)), (7, &[0, 1])),
        ["0-1"]
    );
}
