//! The filter of repeats: what passes, over restarts; and that it does not grow.
//!
//! Oracle: the first record of each event in log order.

use std::collections::BTreeSet;

use arrow_array::ArrayRef;
use forebay_core::ports::Origin;
use forebay_core::prediction::Role;
use forebay_core::progress::PartitionProgress;
use forebay_core::settlement::OffsetRuns;
use forebay_core::source::{Column, SourceDef};
use forebay_core::time::timestamp_type;
use forebay_testkit::MemoryCheckpoints;
use proptest::prelude::*;

use super::*;
use crate::settlements;

/// Predictions of one deployment in two versions: the offset of each record and of its event.
fn predictions(places: &[(i64, i64)]) -> RecordBatch {
    let text = |value: &str| Arc::new(StringArray::from(vec![value; places.len()])) as ArrayRef;
    let number = |value: i32| Arc::new(Int32Array::from(vec![value; places.len()])) as ArrayRef;
    let long = |values: Vec<i64>| Arc::new(Int64Array::from(values)) as ArrayRef;
    let versions = places.iter().map(|place| 1 + (place.1 % 2) as i32);
    RecordBatch::try_from_iter([
        (column::DEPLOYMENT, text("d")),
        (
            column::MODEL_VERSION,
            Arc::new(Int32Array::from_iter_values(versions)) as ArrayRef,
        ),
        (column::ROLE, text("live")),
        (column::SOURCE_TOPIC, text("events")),
        (column::SOURCE_PARTITION, number(0)),
        (
            column::SOURCE_OFFSET,
            long(places.iter().map(|place| place.1).collect()),
        ),
        (meta::TOPIC, text("predictions")),
        (meta::PARTITION, number(0)),
        (
            meta::OFFSET,
            long(places.iter().map(|place| place.0).collect()),
        ),
    ])
    .expect("columns of one length")
}

fn batch(topic: &str, rows: RecordBatch, offset: Vec<i64>, read_to: i64) -> SourceBatch {
    let column = Column {
        name: "ts".into(),
        data_type: timestamp_type(),
        nullable: false,
    };
    let partition = TopicPartition::new(topic, 0);
    SourceBatch {
        source: Arc::new(SourceDef::json(topic, topic, vec![column], 0)),
        rows,
        origin: Origin {
            partitions: vec![partition.clone()],
            partition: vec![0; offset.len()],
            kafka_time_us: vec![None; offset.len()],
            offset,
            ..Origin::default()
        },
        dead_letters: Vec::new(),
        last_records: Vec::new(),
        read_up_to: vec![(partition, read_to)],
    }
}

fn up_to(next_offset: i64) -> Applied {
    let progress = PartitionProgress {
        next_offset,
        ..PartitionProgress::default()
    };
    Applied(BTreeMap::from([(
        TopicPartition::new("predictions", 0),
        progress,
    )]))
}

/// The offsets of the records that pass.
fn pass(repeats: &mut Repeats, records: &[(i64, i64)]) -> Vec<i64> {
    let Some((last, _)) = records.last() else {
        return Vec::new();
    };
    let offsets = records.iter().map(|record| record.0).collect();
    let batch = batch("predictions", predictions(records), offsets, last + 1);
    let (kept, _) = repeats.drop_from(batch).expect("its columns");
    kept.origin.offset
}

/// Event `event` ends without a prediction, as note `number` of shard 3 says.
fn settled(event: i64, number: i64) -> Settled {
    Settled {
        deployment: "d".to_owned(),
        role: Role::Live,
        topic: "events".to_owned(),
        partition: 0,
        offsets: OffsetRuns::one(event),
        note: (settlements::place(3), number),
    }
}

#[test]
fn a_prediction_that_comes_after_its_event_was_settled_passes_once_also_after_a_restart() {
    let memory = Arc::new(MemoryCheckpoints::default());
    let open = || Repeats::open(Arc::<MemoryCheckpoints>::clone(&memory) as _);
    let mut repeats = open();
    assert_eq!(pass(&mut repeats, &[(0, 0), (1, 2)]), [0, 1]);
    repeats.settle(&[settled(1, 0), settled(3, 1)]);
    assert_eq!(pass(&mut repeats, &[(2, 1), (3, 1)]), [2]);
    repeats.save(true);
    let mut repeats = open();
    assert_eq!(repeats.noted_to(&settlements::place(3)), 2);
    assert_eq!(pass(&mut repeats, &[(4, 3), (5, 3), (6, 1)]), [4]);
    // Notes that are said again change nothing.
    repeats.settle(&[settled(1, 0), settled(3, 1)]);
    assert_eq!(pass(&mut repeats, &[(7, 1), (8, 3)]), [] as [i64; 0]);
}

#[test]
fn a_prediction_of_a_settled_event_passes_once_until_the_reader_has_met_all_there_were() {
    let memory = Arc::new(MemoryCheckpoints::default());
    let open = || Repeats::open(Arc::<MemoryCheckpoints>::clone(&memory) as _);
    let many = SETTLED_RUNS_MAX as i64 + 2;
    let notes: Vec<Settled> = (0..many).map(|n| settled(2 * n + 1, n)).collect();
    let rests = SETTLED_RESTS;
    let settle = |repeats: &mut Repeats| {
        assert_eq!(pass(repeats, &[(0, 0)]), [0]);
        repeats.settle(&notes);
        repeats.met(rests / 2, rests / 2);
        // What the reader had met before the notes says nothing of them.
        repeats.met(rests, rests + rests / 2);
    };
    // A power cut took back a settlement: the event was settled anew, and its prediction is unread.
    let mut repeats = open();
    settle(&mut repeats);
    repeats.met(2 * rests, 2 * rests);
    assert_eq!(pass(&mut repeats, &[(1, 1), (2, 1), (3, 5)]), [1, 3]);
    repeats.save(true);
    let mut repeats = open();
    assert_eq!(
        pass(&mut repeats, &[(4, 5), (5, 3)]),
        [5],
        "also after a restart"
    );
    // All is met: the oldest are filled in, the newest stand.
    let mut repeats = Repeats::default();
    settle(&mut repeats);
    repeats.met(3 * rests, 3 * rests);
    assert_eq!(pass(&mut repeats, &[(1, 1), (2, 2 * many - 1)]), [2]);
}

#[test]
fn events_that_were_read_between_a_checkpoint_and_a_crash_are_no_holes() {
    let memory = Arc::new(MemoryCheckpoints::default());
    let open = || Repeats::open(Arc::<MemoryCheckpoints>::clone(&memory) as _);
    let events = |from: i64, to: i64| {
        let none = RecordBatch::new_empty(batch_schema());
        batch("events", none, (from..to).collect(), to)
    };
    let mut repeats = open();
    assert_eq!(pass(&mut repeats, &[(0, 0)]), [0]);
    repeats.fill(&events(0, 5));
    repeats.save(true);
    repeats.fill(&events(5, 20));
    // A crash. State and archive have the events below 20, so that reading goes on there; their
    // predictions are still to come.
    let mut repeats = open();
    repeats.note_archived(&up_to(1));
    repeats.begin();
    repeats.fill(&events(20, 25));
    assert_eq!(pass(&mut repeats, &[(1, 7), (2, 19), (3, 7)]), [1, 2]);
}

#[test]
fn golden_bytes_of_a_checkpoint() {
    let mut repeats = Repeats::default();
    assert_eq!(pass(&mut repeats, &[(0, 300), (1, 300)]), [0]);
    repeats.settle(&[settled(7, 41)]);
    let golden = [
        "01 06 54",
        "01 0164 046c697665 066576656e7473 00 01 d804 da04 01 0e 10",
        "01 0b70726564696374696f6e73 00 04 01 02 04",
    ];
    let bytes = repeats.encode();
    let hex = |bytes: &[u8]| -> String { bytes.iter().map(|b| format!("{b:02x}")).collect() };
    assert_eq!(hex(&bytes), golden.concat().replace(' ', ""));
    let read = Repeats::decode(&bytes).expect("its own bytes");
    assert_eq!(hex(&read.encode()), hex(&bytes));
}

fn batch_schema() -> arrow_schema::SchemaRef {
    Arc::new(arrow_schema::Schema::empty())
}

proptest! {
    #[test]
    fn what_passes_does_not_depend_on_restarts_archive_or_checkpoint(
        events in proptest::collection::vec(0_i64..40, 1..80),
        steps in proptest::collection::vec((1_usize..20, 0_usize..60, 0_usize..60, any::<bool>()), 1..8),
    ) {
        // Every record in log order; the first of each event passes, whoever reads it when.
        let log: Vec<(i64, i64)> = events.iter().enumerate().map(|(o, e)| (o as i64, *e)).collect();
        let mut first = BTreeSet::new();
        let passes: Vec<i64> = log.iter().filter(|r| first.insert(r.1)).map(|r| r.0).collect();
        let kept = |from: usize, to: usize| -> Vec<i64> {
            passes.iter().copied().filter(|o| (from as i64..to as i64).contains(o)).collect()
        };
        let memory = Arc::new(MemoryCheckpoints::default());
        let open = || Repeats::open(Arc::<MemoryCheckpoints>::clone(&memory) as _);
        let (mut repeats, mut at) = (open(), 0);
        for (read, behind, archived, saves) in steps {
            let to = (at + read).min(log.len());
            prop_assert_eq!(pass(&mut repeats, &log[at..to]), kept(at, to));
            repeats.save(saves);
            // A crash: the archive may be behind or ahead of the shards, the reader starts at
            // the smaller of both.
            let archived = to.saturating_sub(archived);
            let start = archived.min(to.saturating_sub(behind));
            repeats = open();
            let rows: Vec<(i64, i64)> =
                kept(0, archived).into_iter().map(|o| log[o as usize]).collect();
            repeats.note(&predictions(&rows)).expect("its columns");
            repeats.note_archived(&up_to(archived as i64));
            repeats.begin();
            at = start;
        }
        prop_assert_eq!(pass(&mut repeats, &log[at..]), kept(at, log.len()));
    }

    #[test]
    fn the_set_answers_as_a_plain_set_does(
        ranges in proptest::collection::vec((0_i64..200, 0_i64..4), 0..200),
    ) {
        let (mut compact, mut plain) = (OffsetSet::default(), BTreeSet::new());
        for (from, length) in ranges {
            prop_assert_eq!(compact.insert(from), plain.insert(from));
            compact.insert_range(from, from + length);
            plain.extend(from..from + length);
            let runs = plain.iter().filter(|o| !plain.contains(&(*o - 1))).count();
            prop_assert_eq!(compact.ranges().len(), runs);
        }
        let gaps: Vec<i64> = compact.gaps(50, 150).into_iter().flat_map(|(a, b)| a..b).collect();
        let expected: Vec<i64> = (50..150).filter(|o| !plain.contains(o)).collect();
        prop_assert_eq!(gaps, expected);
        for offset in 0..210 {
                        prop_assert_eq!(compact.contains(offset), plain.contains(&offset));
        }
    }
}

/// What is kept does not grow with the number of predictions.
mod growth {
    use super::*;

    #[test]
    fn a_million_predictions_of_an_even_route_leave_one_interval() {
        let mut repeats = Repeats::default();
        let mut most = 0;
        let (mut record, mut noted) = (0, -1);
        for first in (0..1_000_000).step_by(10_000) {
            // Every hundredth offset is no event. Even events of a batch come back before odd ones,
            // each version from a worker of its own.
            // Another hundredth ends without a prediction.
            let events: Vec<i64> = (first..first + 10_000).filter(|e| e % 100 != 0).collect();
            let (unscored, scored): (Vec<i64>, Vec<i64>) =
                events.iter().partition(|e| *e % 100 == 49);
            let (even, odd): (Vec<i64>, Vec<i64>) = scored.into_iter().partition(|e| *e % 2 == 0);
            let order: Vec<(i64, i64)> = even
                .into_iter()
                .chain(odd)
                .map(|event| {
                    record += 1;
                    (record, event)
                })
                .collect();
            let read_to = first + 10_000;
            let none = RecordBatch::new_empty(batch_schema());
            repeats.fill(&batch("events", none, events, read_to));
            assert_eq!(pass(&mut repeats, &order).len(), order.len());
            let notes = unscored.iter().map(|event| {
                noted += 1;
                settled(*event, noted)
            });
            repeats.settle(&notes.collect::<Vec<_>>());
            let now = repeats.turned + SETTLED_RESTS;
            repeats.met(now, now);
            most = most.max(repeats.streams.values().map(Ends::len).sum());
        }
        // A hole and a run for each settled event that still passes, among them those of the last
        // two turns, and the first batch, whose offsets without events are not filled.
        let bound = 2 * (SETTLED_RUNS_MAX + 200) + 200;
        assert!(most < bound, "{most} intervals");
        assert_eq!(repeats.streams.len(), 1, "versions share a set");
        assert_eq!(repeats.noted_to(&settlements::place(3)), noted + 1);
    }

    #[test]
    fn settled_events_of_a_deployment_whose_predictions_never_come_are_few_runs() {
        let mut repeats = Repeats::default();
        let notes: Vec<Settled> = (0..5_000).map(|n| settled(2 * n, n)).collect();
        repeats.settle(&notes);
        for turn in 1..=2 {
            repeats.met(turn * SETTLED_RESTS, turn * SETTLED_RESTS);
        }
        let kept: usize = repeats.streams.values().map(Ends::len).sum();
        assert_eq!(kept, SETTLED_RUNS_MAX);
    }
}
