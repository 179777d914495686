//! Every published prediction against its recomputation: the score that the model gives to features
//! which are computed here, from the log alone, up to the offsets that the prediction names. Exact:
//! event values are multiples of a quarter, so sums are whole numbers of quarters.

use forebay_core::applied::AppliedViews;
use forebay_core::prediction::{PredictionKey, Role, column};
use forebay_core::progress::Applied;
use forebay_core::time::{MINUTE_US, Micros};
use forebay_core::value::Value;
use serde_json::Value as Json;

use crate::oracle::{Accepted, Oracle};
use crate::refusals::SIGNATURE;
use crate::world::{RECENT, World};

/// Values are whole numbers of these.
const QUARTERS: f64 = 4.0;

/// Recompute every prediction of `world`; how many.
///
/// # Panics
/// One is not what it should be.
pub fn check_scores(world: &World, oracle: &Oracle) -> u64 {
    let mut checked = 0;
    assert_eq!(world.setup.asks, RECENT, "the features recomputed here");
    let alias = world.service().spec().views[0].alias.clone();
    for record in world.publisher.published() {
        let said: Json = serde_json::from_slice(&record.payload).expect("the encoder writes JSON");
        let id = &said[column::PREDICTION_ID];
        let text = said[column::APPLIED].as_str().expect("offsets are named");
        let named = AppliedViews::decode(text).expect("its own text");
        let applied = named.get(&alias).expect("its own offsets");
        // The epoch was read in the process that has made the record, and a power cut ends that.
        let applied = applied.unwrap_or_else(|| panic!("{id} names no offsets: {said}"));
        let at = said[column::EVENT_TIME].as_i64().expect("an instant");
        let key = said[column::REQUEST]["k"].as_str();
        let (count, total) = features(oracle, key, at, &applied);
        let (margin, score) = (&said[column::MARGIN], &said[column::SCORE]);
        let version = named_version(&said);
        assert_eq!(
            margin.as_f64(),
            Some(count + SIGNATURE * f64::from(version)),
            "{id}: the first feature of {said}, and the version that has answered"
        );
        assert_eq!(
            score.as_f64(),
            Some(count + total),
            "{id}: the score of {said}"
        );
        checked += 1;
    }
    checked
}

/// The version that the prediction `said` names, in its id too.
fn named_version(said: &Json) -> u32 {
    let text = |name: &str| said[name].as_str().expect("text").to_owned();
    let number = |name: &str| said[name].as_i64().expect("a number");
    let key = PredictionKey {
        deployment: text(column::DEPLOYMENT),
        model_version: u32::try_from(number(column::MODEL_VERSION)).expect("small"),
        role: Role::parse(&text(column::ROLE)).expect("a role"),
        topic: text(column::SOURCE_TOPIC),
        partition: i32::try_from(number(column::SOURCE_PARTITION)).expect("few"),
        offset: number(column::SOURCE_OFFSET),
    };
    assert_eq!(key.id(), text(column::PREDICTION_ID), "the id of {said}");
    key.model_version
}

/// Count and sum of the minute up to `at`, of what `applied` covers.
fn features(oracle: &Oracle, key: Option<&str>, at: Micros, applied: &Applied) -> (f64, f64) {
    let seen = oracle.accepted.iter().filter(|row| {
        key.is_some()
            && row.key.as_deref() == key
            && row.offset < applied.next_offset(&row.place)
            && (at - MINUTE_US..=at).contains(&row.time_us)
            && !row.late
            && !row.left_out
    });
    count_and_total(seen)
}

/// Count and sum of `key` over so long up to `at`, of all that counts for a view which looks back
/// that far.
pub(crate) fn features_within(
    oracle: &Oracle,
    key: &str,
    at: Micros,
    back_us: Micros,
) -> (f64, f64) {
    let is_late = |row: &Accepted| row.watermark_us.is_some_and(|w| row.time_us < w - back_us);
    let seen = oracle.accepted.iter().filter(|row| {
        row.key.as_deref() == Some(key)
            && (at - back_us..=at).contains(&row.time_us)
            && !is_late(row)
            && !row.left_out
    });
    count_and_total(seen)
}

fn count_and_total<'a>(rows: impl Iterator<Item = &'a Accepted>) -> (f64, f64) {
    let rows: Vec<&Accepted> = rows.collect();
    let quarters = rows.iter().filter_map(|row| match row.x {
        Value::Float(x) => Some((x * QUARTERS) as i128),
        _ => None,
    });
    // The conversion is correctly rounded, and the division by a power of two is exact.
    let total = quarters.sum::<i128>() as f64 / QUARTERS;
    (rows.len() as f64, total)
}
