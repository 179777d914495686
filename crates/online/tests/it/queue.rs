//! Pending scores and the outbox: each once, in order, over restarts and replays.

use forebay_core::ports::{OnlineStore, ShardWrite};
use forebay_core::prediction::{OutboxRecord, PendingScore};
use forebay_core::view::Window;
use forebay_online::RocksStore;

use crate::model::*;

fn record(score: &PendingScore) -> OutboxRecord {
    OutboxRecord {
        topic: "predictions".into(),
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

#[test]
fn scores_pass_through_the_outbox_once_and_in_order() {
    let log = log();
    let directory = tempfile::tempdir().expect("temporary directory");
    let store = reopen(directory.path());
    store.commit(0, write(&log[..40])).expect("commit");
    let pending = store.pending(0, 1_000).expect("pending");
    assert_eq!(
        pending,
        log[..40].iter().map(pending_of).collect::<Vec<_>>()
    );
    assert_eq!(store.pending(0, 3).expect("pending"), pending[..3]);

    let scored = pending[..30]
        .iter()
        .map(|p| (p.clone(), Some(record(p))))
        .collect();
    let entries = store.settle(0, scored).expect("settle");
    assert_eq!(entries.len(), 30);
    assert!(entries.windows(2).all(|w| w[0].sequence < w[1].sequence));
    // Settled again, with a shadow route that publishes nothing, and one twice in a call: skipped.
    let again = vec![
        (pending[0].clone(), Some(record(&pending[0]))),
        (pending[30].clone(), None),
        (pending[31].clone(), Some(record(&pending[31]))),
        (pending[31].clone(), Some(record(&pending[31]))),
    ];
    assert_eq!(store.settle(0, again).expect("settle").len(), 1);

    drop(store);
    let store = reopen(directory.path());
    assert_eq!(store.pending(0, 1_000).expect("pending"), pending[32..]);
    let outbox = store.outbox(0, 1_000).expect("outbox");
    assert_eq!(outbox.len(), 31);
    assert_eq!(outbox[..30], entries[..]);
    store.clear_outbox(0, outbox[9].sequence).expect("clear");
    assert_eq!(store.outbox(0, 5).expect("outbox"), outbox[10..15]);
    assert_eq!(store.stats().outbox_records, 21);
    drop(store);
    let store = reopen(directory.path());
    assert_eq!(store.outbox(0, 1_000).expect("outbox"), outbox[10..]);
    store.clear_outbox(0, u64::MAX).expect("clear");
    assert!(store.outbox(0, 1).expect("outbox").is_empty());
    // The numbering goes on after everything was cleared and reopened.
    drop(store);
    let store = reopen(directory.path());
    let scored = vec![(pending[32].clone(), Some(record(&pending[32])))];
    let entry = store.settle(0, scored).expect("settle");
    assert!(entry[0].sequence > outbox[30].sequence);
    assert_eq!(store.outbox(0, 10).expect("outbox"), entry);
}

#[test]
fn replayed_events_are_not_pending_again() {
    let log = log();
    let directory = tempfile::tempdir().expect("temporary directory");
    let store = reopen(directory.path());
    store.commit(0, write(&log[..20])).expect("commit");
    let scored = store
        .pending(0, 1_000)
        .expect("pending")
        .into_iter()
        .map(|p| (p, None))
        .collect();
    store.settle(0, scored).expect("settle");
    // The log is read again from its start, in another cut.
    store.commit(0, write(&log[..35])).expect("commit");
    assert_eq!(
        store.pending(0, 1_000).expect("pending"),
        log[20..35].iter().map(pending_of).collect::<Vec<_>>()
    );
    assert!(store.stats().rows_replayed > 0);
}
