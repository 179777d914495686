//! Many tables over one budget: what hangs keeps no room from the others.

#![allow(clippy::disallowed_methods, reason = "tests run in real time")]

use forebay_core::memory::{Budget, Part};
use forebay_core::ports::Origin;
use forebay_core::progress::{PartitionProgress, TopicPartition};
use forebay_core::source::Column;
use forebay_core::time::timestamp_type;
use forebay_testkit::{Fate, MemoryArchive, TableFault, wait_until};

use super::*;
use crate::runtime::for_tests;

/// Tables; all but the first hang.
const TABLES: usize = 12;
const ROWS: i64 = 100;
const ROUNDS: i64 = 50;
/// Bytes of the pool: for all tables together an eighth of it, less than a batch for each.
const POOL: usize = 256 << 10;

fn source(number: usize) -> Arc<SourceDef> {
    let time = Column {
        name: "ts".to_owned(),
        data_type: timestamp_type(),
        nullable: false,
    };
    let name = format!("table_{number:02}");
    Arc::new(SourceDef::json(&name, &name, vec![time], 0))
}

/// Rows of `source` from `first` on, and where reading stands behind them.
fn batch(source: &Arc<SourceDef>, first: i64) -> (SourceBatch, UpTo) {
    let place = TopicPartition::new(source.topic.as_str(), 0);
    let next_offset = first + ROWS;
    let times: Vec<i64> = (first..next_offset).collect();
    let column = TimestampMicrosecondArray::from(times.clone()).with_timezone("UTC");
    let rows = RecordBatch::try_from_iter([("ts", Arc::new(column) as ArrayRef)]);
    let batch = SourceBatch {
        source: Arc::clone(source),
        origin: Origin {
            partitions: vec![place.clone()],
            partition: vec![0; times.len()],
            kafka_time_us: vec![None; times.len()],
            offset: times,
            ..Origin::default()
        },
        rows: rows.expect("one column"),
        dead_letters: Vec::new(),
        read_up_to: vec![(place.clone(), next_offset)],
        last_records: Vec::new(),
    };
    let progress = PartitionProgress {
        next_offset,
        max_event_time_us: None,
        last: None,
    };
    (batch, vec![(place, progress)])
}

#[test]
fn many_tables_that_hang_at_once_keep_no_room_from_the_one_that_does_not() {
    let runtime: Arc<dyn Runtime> = Arc::new(for_tests());
    let (fate, budget) = (Arc::new(Fate::default()), Budget::shared(POOL));
    let archive = MemoryArchive::new(&fate);
    let sources: Vec<_> = (0..TABLES).map(source).collect();
    for source in &sources {
        let opened = archive.open_table(&source.name, source.archive_schema());
        block_on(runtime.as_ref(), opened).expect("in memory");
    }
    for source in &sources[1..] {
        fate.break_table(&source.name, TableFault::Hangs);
    }
    let parts = ArchiverParts {
        runtime: Arc::clone(&runtime),
        archive: Arc::new(archive.clone()),
        dead_letter_rows: |_| Err(PortError::internal("there are none")),
        rule: FlushRule {
            interval: Duration::from_millis(1),
            max_bytes: usize::MAX,
        },
        counters: Arc::default(),
        stopping: Arc::default(),
        known_marks: Arc::default(),
        marks_up_to: Applied::default(),
        room: Room::of(&budget),
    };
    let (archiver, appending) = Archiver::start(parts, &sources).expect("threads");
    let hand_over = |source: &Arc<SourceDef>, round: i64| {
        let (batch, up_to) = batch(source, round * ROWS);
        let memory = archiver.admit(&batch).expect("it runs");
        let is_taken = memory.is_some();
        if let Some(memory) = memory {
            let late = vec![false; batch.rows.num_rows()];
            archiver
                .rows(&batch, &late, up_to, memory)
                .expect("it runs");
        }
        is_taken
    };
    for round in 0..ROUNDS {
        // The first one comes last, when the others have what they can get.
        for source in sources.iter().rev() {
            let is_taken = hand_over(source, round);
            assert!(is_taken || source.name != sources[0].name, "round {round}");
        }
    }
    assert_eq!(archiver.held().len(), TABLES - 1);
    let all = budget.most_bytes(Part::Ingest) / 4;
    assert!(budget.used_bytes(Part::Ingest) <= all);
    wait_until("all of the first one is archived", || {
        i64::try_from(archive.rows(&sources[0].name).len()) == Ok(ROUNDS * ROWS)
    });
    // An epoch finds room as well.
    assert!(Room::of(&budget).ask(usize::MAX).is_some());
    for source in &sources {
        fate.mend_table(&source.name);
    }
    block_on(runtime.as_ref(), archiver.close());
    for (table, lane) in appending {
        lane.join().expect("no panic").expect(&table);
    }
    assert_eq!(budget.used_bytes(Part::Ingest), 0, "nothing leaks");
}
