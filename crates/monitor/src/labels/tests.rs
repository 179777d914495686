//! The join's rules on single keys; whole flows are in `src/tests`.

use super::*;

const LIMITS: JoinLimits = JoinLimits {
    predictions: 100,
    labels: 100,
    per_key: 10,
};
const WITHIN: Micros = 256 * SECOND_US;

fn join() -> LabelJoin {
    LabelJoin::new(WITHIN, 0, LIMITS)
}

fn both(mark_us: Micros) -> MonitorMarks {
    MonitorMarks {
        predictions_us: Some(mark_us),
        labels_us: Some(mark_us),
    }
}

#[test]
fn predictions_expire_by_the_labels_and_labels_by_the_predictions() {
    let (mut join, mut effects) = (join(), Vec::new());
    join.predict(1, 0, 0, 0.7, &mut effects);
    join.label(2, 0, true, &mut effects);
    let only_predictions = MonitorMarks {
        predictions_us: Some(9 * WITHIN),
        labels_us: None,
    };
    join.advance(only_predictions, &mut effects);
    assert_eq!(effects, [], "the labels have not come that far");
    assert_eq!((join.fates().unmatched, join.fates().waiting), (1, 0));
    join.label(2, 0, true, &mut effects);
    assert_eq!(join.fates().duplicate, 1, "an unmatched label is known");
    join.advance(both(9 * WITHIN), &mut effects);
    assert_eq!(effects.len(), 1);
    assert_eq!(effects[0].change, Change::Expire);
    assert!(join.keys.is_empty());
}

fn credits(effects: &[Effect]) -> Vec<(bool, bool)> {
    let credit = |effect: &Effect| match effect.change {
        Change::Credit(credit) => Some((true, credit.label)),
        Change::Retract(credit) => Some((false, credit.label)),
        Change::Expire | Change::Revive => None,
    };
    effects.iter().filter_map(credit).collect()
}

#[test]
fn both_ends_of_the_horizon_count() {
    for (after, counted) in [(-1, false), (0, true), (WITHIN, true), (WITHIN + 1, false)] {
        for label_first in [false, true] {
            let (mut join, mut effects) = (join(), Vec::new());
            if label_first {
                join.label(1, after, true, &mut effects);
            }
            join.predict(1, 0, 0, 0.7, &mut effects);
            if !label_first {
                join.label(1, after, true, &mut effects);
            }
            assert_eq!(
                credits(&effects),
                if counted { vec![(true, true)] } else { vec![] },
                "label after {after} us"
            );
            let fates = join.fates();
            assert_eq!(fates.early, u64::from(after < 0));
            assert_eq!(fates.expired, u64::from(after > WITHIN));
        }
    }
}

#[test]
fn the_latest_label_counts_whatever_came_first() {
    let (mut join, mut effects) = (join(), Vec::new());
    join.predict(1, 0, 0, 0.7, &mut effects);
    join.label(1, 20, false, &mut effects);
    join.label(1, 10, true, &mut effects);
    assert_eq!(
        credits(&effects),
        [(true, false)],
        "an older label changes nothing"
    );
    join.label(1, 30, true, &mut effects);
    assert_eq!(credits(&effects)[1..], [(false, false), (true, true)]);
    assert_eq!((join.fates().corrected, join.fates().matched), (2, 3));
}

#[test]
fn each_prediction_of_a_key_gets_the_label() {
    let (mut join, mut effects) = (join(), Vec::new());
    for series in 0..3 {
        join.predict(1, series, 5, 0.2, &mut effects);
    }
    join.predict(2, 0, 5, 0.2, &mut effects);
    join.label(1, 6, true, &mut effects);
    let series: Vec<u16> = effects.iter().map(|effect| effect.series).collect();
    assert_eq!(series, [0, 1, 2]);
}

#[test]
fn what_waited_long_enough_expires_and_is_forgotten() {
    let (mut join, mut effects) = (join(), Vec::new());
    join.predict(1, 0, 0, 0.7, &mut effects);
    join.label(2, 0, true, &mut effects);
    join.advance(both(WITHIN), &mut effects);
    assert_eq!(
        effects,
        [],
        "the horizon's last microsecond may still bring a label"
    );
    join.advance(both(WITHIN + SECOND_US), &mut effects);
    assert_eq!(
        effects.iter().map(|e| e.change).collect::<Vec<_>>(),
        [Change::Expire]
    );
    assert_eq!((join.fates().unmatched, join.fates().waiting), (1, 0));
    join.label(1, WITHIN, true, &mut effects);
    assert_eq!(
        effects[1].change,
        Change::Revive,
        "a late label within the horizon still counts"
    );
    join.advance(both(3 * WITHIN), &mut effects);
    assert!(join.keys.is_empty() && join.by_labels.granules.is_empty());
    assert!(join.by_predictions.granules.is_empty());
    assert_eq!((join.predictions, join.labels), (0, 0));
}

#[test]
fn rows_that_come_behind_the_watermark_are_settled_at_once() {
    let (mut join, mut effects) = (join(), Vec::new());
    join.advance(both(10 * WITHIN), &mut effects);
    join.predict(1, 0, 0, 0.7, &mut effects);
    join.expire(&mut effects);
    assert_eq!(
        effects.iter().map(|e| e.change).collect::<Vec<_>>(),
        [Change::Expire]
    );
    assert!(join.keys.is_empty());
}

#[test]
fn a_full_join_counts_and_goes_on() {
    let limits = JoinLimits {
        predictions: 1,
        labels: 1,
        per_key: 10,
    };
    let (mut join, mut effects) = (LabelJoin::new(WITHIN, 0, limits), Vec::new());
    join.predict(1, 0, 0, 0.7, &mut effects);
    join.predict(2, 0, 0, 0.7, &mut effects);
    join.label(3, 0, true, &mut effects);
    join.label(4, 0, true, &mut effects);
    assert_eq!(
        (join.fates().untracked_predictions, join.fates().overflowed),
        (1, 1)
    );
    assert_eq!(join.keys.len(), 2);
}
