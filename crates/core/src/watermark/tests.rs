//! The rule of marks: tables of rows, bounds and holds, and what a replay of the records repeats.
//! Expected marks are written down or computed by a plain fold over the rows, never by the code
//! under test.

use super::*;

const DELAY: Micros = 10;

fn bound(from: i64, until: i64, mark_max_us: Micros, watermark_max_us: Micros) -> Bound {
    Bound {
        from,
        until,
        mark_max_us,
        watermark_max_us,
    }
}

fn marks(source: &mut SourceMarks, partition: i32, rows: &[Micros]) {
    let mark = source.partition(partition);
    for time in rows {
        mark.pass(mark.next_offset(), *time, DELAY, None);
    }
}

#[test]
fn a_row_is_too_late_only_below_the_watermark_less_what_is_kept() {
    // Event time, watermark, lateness, verdict.
    let cases = [
        (0, None, Some(5), false),
        (0, Some(100), None, false),
        (95, Some(100), Some(5), false),
        (94, Some(100), Some(5), true),
        (Micros::MIN, Some(Micros::MIN), Some(Micros::MAX), false),
    ];
    for (time, watermark, lateness, expected) in cases {
        assert_eq!(
            is_too_late(time, watermark, lateness),
            expected,
            "{time} {watermark:?} {lateness:?}"
        );
    }
}

#[test]
fn a_row_beyond_the_bound_moves_the_mark_to_the_bound_and_no_further() {
    let mut mark = PartitionMark::default();
    let limit = bound(0, 9, 500, Micros::MAX);
    // Event time, watermark before, mark after, ahead.
    let rows = [
        (100, None, 100, false),
        (9_000, Some(90), 500, true),
        (200, Some(490), 500, false),
        (501, Some(490), 500, true),
    ];
    for (offset, (time, before, after, ahead)) in (0..).zip(rows) {
        let passed = mark.pass(offset, time, DELAY, Some(&limit));
        assert_eq!(
            (passed.watermark_us, mark.mark_us(), passed.ahead),
            (before, Some(after), ahead),
            "{offset}"
        );
        assert_eq!(passed.bounded, ahead);
    }
}

#[test]
fn a_watermark_above_the_present_makes_no_row_too_late() {
    let mut mark = PartitionMark::default();
    let limit = bound(0, 9, Micros::MAX, 300);
    mark.pass(0, 1_000, DELAY, Some(&limit));
    let passed = mark.pass(1, 100, DELAY, Some(&limit));
    assert_eq!((passed.watermark_us, passed.bounded), (Some(300), true));
    assert_eq!(mark.mark_us(), Some(1_000), "the mark itself may be ahead");
}

#[test]
fn the_mark_of_a_source_is_the_least_of_its_partitions_once_all_are_known() {
    let mut source = SourceMarks::default();
    assert_eq!(source.mark_us(), None);
    source.insert(1, PartitionMark::default());
    marks(&mut source, 0, &[500, 900]);
    assert_eq!(source.mark_us(), None, "partition 1 may bring older rows");
    marks(&mut source, 1, &[300]);
    assert_eq!(source.mark_us(), Some(300));
    marks(&mut source, 1, &[200, 920]);
    assert_eq!(source.mark_us(), Some(900));
}

#[test]
fn idle_partitions_are_held_at_the_mark_of_the_others() {
    // Rows of partitions 0, 1 and 2, which of them are idle, where those are held, the source's
    // mark.
    type Case = (
        [&'static [Micros]; 3],
        &'static [i32],
        &'static [i32],
        Option<Micros>,
    );
    let cases: [Case; 7] = [
        ([&[100], &[700], &[800]], &[], &[], Some(100)),
        ([&[100], &[700], &[800]], &[0], &[0], Some(700)),
        ([&[], &[700], &[800]], &[0], &[0], Some(700)),
        ([&[], &[700], &[800]], &[], &[], None),
        ([&[], &[], &[800]], &[0], &[], None),
        ([&[100], &[700], &[800]], &[0, 1, 2], &[0, 1], Some(800)),
        ([&[], &[], &[]], &[0, 1, 2], &[], None),
    ];
    for (rows, idle, held, expected) in cases {
        let mut source = SourceMarks::default();
        for (number, rows) in (0..).zip(rows) {
            marks(&mut source, number, rows);
        }
        let (moved, _) = source.hold_idle(|number| idle.contains(&number));
        let moved: Vec<i32> = moved.into_iter().map(|(number, _)| number).collect();
        assert_eq!(moved, held, "{rows:?} {idle:?}");
        assert_eq!(source.mark_us(), expected, "{rows:?} {idle:?}");
    }
}

#[test]
fn a_partition_that_comes_back_pulls_its_source_no_further_back_and_its_rows_are_on_time() {
    let mut source = SourceMarks::default();
    marks(&mut source, 0, &[100]);
    marks(&mut source, 1, &[700]);
    source.hold_idle(|number| number == 0);
    assert_eq!(source.mark_us(), Some(700));
    let passed = source.partition(0).pass(1, 150, DELAY, None);
    assert_eq!(passed.watermark_us, Some(90), "its own rows decide");
    assert_eq!(source.mark_us(), Some(700));
    marks(&mut source, 0, &[800]);
    assert_eq!(
        source.mark_us(),
        Some(700),
        "now partition 1 is the slowest"
    );
}

#[test]
fn one_partition_supports_no_other_and_rows_beyond_a_bound_support_none() {
    let future = 50;
    let mut source = SourceMarks::default();
    assert_eq!(source.supported_us(future), None);
    marks(&mut source, 0, &[900]);
    assert_eq!(source.supported_us(future), None);
    marks(&mut source, 1, &[300]);
    assert_eq!(source.supported_us(future), Some(300));
    // One clock far ahead writes to every partition: each stands at the bound of its epoch, and
    // what supports the next epoch is no more than what supported this one.
    let mut poisoned = SourceMarks::default();
    for _ in 0..100 {
        let support = poisoned.supported_us(future).unwrap_or(0).max(1_000);
        let limit = bound(0, 1_000, support + future, Micros::MAX);
        for number in 0..4 {
            let mark = poisoned.partition(number);
            mark.pass(mark.next_offset(), 9_000_000, DELAY, Some(&limit));
        }
    }
    assert_eq!(poisoned.mark_us(), Some(1_050));
}

#[test]
fn records_repeat_every_verdict_whatever_is_read_again() {
    let times = [100, 9_000, 90, 130, 8_000, 700, 110, 600];
    let bounds = [bound(0, 3, 400, 350), bound(4, 6, 500, Micros::MAX)];
    let of = |offset: i64| {
        bounds
            .iter()
            .find(|b| b.from <= offset && offset < b.until)
            .copied()
    };
    // The plain fold that the rule is.
    let mut newest: Option<Micros> = None;
    let mut expected = Vec::new();
    for (offset, time) in (0..).zip(times) {
        let (mark_max, watermark_max) = of(offset).map_or((Micros::MAX, Micros::MAX), |b| {
            (b.mark_max_us, b.watermark_max_us)
        });
        expected.push(newest.map(|mark| (mark - DELAY).min(watermark_max)));
        newest = newest.max(Some(time.min(mark_max)));
    }
    let facts: Vec<MarkFact> = bounds.iter().map(|b| MarkFact::Bound(*b)).collect();
    let at = |next: usize| PartitionProgress {
        next_offset: next as i64,
        max_event_time_us: (0..)
            .zip(&times[..next])
            .map(|(offset, time)| (*time).min(of(offset).map_or(Micros::MAX, |b| b.mark_max_us)))
            .max(),
        last: None,
    };
    for start in 0..times.len() {
        for ahead in start..times.len() {
            // One shard stood at `start`, another at `ahead`.
            let mut mark = PartitionMark::recovered(
                start as i64,
                &[at(ahead), at(start)],
                facts.clone(),
                times.len() as i64,
            );
            assert_eq!(mark.mark_us(), at(start).max_event_time_us);
            let fresh = bound(0, 99, 0, 0);
            for (offset, time) in (0..).zip(times).skip(start) {
                let passed = mark.pass(offset, time, DELAY, Some(&fresh));
                assert_eq!(
                    passed.watermark_us, expected[offset as usize],
                    "{start} {ahead} {offset}"
                );
            }
            assert_eq!(mark.mark_us(), newest);
        }
    }
}

#[test]
fn a_replay_holds_a_partition_where_it_was_held_and_takes_no_bound_of_its_own() {
    let partition = TopicPartition::new("t", 0);
    let hold = Hold {
        at: 1,
        mark_us: 700,
        watermark_us: 690,
    };
    let records = [
        MarkRecord {
            partition: partition.clone(),
            fact: MarkFact::Hold(hold),
        },
        MarkRecord {
            partition: TopicPartition::new("another", 0),
            fact: MarkFact::Bound(bound(0, 9, 1, 1)),
        },
    ];
    let mut source = SourceMarks::replay("t", [0, 1], &records);
    marks(&mut source, 1, &[800]);
    assert_eq!(source.mark_us(), None);
    marks(&mut source, 0, &[100]);
    assert_eq!(
        source.mark_us(),
        Some(100),
        "held once its offset is reached"
    );
    source.partition(0).reach(1);
    assert_eq!(source.mark_us(), Some(700));
}
