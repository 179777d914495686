//! What the log asks for, by one plain walk over it: which rows each view holds, with which
//! watermark, what the archive has, what is scored. Written apart from the pipeline; the checks
//! compare a world with it.

use std::collections::{BTreeMap, BTreeSet};

use forebay_core::key::{KeyBuffer, shard_of};
use forebay_core::ports::StateProgress;
use forebay_core::prediction::{PredictionKey, Role, column};
use forebay_core::progress::TopicPartition;
use forebay_core::source::meta;
use forebay_core::time::{MINUTE_US, Micros};
use forebay_core::value::{Value, array_from_values};
use forebay_core::watermark::{Bound, MarkFact};
use forebay_pipeline::archive::DEAD_LETTER_TABLE;

use crate::world::{
    DELAY_US, EVENTS, LIFETIME, OF_PREDICTIONS, PREDICTIONS, RECENT, REFUSED, TOPIC, World,
};

/// One event that counts.
#[derive(Debug, Clone, PartialEq)]
pub struct Accepted {
    /// Topic and partition.
    pub place: TopicPartition,
    /// Its offset.
    pub offset: i64,
    /// Its entity; None where that is NULL.
    pub key: Option<String>,
    /// Event time.
    pub time_us: Micros,
    /// What the views aggregate.
    pub x: Value,
    /// The watermark of its partition before it.
    pub watermark_us: Option<Micros>,
    /// Too late for the view that looks back a minute.
    pub late: bool,
}

/// What the log of a world asks for.
#[derive(Debug, Default)]
pub struct Oracle {
    /// By place.
    pub accepted: Vec<Accepted>,
    /// Place, offset and reason of every dead letter, by place.
    pub dead: Vec<(TopicPartition, i64, String)>,
    /// Ids of all predictions.
    pub predictions: BTreeSet<String>,
}

impl Oracle {
    /// What the log of `world` asks for.
    pub fn of(world: &World) -> Self {
        let mut oracle = Self::default();
        for partition in 0..world.log.partitions(TOPIC) {
            oracle.walk(world, partition);
        }
        oracle
    }

    fn walk(&mut self, world: &World, partition: usize) {
        let number = i32::try_from(partition).expect("few");
        let place = TopicPartition::new(TOPIC, number);
        let bounds = bounds_of(world, &place);
        let mut newest: Option<Micros> = None;
        for record in world.log.history(TOPIC, partition) {
            let values = match record.values {
                Ok(values) if values[2] == Value::Float(REFUSED) => Err("refused"),
                other => other,
            };
            let values = match values {
                Ok(values) => values,
                Err(reason) => {
                    self.dead
                        .push((place.clone(), record.offset, reason.to_owned()));
                    continue;
                }
            };
            let Value::Timestamp(time_us) = values[1] else {
                panic!("ts is a timestamp")
            };
            let bound = bounds
                .iter()
                .find(|b| b.from <= record.offset && record.offset < b.until);
            let most = bound.map_or(Micros::MAX, |b| b.watermark_max_us);
            let watermark_us = newest.map(|newest| (newest - DELAY_US).min(most));
            let most = bound.map_or(Micros::MAX, |b| b.mark_max_us);
            newest = newest.max(Some(time_us.min(most)));
            self.accepted.push(Accepted {
                place: place.clone(),
                offset: record.offset,
                key: if let Value::Text(key) = &values[0] {
                    Some(key.to_string())
                } else {
                    None
                },
                time_us,
                x: values[2].clone(),
                watermark_us,
                late: watermark_us.is_some_and(|watermark| time_us < watermark - MINUTE_US),
            });
            let versions = [(1, Role::Live), (2, Role::Shadow)];
            for (model_version, role) in &versions[..if world.setup.shadow { 2 } else { 1 }] {
                let key = PredictionKey {
                    deployment: "scorer".to_owned(),
                    model_version: *model_version,
                    role: *role,
                    topic: TOPIC.to_owned(),
                    partition: number,
                    offset: record.offset,
                };
                self.predictions.insert(key.id());
            }
        }
    }
}

/// What was decided about rows of `place` that are far ahead.
fn bounds_of(world: &World, place: &TopicPartition) -> Vec<Bound> {
    let records = world.archived_marks().into_iter();
    let of_place = records.filter(|record| record.partition == *place);
    let bound = |fact: MarkFact| match fact {
        MarkFact::Bound(bound) => Some(bound),
        MarkFact::Hold(_) => None,
    };
    of_place.filter_map(|record| bound(record.fact)).collect()
}

/// Everything about `world` is what its log says. `late_flags` is false after a crash that left the
/// archive behind every shard: then a late row may have lost its mark.
pub fn check(world: &World, late_flags: bool) {
    let oracle = Oracle::of(world);
    for view in [RECENT, LIFETIME] {
        check_rows(world, &oracle, view);
    }
    check_archive(world, &oracle, late_flags);
    check_predictions(world, &oracle);
    let observed = world.observed.lock();
    let events: Vec<_> = observed
        .iter()
        .filter(|(source, ..)| source == EVENTS)
        .collect();
    let distinct: BTreeSet<_> = events
        .iter()
        .map(|(_, place, offset)| (place.clone(), *offset))
        .collect();
    let accepted: BTreeSet<_> = oracle
        .accepted
        .iter()
        .map(|a| (a.place.clone(), a.offset))
        .collect();
    assert_eq!(distinct, accepted, "observers see every row");
}

fn check_rows(world: &World, oracle: &Oracle, view: u32) {
    let by_shard = world.store.rows(view);
    let mut expected: BTreeMap<(TopicPartition, i64), &Accepted> = BTreeMap::new();
    expected.extend(
        oracle
            .accepted
            .iter()
            .filter(|a| a.key.is_some())
            .map(|a| ((a.place.clone(), a.offset), a)),
    );
    for (shard, rows) in by_shard.iter().enumerate() {
        for row in rows {
            let accepted = expected.remove(&(row.place.clone(), row.offset));
            let accepted = accepted.unwrap_or_else(|| {
                panic!(
                    "view {view} has {:?} {}, which is no event",
                    row.place, row.offset
                )
            });
            let key = encoded(accepted.key.as_deref().expect("filtered"));
            assert_eq!(row.key, key);
            assert_eq!(usize::from(shard_of(&key, world.store.shards())), shard);
            assert_eq!(row.time_us, accepted.time_us);
            assert_eq!(
                row.watermark_us, accepted.watermark_us,
                "watermark before {:?} {}",
                row.place, row.offset
            );
            assert_eq!(row.late, view == RECENT && accepted.late);
            assert!(row.arguments[0].same_bits(&accepted.x));
        }
    }
    assert!(
        expected.is_empty(),
        "view {view} lacks {:?}",
        expected.keys()
    );
}

/// `key` as the store encodes it.
///
/// # Panics
/// It is longer than a key may be.
pub fn encoded(key: &str) -> Vec<u8> {
    let array = array_from_values(
        &arrow_schema::DataType::Utf8,
        [Value::Text(key.into())].iter(),
    )
    .expect("text");
    KeyBuffer::encode(&[array])
        .expect("a short key")
        .get(0)
        .expect("not NULL")
        .to_vec()
}

fn check_archive(world: &World, oracle: &Oracle, late_flags: bool) {
    let rows = world.archive.rows(EVENTS);
    let places: Vec<_> = rows.iter().map(|row| (&row.place, row.offset)).collect();
    let expected: Vec<_> = oracle
        .accepted
        .iter()
        .map(|a| (&a.place, a.offset))
        .collect();
    assert_eq!(
        places, expected,
        "the archive has every accepted event once"
    );
    for (row, accepted) in rows.iter().zip(&oracle.accepted) {
        assert!(row.values["x"].same_bits(&accepted.x));
        let late = row.values[meta::LATE] == Value::Bool(true);
        assert!(
            late == accepted.late || (!late && !late_flags),
            "late flag of {:?} {}",
            row.place,
            row.offset
        );
    }
    let dead: Vec<(TopicPartition, i64, String)> = world
        .archive
        .rows(DEAD_LETTER_TABLE)
        .into_iter()
        .map(|row| match &row.values["reason"] {
            Value::Text(reason) => (row.place, row.offset, reason.to_string()),
            other => panic!("{other:?} is no reason"),
        })
        .collect();
    assert_eq!(dead, oracle.dead, "every dead letter is kept once");
}

fn check_predictions(world: &World, oracle: &Oracle) {
    if !world.setup.scored {
        return;
    }
    assert_eq!(
        world.published_ids(),
        oracle.predictions,
        "every event is scored under its one id"
    );
    assert_eq!(world.store.unfinished(), (0, 0));
    let ids: Vec<String> = world
        .archive
        .rows(PREDICTIONS)
        .into_iter()
        .map(|row| match &row.values[column::PREDICTION_ID] {
            Value::Text(id) => id.to_string(),
            other => panic!("{other:?} is no id"),
        })
        .collect();
    let live = oracle.accepted.len();
    assert_eq!(
        ids.len(),
        live,
        "the archive has every live prediction once"
    );
    assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), live);
    let folded: usize = world.store.rows(OF_PREDICTIONS).iter().map(Vec::len).sum();
    assert_eq!(folded, live, "a view over predictions counts each once");
}
