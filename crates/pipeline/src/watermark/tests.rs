//! Watermarks over batches, whatever the cuts: bounds, holds, restarts, and what records repeat.

use std::collections::BTreeMap;

use arrow_array::{RecordBatch, TimestampMicrosecondArray};
use forebay_core::format::SourceFormat;
use forebay_core::limits::{EMPTY_IDLE_TIMEOUT_US, EVENT_FUTURE_MAX_US, IDLE_TIMEOUT_US};
use forebay_core::ports::Origin;
use forebay_core::source::Column;
use forebay_core::time::{DAY_US, HOUR_US, MINUTE_US, SECOND_US, timestamp_type};
use forebay_core::watermark::is_too_late;
use forebay_testkit::Random;

use super::*;

fn source() -> Arc<SourceDef> {
    let column = Column {
        name: "ts".into(),
        data_type: timestamp_type(),
        nullable: false,
    };
    Arc::new(SourceDef {
        name: "s".into(),
        columns: vec![column],
        time_column: 0,
        watermark_delay_us: 10,
        idle_timeout_us: IDLE_TIMEOUT_US,
        event_future_max_us: EVENT_FUTURE_MAX_US,
        topic: "t".into(),
        format: SourceFormat::json(),
        epoch_units: BTreeMap::new(),
        domains: BTreeMap::new(),
    })
}

fn batch(first_offset: i64, times: &[Micros]) -> SourceBatch {
    batch_of(0, first_offset, times)
}

fn batch_of(number: i32, first_offset: i64, times: &[Micros]) -> SourceBatch {
    let source = source();
    let partition = TopicPartition::new("t", number);
    let array = TimestampMicrosecondArray::from(times.to_vec()).with_timezone("UTC");
    let rows = RecordBatch::try_new(source.schema(), vec![Arc::new(array)]).expect("one column");
    let offset: Vec<i64> = (0..times.len() as i64).map(|i| first_offset + i).collect();
    SourceBatch {
        last_records: Vec::new(),
        source,
        rows,
        read_up_to: vec![(partition.clone(), first_offset + times.len() as i64)],
        origin: Origin {
            partitions: vec![partition],
            partition: vec![0; times.len()],
            kafka_time_us: vec![None; times.len()],
            broker_time: Vec::new(),
            watermark_us: Vec::new(),
            offset,
        },
        dead_letters: Vec::new(),
    }
}

#[test]
fn a_row_sees_the_maximum_of_the_rows_before_it_whatever_the_cuts() {
    let times = [100, 90, 130, 120, 200];
    let expected = vec![None, Some(90), Some(90), Some(120), Some(120)];
    assert_eq!(Watermarks::default().pass(&batch(0, &times)), expected);
    let mut cut = Watermarks::default();
    let pieces = [
        cut.pass(&batch(0, &times[..2])),
        cut.pass(&batch(2, &times[2..])),
    ]
    .concat();
    assert_eq!(pieces, expected);
    assert_eq!(cut.published().of("s"), Some(190));
}

fn restart(start: i64, recorded: &[(i64, Micros)]) -> Watermarks {
    let partition = TopicPartition::new("t", 0);
    let progress = |(next_offset, max): &(i64, Micros)| PartitionProgress {
        next_offset: *next_offset,
        max_event_time_us: Some(*max),
        last: None,
    };
    let plan = Plan {
        starts: BTreeMap::from([(partition.clone(), start)]),
        recorded: BTreeMap::from([(partition, recorded.iter().map(progress).collect())]),
        ..Plan::default()
    };
    Watermarks::recovered(&plan, &[], &Applied::default(), Arc::default())
}

#[test]
fn a_restart_goes_on_with_the_maximum_of_the_prefix_whichever_shard_recorded_it() {
    let times = [100, 500, 90, 130, 120, 700, 110];
    let undisturbed = Watermarks::default().pass(&batch(0, &times));
    // One shard stood at 2 (where the reader starts), another at 5, a third at 6.
    let mut marks = restart(2, &[(6, 700), (2, 500), (5, 500)]);
    assert_eq!(marks.pass(&batch(2, &times[2..])), undisturbed[2..]);
    assert_eq!(
        marks
            .progress(&TopicPartition::new("t", 0))
            .max_event_time_us,
        Some(700)
    );
}

#[test]
fn a_restart_below_every_record_takes_a_maximum_over_when_it_gets_there() {
    let mut marks = restart(1, &[(2, 500)]);
    assert_eq!(
        marks.pass(&batch(1, &[90, 130, 120])),
        vec![None, Some(490), Some(490)]
    );
}

#[test]
fn a_restart_stands_where_it_starts_before_anything_is_read() {
    let marks = restart(7, &[(7, 500)]);
    let progress = PartitionProgress {
        next_offset: 7,
        max_event_time_us: Some(500),
        last: None,
    };
    assert_eq!(marks.progress(&TopicPartition::new("t", 0)), progress);
    assert_eq!(
        marks.all_progress(),
        vec![(TopicPartition::new("t", 0), progress)]
    );
    marks.publish(&batch(0, &[]).source);
    assert_eq!(marks.published().of("s"), Some(490));
}

/// A present long after every event of a test that knows no other.
const NOW_US: Micros = 20_000 * DAY_US;
const HISTORY_US: Micros = HOUR_US;

fn present(now_us: Micros) -> Present {
    Present::new(now_us, HISTORY_US)
}

/// What the log says of partitions 0 and up: position and last stable offset, asked for at `now`.
fn log(facts: &[(i64, i64)], now: Duration) -> BTreeMap<TopicPartition, LogFacts> {
    let of = |(number, (position, end)): (i32, &(i64, i64))| {
        let facts = LogFacts {
            position: *position,
            last_stable: Some(*end),
            answered: Some(Answered {
                since: Duration::ZERO,
                last: now,
            }),
        };
        (TopicPartition::new("t", number), facts)
    };
    (0..).zip(facts).map(of).collect()
}

/// The runtime's time, so long after it began.
fn after(us: Micros) -> Duration {
    Duration::from_micros(us.unsigned_abs())
}

fn started(partitions: i32) -> Watermarks {
    let mut plan = Plan::default();
    for number in 0..partitions {
        plan.starts.insert(TopicPartition::new("t", number), 0);
    }
    Watermarks::recovered(&plan, &[], &Applied::default(), Arc::default())
}

#[test]
fn a_partition_without_rows_holds_its_source_back_until_it_is_idle() {
    let (mut marks, source) = (started(2), source());
    marks.pass(&batch(0, &[100]));
    let mut look = |second: (i64, i64), after_us: Micros| {
        let (now, facts) = (after(after_us), [(1, 1), second]);
        marks.look(&source, &log(&facts, now), now, &present(NOW_US));
        (marks.published().of("s"), marks.take_records().len())
    };
    assert_eq!(
        look((0, 5), 0),
        (None, 0),
        "partition 1 may bring older rows"
    );
    assert_eq!(
        look((0, 5), DAY_US),
        (None, 0),
        "its records are not read yet"
    );
    // All of them were aborted: the reader passes them and has no row.
    assert_eq!(look((5, 5), DAY_US), (None, 0));
    let idle = DAY_US + EMPTY_IDLE_TIMEOUT_US;
    assert_eq!(look((5, 5), idle - 1), (None, 0));
    assert_eq!(look((5, 5), idle), (Some(90), 1));
    assert_eq!(
        look((5, 5), idle + 1),
        (Some(90), 0),
        "nothing new to record"
    );
}

#[test]
fn a_partition_that_had_one_row_lets_go_after_the_declared_time_and_comes_back_in_time() {
    let (mut marks, source) = (started(2), source());
    marks.pass(&batch_of(0, 0, &[100]));
    marks.pass(&batch_of(1, 0, &[DAY_US]));
    let at = |marks: &mut Watermarks, first: (i64, i64), after_us: Micros| {
        let (now, facts) = (after(after_us), [first, (1, 1)]);
        marks.look(&source, &log(&facts, now), now, &present(NOW_US));
        marks.published().of("s")
    };
    assert_eq!(at(&mut marks, (1, 1), 0), Some(90));
    // Partition 1 goes on all the while.
    marks
        .seen
        .entry(TopicPartition::new("t", 1))
        .and_modify(|s| s.moved = after(HOUR_US));
    assert_eq!(at(&mut marks, (1, 1), IDLE_TIMEOUT_US - 1), Some(90));
    assert_eq!(at(&mut marks, (1, 1), IDLE_TIMEOUT_US), Some(DAY_US - 10));
    let held = marks.take_records();
    let expected = Hold {
        at: 1,
        mark_us: DAY_US,
        watermark_us: DAY_US - 10,
    };
    assert_eq!(held[0].fact, MarkFact::Hold(expected));
    let back = marks.pass(&batch_of(0, 1, &[150]));
    assert_eq!(back, [Some(90)], "by its own rows it is not late");
    assert_eq!(
        at(&mut marks, (2, 2), IDLE_TIMEOUT_US + 1),
        Some(DAY_US - 10)
    );
}

#[test]
fn a_partition_that_nobody_answers_for_is_not_idle_and_rests_anew_when_somebody_does() {
    let (mut marks, source) = (started(2), source());
    marks.pass(&batch_of(0, 0, &[100]));
    marks.pass(&batch_of(1, 0, &[700]));
    let mut at = |since_us: Option<Micros>, after_us: Micros| {
        let now = after(after_us);
        let mut facts = log(&[(1, 1), (1, 1)], now);
        let first = facts.get_mut(&TopicPartition::new("t", 0));
        let answered = |since_us| Answered {
            since: after(since_us),
            last: now,
        };
        first.expect("it is there").answered = since_us.map(answered);
        // Partition 1 goes on all the while.
        let second = marks.seen.get_mut(&TopicPartition::new("t", 1));
        second.into_iter().for_each(|seen| seen.moved = now);
        marks.look(&source, &facts, now, &present(NOW_US));
        marks.published().of("s")
    };
    assert_eq!(at(Some(0), 0), Some(90));
    assert_eq!(at(None, IDLE_TIMEOUT_US - 1), Some(90));
    assert_eq!(at(None, HOUR_US), Some(90), "its end is not known");
    let back = Some(HOUR_US);
    assert_eq!(at(back, HOUR_US + IDLE_TIMEOUT_US - 1), Some(90));
    assert_eq!(at(back, HOUR_US + IDLE_TIMEOUT_US), Some(690));
}

#[test]
fn a_partition_added_while_the_topic_is_read_pulls_nothing_back() {
    let (mut marks, source) = (started(1), source());
    marks.pass(&batch(0, &[700]));
    let added = TopicPartition::new("t", 1);
    marks.add(&source, &added, &present(NOW_US));
    let hold = Hold {
        at: 0,
        mark_us: 700,
        watermark_us: 690,
    };
    let record = MarkRecord {
        partition: added,
        fact: MarkFact::Hold(hold),
    };
    assert_eq!(marks.take_records(), [record]);
    assert_eq!(marks.pass(&batch_of(1, 0, &[20, 30])), [None, Some(10)]);
    assert_eq!(marks.published().of("s"), Some(690));
}

#[test]
fn a_backlog_is_what_is_unread_and_nothing_else() {
    let (mut marks, source) = (started(2), source());
    marks.pass(&batch(0, &[700]));
    let mut backlog = |facts: &[(i64, i64)]| {
        let now = after(HOUR_US);
        marks.look(&source, &log(facts, now), now, &present(NOW_US));
        marks.backlog_us(&source)
    };
    assert_eq!(backlog(&[(1, 1), (0, 0)]), None);
    assert_eq!(backlog(&[(1, 9), (0, 0)]), Some(690));
    assert_eq!(
        backlog(&[(1, 9), (0, 6)]),
        Some(Micros::MIN),
        "it may hold anything"
    );
    assert_eq!(
        backlog(&[(1, 1), (6, 6)]),
        None,
        "aborted records are passed"
    );
}

#[test]
fn one_record_a_year_ahead_makes_no_good_row_late_in_its_partition_or_another() {
    for (partitions, poisoned) in [(1, 0), (2, 0), (4, 3)] {
        let mut marks = started(partitions);
        let mut ahead = 0;
        for step in 0..200 {
            let now = NOW_US + step * MINUTE_US;
            for number in 0..partitions {
                let mut times = vec![now - 5 * SECOND_US, now - 3 * SECOND_US];
                if number == poisoned && step % 50 == 10 {
                    times[0] = now + 365 * DAY_US;
                }
                let dated = marks.date(&batch_of(number, step * 2, &times), Some(&present(now)));
                ahead += dated.ahead;
                for (time, watermark) in times.into_iter().zip(dated.watermark_us) {
                    let late = is_too_late(time, watermark, Some(MINUTE_US + HISTORY_US));
                    assert!(!late, "{time} behind {watermark:?} at {now}");
                    let kept_us = watermark.map_or(0, |watermark| watermark - HISTORY_US);
                    assert!(kept_us <= now, "the present can be read");
                }
            }
            let mark = marks.published().of("s").expect("all had rows");
            assert!(mark <= now + EVENT_FUTURE_MAX_US, "{step}: {mark}");
        }
        assert_eq!(ahead, 4);
        assert!(!marks.take_records().is_empty(), "each bound is recorded");
    }
}

#[test]
fn an_append_time_of_the_broker_supports_what_a_time_of_the_producer_does_not() {
    let later = NOW_US + 30 * DAY_US;
    for (of_broker, expected) in [(false, NOW_US + EVENT_FUTURE_MAX_US), (true, later)] {
        let mut rows = batch(0, &[later]);
        rows.origin.kafka_time_us = vec![Some(later)];
        rows.origin.broker_time = vec![of_broker];
        let mut marks = started(1);
        let dated = marks.date(&rows, Some(&present(NOW_US)));
        assert_eq!(dated.ahead, u64::from(!of_broker));
        let mark = marks
            .progress(&TopicPartition::new("t", 0))
            .max_event_time_us;
        assert_eq!(mark, Some(expected));
    }
}

/// One batch of a run: where it stands, its event times, and the present.
type Piece = (i32, i64, Vec<Micros>, Micros);

/// Rows of three partitions, some of them far ahead, read over hours.
fn run(random: &mut Random) -> Vec<Piece> {
    let mut next = [0_i64; 3];
    (0..40)
        .map(|step| {
            let number = random.below(3);
            let now = NOW_US + step * 7 * SECOND_US;
            let times: Vec<Micros> = (0..1 + random.below(5))
                .map(|_| {
                    let jitter = random.below(600) as i64 * SECOND_US;
                    match random.below(9) {
                        0 => now + 365 * DAY_US,
                        1 => now + 2 * HOUR_US,
                        2 => now - DAY_US,
                        _ => now - jitter,
                    }
                })
                .collect();
            let first = next[number];
            next[number] += times.len() as i64;
            (number as i32, first, times, now)
        })
        .collect()
}

/// Verdicts by place, the records, the progress after each piece.
type Story = (
    BTreeMap<(i32, i64), Option<Micros>>,
    Vec<MarkRecord>,
    Vec<Vec<(TopicPartition, PartitionProgress)>>,
);

fn tell(marks: &mut Watermarks, pieces: &[Piece], shift_us: Micros) -> Story {
    let (mut verdicts, mut records, mut progress) = Story::default();
    for (number, first, times, now) in pieces {
        let now = now + shift_us;
        let rows = batch_of(*number, *first, times);
        let dated = marks.date(&rows, Some(&present(now)));
        for (offset, watermark) in rows.origin.offset.iter().zip(dated.watermark_us) {
            verdicts.insert((*number, *offset), watermark);
        }
        records.extend(marks.take_records());
        progress.push(marks.all_progress());
    }
    (verdicts, records, progress)
}

#[test]
fn verdicts_and_marks_are_the_same_live_after_a_restart_at_any_cut_and_in_a_replay() {
    for seed in 0..20 {
        let pieces = run(&mut Random::new(seed));
        let mut live = started(3);
        let (verdicts, records, progress) = tell(&mut live, &pieces, 0);
        assert!(records.len() > 3, "seed {seed} bounds something");
        let mark_of = |marks: &Watermarks| marks.sources["t"].mark_us();

        let mut replayed = Watermarks::replay(&records);
        let mut order = pieces.clone();
        order.sort_by_key(|(number, first, ..)| (*number, *first));
        for (number, first, times, _) in &order {
            let rows = batch_of(*number, *first, times);
            for (offset, watermark) in rows.origin.offset.iter().zip(replayed.pass(&rows)) {
                assert_eq!(watermark, verdicts[&(*number, *offset)], "seed {seed}");
            }
        }
        assert_eq!(mark_of(&replayed), mark_of(&live), "seed {seed}");

        // One shard stands after piece `near`, another after piece `far`, and a crash takes the
        // rest. The clock is an hour further when the rows are read again.
        for (near, far) in [(0, 0), (3, 17), (10, 39), (39, 39), (20, 25)] {
            let mut plan = Plan::default();
            for (partition, at) in &progress[near] {
                plan.starts.insert(partition.clone(), at.next_offset);
            }
            for number in 0..3 {
                plan.starts
                    .entry(TopicPartition::new("t", number))
                    .or_insert(0);
            }
            for (partition, at) in progress[near].iter().chain(&progress[far]) {
                plan.recorded
                    .entry(partition.clone())
                    .or_default()
                    .push(*at);
            }
            let known: Vec<MarkRecord> = {
                let mut first = started(3);
                tell(&mut first, &pieces[..=far], 0).1
            };
            let mut again =
                Watermarks::recovered(&plan, &known, &Applied::default(), Arc::default());
            let (after, ..) = tell(&mut again, &pieces[near + 1..=far.max(near)], HOUR_US);
            for (place, watermark) in after {
                assert_eq!(
                    watermark, verdicts[&place],
                    "seed {seed} {near} {far} {place:?}"
                );
            }
            assert_eq!(again.all_progress().len(), progress[far].len());
            for (partition, at) in &progress[far] {
                assert_eq!(again.progress(partition), *at, "seed {seed} {near} {far}");
            }
        }
    }
}

/// Batches of one partition: the clock and the event times of each.
type Clocked<'a> = &'a [(Micros, Vec<Micros>)];

/// The watermark before each row and the mark after each batch.
type Marked = (Vec<Option<Micros>>, Vec<Option<Micros>>);

fn marked(
    marks: &mut Watermarks,
    batches: Clocked<'_>,
    is_live: bool,
) -> (Marked, Vec<MarkRecord>) {
    let (mut marked, mut records, mut first) = (Marked::default(), Vec::new(), 0);
    for (now, times) in batches {
        let present = present(*now);
        let dated = marks.date(&batch(first, times), is_live.then_some(&present));
        first += times.len() as i64;
        marked.0.extend(dated.watermark_us);
        let mark = marks.mark(&TopicPartition::new("t", 0));
        marked.1.push(mark.and_then(PartitionMark::mark_us));
        records.extend(marks.take_records());
    }
    (marked, records)
}

/// What is recorded of `batches`, which repeats what was seen live.
fn replayed_alike(batches: Clocked<'_>, what: &str) -> Vec<MarkRecord> {
    let (live, records) = marked(&mut started(1), batches, true);
    // As a sink keeps them: the bound that goes on replaces the shorter one.
    let kept = Unrecorded::of_archive(&records).take();
    let (replayed, decided) = marked(&mut Watermarks::replay(&kept), batches, false);
    assert_eq!(replayed, live, "{what}: {batches:?}");
    assert!(decided.is_empty(), "{what}: a replay decides nothing");
    kept
}

#[test]
fn a_bound_does_not_go_on_over_rows_that_were_read_under_another() {
    let at = |second: i64| NOW_US + second * SECOND_US;
    let far = at(0) + 365 * DAY_US;
    let near = at(5) + EVENT_FUTURE_MAX_US;
    let past = at(-50);
    // Seconds of the clock, event time; how many bounds are kept. The clock is read in steps of 10
    // s.
    type Case<'a> = (&'a str, Vec<(i64, Micros)>, usize);
    let cases: [Case<'_>; 4] = [
        (
            "a clock that steps back behind a higher bound without effect",
            vec![(0, far), (12, near), (4, far)],
            2,
        ),
        (
            "a bound without effect that is equal is the same one",
            vec![(0, far), (3, past), (4, far), (9, far)],
            1,
        ),
        (
            "a lower bound without effect",
            vec![(10, far), (0, past), (10, far)],
            2,
        ),
        (
            "a higher bound with an effect",
            vec![(0, far), (12, far), (4, far), (5, past)],
            3,
        ),
    ];
    for (what, rows, bounds) in cases {
        let rows: Vec<_> = rows.iter().map(|(s, time)| (at(*s), vec![*time])).collect();
        assert_eq!(replayed_alike(&rows, what).len(), bounds, "{what}");
    }
}

#[test]
fn what_is_recorded_repeats_what_was_seen_whatever_the_clock_does() {
    for seed in 0..300 {
        let mut random = Random::new(seed);
        let mut now = NOW_US;
        let batches: Vec<(Micros, Vec<Micros>)> = (0..30)
            .map(|_| {
                now += (random.below(30) as i64 - 12) * SECOND_US;
                let mut time = || {
                    let second = random.below(60) as i64 * SECOND_US;
                    match random.below(4) {
                        0 => now + 365 * DAY_US,
                        1 => now - second,
                        // Beyond the one bound, and not beyond the next.
                        _ => now + EVENT_FUTURE_MAX_US + second - 30 * SECOND_US,
                    }
                };
                let times = (0..3).map(|_| time()).collect();
                (now, times)
            })
            .collect();
        replayed_alike(&batches, &format!("seed {seed}"));
    }
}
