//! What replay relies on: the order of arrival, the cuts between batches, the moments at which the
//! watermark moves leave no trace in the report; counts add and subtract without
//! remainder.

use std::sync::LazyLock;

use crate::counts::PaneCounts;
use crate::quality::{Credit, QualityCounts};
use crate::{Monitor, MonitorMarks, MonitorReport, ReferenceProfile};
use forebay_core::definition::AlertThreshold;
use forebay_core::time::{DAY_US, HOUR_US, MINUTE_US, Micros};
use proptest::prelude::*;

use crate::tests::fixtures::{
    LabelRow, PredictionRow, Random, definition, observe, observe_labels, options, predictions,
    reference,
};

static REFERENCE: LazyLock<ReferenceProfile> = LazyLock::new(|| reference(25, 150));
const DAYS: i64 = 4;

#[derive(Debug, Clone)]
enum Row {
    Prediction(PredictionRow),
    Label(LabelRow),
}

impl Row {
    fn time(&self) -> Micros {
        match self {
            Self::Prediction(row) => row.time,
            Self::Label(row) => row.time,
        }
    }
}

/// Predictions of two versions over a few days, some drifted, with labels: early, in time, late,
/// twice, NULL.
fn rows(seed: u64) -> Vec<Row> {
    let mut random = Random(seed);
    let mut rows = Vec::new();
    for day in 0..DAYS {
        let shift = if day > 1 { 15.0 } else { 0.0 };
        for (i, mut row) in predictions(
            seed ^ day as u64,
            130,
            day * DAY_US,
            (day + 1) * DAY_US,
            shift,
        )
        .into_iter()
        .enumerate()
        {
            (row.version, row.role) = if i % 3 == 0 {
                (2, "shadow")
            } else {
                (1, "live")
            };
            for _ in 0..random.below(3) {
                let after = random.below(16 * 60) as Micros * MINUTE_US - HOUR_US;
                rows.push(Row::Label(LabelRow {
                    flight: row.flight.clone(),
                    time: row.time + after,
                    label: [Some(true), Some(false), None][random.below(5).min(2)],
                }));
            }
            if random.below(40) == 0 {
                row.flight = None;
            }
            rows.push(Row::Prediction(row));
        }
    }
    rows.sort_by_key(Row::time);
    rows
}

fn new_monitor() -> Monitor {
    Monitor::new(
        definition(AlertThreshold::FalseAlarmRate(0.01)),
        REFERENCE.clone(),
        options(),
    )
    .expect("sound")
}

/// Feed `rows` in their order, in batches cut at random; predictions and labels of one cut go one
/// after the other.
fn feed(monitor: &mut Monitor, rows: &[Row], random: &mut Random) {
    let mut rest = rows;
    while !rest.is_empty() {
        let (head, tail) = rest.split_at((1 + random.below(120)).min(rest.len()));
        rest = tail;
        let predictions: Vec<_> = head
            .iter()
            .filter_map(|r| {
                if let Row::Prediction(p) = r {
                    Some(p.clone())
                } else {
                    None
                }
            })
            .collect();
        let labels: Vec<_> = head
            .iter()
            .filter_map(|r| {
                if let Row::Label(l) = r {
                    Some(l.clone())
                } else {
                    None
                }
            })
            .collect();
        observe(monitor, &predictions);
        observe_labels(monitor, &labels);
    }
}

fn straight(rows: &[Row]) -> MonitorReport {
    let mut monitor = new_monitor();
    feed(&mut monitor, rows, &mut Random(0));
    monitor.advance(MonitorMarks::both((DAYS + 3) * DAY_US));
    monitor.snapshot()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn arrival_order_and_batch_cuts_leave_no_trace(seed in any::<u64>()) {
        let rows = rows(seed);
        let expected = straight(&rows);
        let mut random = Random(seed ^ 1);
        let mut shuffled = rows;
        random.shuffle(&mut shuffled);
        let mut monitor = new_monitor();
        feed(&mut monitor, &shuffled, &mut random);
        monitor.advance(MonitorMarks::both((DAYS + 3) * DAY_US));
        prop_assert_eq!(monitor.snapshot(), expected);
    }

    #[test]
    fn watermarks_in_between_leave_no_trace(seed in any::<u64>()) {
        let rows = rows(seed);
        let expected = straight(&rows);
        let mut random = Random(seed ^ 2);
        // Out of order by less than the lateness: no row is late.
        let mut arrivals: Vec<(Micros, Row)> =
            rows.into_iter().map(|row| (row.time() + random.below(HOUR_US as usize) as Micros, row)).collect();
        arrivals.sort_by_key(|(at, _)| *at);
        let mut monitor = new_monitor();
        let mut events = Vec::new();
        for cut in arrivals.chunks(97) {
            let rows: Vec<Row> = cut.iter().map(|(_, row)| row.clone()).collect();
            feed(&mut monitor, &rows, &mut random);
            // The arrival time is the newest event time that a row may be an hour behind of.
            events.extend(monitor.advance(MonitorMarks::both(cut[cut.len() - 1].0 - HOUR_US)));
        }
        events.extend(monitor.advance(MonitorMarks::both((DAYS + 3) * DAY_US)));
        let report = monitor.snapshot();
        prop_assert_eq!(report, expected);
    }

    #[test]
    fn quality_adds_and_retracts_without_remainder(
        labels in proptest::collection::vec((0.0_f64..=1.0, any::<bool>(), 0_i64..1_000_000), 0..60),
        cut in 0_usize..60,
    ) {
        let credits: Vec<Credit> =
            labels.iter().map(|(score, label, delay_us)| Credit { score: *score, label: *label, delay_us: *delay_us }).collect();
        let sum = |credits: &[Credit]| {
            let mut counts = QualityCounts::default();
            credits.iter().for_each(|credit| counts.credit(credit, 0.5));
            counts
        };
        let (left, right) = credits.split_at(cut.min(credits.len()));
        let (whole, left, right) = (sum(&credits), sum(left), sum(right));
        let mut merged = right.clone();
        merged.merge(&left);
        prop_assert_eq!(&merged, &whole);
        for credit in credits.iter().rev() {
            merged = if merged == whole { merged } else { whole.clone() };
            merged.retract(credit, 0.5);
            merged.credit(credit, 0.5);
            prop_assert_eq!(&merged, &whole);
        }
    }

    #[test]
    fn counts_add_and_subtract_without_remainder(seed in any::<u64>()) {
        let mut random = Random(seed);
        let mut draw = || {
            let mut counts = PaneCounts::new(&REFERENCE);
            counts.rows = random.next() >> 8;
            for column in &mut counts.columns {
                column.bins.iter_mut().for_each(|bin| *bin = random.next() >> 40);
                column.nulls = random.next() >> 40;
                (0..20).for_each(|_| column.sum.add(random.normal() * 1e9));
            }
            counts
        };
        let (left, right) = (draw(), draw());
        let (mut there, mut back) = (left.clone(), right.clone());
        there.merge(&right);
        back.merge(&left);
        prop_assert_eq!(&there.columns.iter().map(|c| c.sum.sum()).collect::<Vec<_>>(),
            &back.columns.iter().map(|c| c.sum.sum()).collect::<Vec<_>>());
        prop_assert!(there.columns.iter().zip(&back.columns).all(|(a, b)| a.bins == b.bins && a.nulls == b.nulls));
        for (there, right) in there.columns.iter_mut().zip(&right.columns) {
            there.subtract(right);
        }
        prop_assert!(there.columns.iter().zip(&left.columns).all(|(a, b)| a.bins == b.bins && a.sum.sum() == b.sum.sum()));
        prop_assert_eq!(there.rows, left.rows + right.rows);
    }
}
