//! Logs from a seed: events of two versions over a few days, out of order and some late;
//! predictions that overtake one another, some repeated; labels early, in time, late, twice,
//! missing; some events settled without a prediction, and in some logs one that waits for ever.
//! Partitions that are idle for a while or have no row at all, and rows of a clock that is far
//! ahead, with what was decided about them.

use std::sync::Arc;

use forebay_core::source::SourceDef;
use forebay_core::time::{DAY_US, HOUR_US, MINUTE_US, Micros};
use forebay_core::watermark::{Bound, Hold, MarkFact};

use super::{Row, Strand, World};
use crate::tests::fixtures::{PredictionRow, Random};

const EVENTS: i64 = 700;
const DAYS: Micros = 4;

/// What follows from the events.
#[derive(Default)]
struct Consequences {
    answers: Vec<((i32, i64), PredictionRow)>,
    settled: Vec<Row>,
    /// When each is sent, and the label.
    labels: Vec<(Micros, Row)>,
}

pub(super) fn write(world: &World, seed: u64, partitions: i32) -> Vec<Strand> {
    let mut random = Random(seed);
    let mut follow = Consequences::default();
    let mut strands = Vec::new();
    for partition in 0..partitions {
        let count = EVENTS / i64::from(partitions);
        let rows = events(&mut random, partition, count, &mut follow);
        let decided = decide(&mut random, &rows);
        strands.push(Strand {
            source: Arc::clone(&world.departures),
            partition,
            rows,
            decided,
        });
    }
    if random.below(2) == 0 {
        strands.push(Strand {
            source: Arc::clone(&world.departures),
            partition: partitions,
            rows: Vec::new(),
            decided: vec![hold(0, DAYS * DAY_US)],
        });
    }
    if random.below(3) == 0 {
        let lost = random.below(follow.answers.len());
        follow.answers.swap_remove(lost);
    }
    let predictions = predictions(&mut random, &follow.answers);
    place(
        &mut random,
        &mut strands,
        &world.predictions,
        partitions,
        predictions,
    );
    follow.labels.sort_by_key(|(at, _)| *at);
    let labels = follow.labels.into_iter().map(|(_, row)| row).collect();
    place(&mut random, &mut strands, &world.arrivals, 2, labels);
    strands.push(Strand {
        source: Arc::clone(&world.departures),
        partition: -1,
        rows: follow.settled,
        decided: Vec::new(),
    });
    for strand in strands.iter_mut().filter(|s| s.source.name == "arrivals") {
        strand.decided = decide(&mut random, &strand.rows);
    }
    strands
}

/// What was decided while `rows` were read: before some of them the partition was idle and held a
/// little ahead of where it stood, in most logs also behind the last; those far ahead were bounded.
fn decide(random: &mut Random, rows: &[Row]) -> Vec<MarkFact> {
    let mut decided = Vec::new();
    let (mut newest, mut next) = (0, 0);
    for row in rows {
        let (Row::Event { offset, time } | Row::Label { offset, time, .. }) = row else {
            continue;
        };
        if random.below(60) == 0 {
            let ahead = random.below(300) as Micros * MINUTE_US;
            decided.push(hold([next, *offset][random.below(2)], newest + ahead));
        }
        next = offset + 1;
        if *time < DAYS * DAY_US {
            newest = newest.max(*time);
        } else {
            decided.push(MarkFact::Bound(Bound {
                from: *offset,
                until: next,
                mark_max_us: newest + HOUR_US,
                watermark_max_us: newest,
            }));
        }
    }
    if random.below(4) > 0 {
        decided.push(hold(next + random.below(3) as i64, DAYS * DAY_US));
    }
    decided
}

fn hold(at: i64, mark_us: Micros) -> MarkFact {
    MarkFact::Hold(Hold {
        at,
        mark_us,
        watermark_us: mark_us,
    })
}

fn events(random: &mut Random, partition: i32, count: i64, follow: &mut Consequences) -> Vec<Row> {
    let mut rows = Vec::new();
    let mut offset = 0;
    for index in 0..count {
        offset += 1 + i64::from(random.below(10) == 0);
        let punctual = index * DAYS * DAY_US / count;
        let behind = match random.below(30) {
            0 => random.below(40) as Micros * HOUR_US,
            _ => random.below(25) as Micros * MINUTE_US,
        };
        let ahead = if random.below(90) == 0 { 9 * DAY_US } else { 0 };
        let time = punctual - behind + ahead;
        rows.push(Row::Event { offset, time });
        let drift = if punctual > DAY_US { 15.0 } else { 0.0 };
        let row = PredictionRow {
            version: 1 + i32::from(random.below(3) == 0),
            role: "live",
            offset,
            time,
            score: random.unit(),
            flight: (random.below(40) != 0).then(|| format!("{partition}-{}", index / 2)),
            delay: (random.below(20) != 0).then(|| random.normal() * 10.0 + drift),
            departures: random.below(12) as i64,
            carrier: Some(["UA", "B6"][random.below(2)]),
            weekend: random.below(7) > 4,
        };
        labels(random, &row, &mut follow.labels);
        let of = (partition, offset);
        match random.below(60) {
            0 => follow.settled.push(Row::Settled { of }),
            _ => follow.answers.push((of, row)),
        }
    }
    rows
}

fn labels(random: &mut Random, row: &PredictionRow, labels: &mut Vec<(Micros, Row)>) {
    for _ in 0..random.below(3) {
        let time = row.time + random.below(16 * 60) as Micros * MINUTE_US - HOUR_US;
        let sent = match random.below(20) {
            0 => time + 10 * HOUR_US,
            _ => time,
        };
        let label = Row::Label {
            offset: 0,
            time,
            flight: row.flight.clone(),
            label: [Some(true), Some(false), None][random.below(5).min(2)],
        };
        labels.push((sent, label));
    }
}

/// The answers in the order in which they come back: they overtake one another within a few
/// hundred, and some are sent twice.
fn predictions(random: &mut Random, answers: &[((i32, i64), PredictionRow)]) -> Vec<Row> {
    let mut order: Vec<(usize, usize)> = Vec::new();
    for index in 0..answers.len() {
        order.push((index + random.below(200), index));
        if index % 50 == 0 {
            order.push((index + 300, index));
        }
    }
    order.sort_unstable();
    let row = |(_, index): (usize, usize)| {
        let (of, row) = answers[index].clone();
        Row::Prediction { offset: 0, of, row }
    };
    order.into_iter().map(row).collect()
}

/// Spread `rows` over the partitions of `source`, in their order.
fn place(
    random: &mut Random,
    strands: &mut Vec<Strand>,
    source: &Arc<SourceDef>,
    partitions: i32,
    rows: Vec<Row>,
) {
    let mut placed: Vec<Strand> = (0..partitions)
        .map(|partition| Strand {
            source: Arc::clone(source),
            partition,
            rows: Vec::new(),
            decided: Vec::new(),
        })
        .collect();
    for mut row in rows {
        let strand = &mut placed[random.below(partitions as usize)];
        let at = strand.rows.len() as i64;
        if let Row::Label { offset, .. } | Row::Prediction { offset, .. } = &mut row {
            *offset = at;
        }
        strand.rows.push(row);
    }
    strands.extend(placed);
}
