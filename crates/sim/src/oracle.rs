//! What the log asks for, by one plain walk over it: which rows each view holds, with which
//! watermark, what the archive has, what is scored. Written apart from the pipeline; the checks
//! compare a world with it.

use std::collections::{BTreeMap, BTreeSet};

use forebay_core::key::{KeyBuffer, shard_of};
use forebay_core::ports::StateProgress;
use forebay_core::prediction::{PredictionKey, Role, column};
use forebay_core::progress::TopicPartition;
use forebay_core::settlement::{OffsetRuns, SETTLEMENT_TABLE, UnscoredReason};
use forebay_core::source::meta;
use forebay_core::time::{MINUTE_US, Micros};
use forebay_core::value::{Value, array_from_values};
use forebay_core::watermark::{Bound, MarkFact};
use forebay_pipeline::archive::DEAD_LETTER_TABLE;

use crate::deployed::Routes;
use crate::world::{
    DELAY_US, EVENTS, LEFT_OUT, LIFETIME, OF_PREDICTIONS, PREDICTIONS, RECENT, TOPIC, World,
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
    /// Every view but the one over all time leaves it out.
    pub left_out: bool,
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
    /// Of each that there never is the id and why.
    pub settled: BTreeMap<String, UnscoredReason>,
    /// Those of both that come back, and of the next, each with its event.
    pub live: BTreeMap<String, (TopicPartition, i64)>,
    /// Predictions that were made under other routes than those which hold for the event, before a
    /// power cut took back that it was read at all; some were published by then.
    pub taken_back: BTreeSet<String>,
    /// Those of both of which the version, or the deployment, went while they may have waited:
    /// they may end as withdrawn instead.
    pub withdrawable: BTreeSet<String>,
}

/// What a check of a world has found there and compared.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Checked {
    /// Predictions.
    pub predictions: u64,
    /// Notes on events that a model refuses.
    pub rows_refused: u64,
    /// Notes on predictions that their topic refuses.
    pub predictions_refused: u64,
    /// Notes on events whose version was withdrawn while they waited.
    pub withdrawn: u64,
    /// Those of them that were published before, and that a power cut had wait again.
    pub both: u64,
    /// Predictions by other routes than those under which their events were read again after a
    /// power cut.
    pub of_two_versions: u64,
    /// Late rows in the archive whose flag says so.
    pub late_flags: u64,
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

    /// The predictions that must have been published, and are not among `published`.
    #[must_use]
    pub fn missing(&self, published: &BTreeSet<String>) -> Vec<String> {
        let missing = self.predictions.difference(published);
        let missing = missing.filter(|id| !self.withdrawable.contains(*id));
        missing.cloned().collect()
    }

    /// What becomes of `event`, the number of the last accepted one.
    fn score(&mut self, world: &World, event: i64) {
        let accepted = self.accepted.last().expect("the event");
        let (place, offset) = (&accepted.place, accepted.offset);
        let shard = shard_of_event(world, accepted.key.as_deref(), (place, offset));
        let routes = world.deployed.since(shard, place, offset);
        let (now, later) = routes.split_first().expect("those that hold");
        let event_place = (place.clone(), offset);
        let key = |(model_version, role)| PredictionKey {
            deployment: "scorer".to_owned(),
            model_version,
            role,
            topic: event_place.0.topic.to_string(),
            partition: event_place.0.partition,
            offset,
        };
        let earlier = world.deployed.taken_back(shard, place, offset);
        for key in earlier.iter().flat_map(|routes| routes.versions()).map(key) {
            self.taken_back.insert(key.id());
            if key.role == Role::Live {
                self.live.insert(key.id(), event_place.clone());
            }
        }
        for key in now.iter().flat_map(|routes| routes.versions()).map(key) {
            let leads_there = |routes: &Option<Routes>| {
                let mut versions = routes.iter().flat_map(|routes| routes.versions());
                versions.any(|(version, _)| version == key.model_version)
            };
            if !later.iter().all(leads_there) {
                self.withdrawable.insert(key.id());
            }
            if key.role == Role::Live {
                self.live.insert(key.id(), event_place.clone());
            }
            self.taken_back.remove(&key.id());
            match world.setup.refusals.reason(&key, event) {
                None => drop(self.predictions.insert(key.id())),
                Some(reason) => drop(self.settled.insert(key.id(), reason)),
            }
        }
    }

    fn walk(&mut self, world: &World, partition: usize) {
        let number = i32::try_from(partition).expect("few");
        let place = TopicPartition::new(TOPIC, number);
        let bounds = bounds_of(world, &place);
        let mut newest: Option<Micros> = None;
        for record in world.log.history(TOPIC, partition) {
            let values = match record.values {
                Ok(values) => values,
                Err(reason) => {
                    self.dead
                        .push((place.clone(), record.offset, reason.to_owned()));
                    continue;
                }
            };
            let (Value::Timestamp(time_us), Value::Int(event)) = (&values[1], &values[3]) else {
                panic!("ts is a timestamp, and n a number")
            };
            let time_us = *time_us;
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
                left_out: values[2] == Value::Float(LEFT_OUT),
            });
            self.score(world, *event);
        }
    }
}

/// The shard of the event with `key` at `place`.
pub(crate) fn shard_of_event(
    world: &World,
    key: Option<&str>,
    (place, offset): (&TopicPartition, i64),
) -> u16 {
    let without = || format!("{}/{}/{offset}", place.topic, place.partition).into_bytes();
    let sticky = key.map_or_else(without, encoded);
    shard_of(&sticky, world.store.shards())
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
///
/// # Panics
/// It is not so.
pub fn check(world: &World, late_flags: bool) -> Checked {
    let mut checked = Checked::default();
    let oracle = Oracle::of(world);
    for view in [RECENT, LIFETIME] {
        check_rows(world, &oracle, view);
    }
    checked.late_flags = check_archive(world, &oracle, late_flags);
    check_predictions(world, &oracle, &mut checked);
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
    checked
}

fn check_rows(world: &World, oracle: &Oracle, view: u32) {
    let by_shard = world.store.rows(view);
    let mut expected: BTreeMap<(TopicPartition, i64), &Accepted> = BTreeMap::new();
    expected.extend(
        oracle
            .accepted
            .iter()
            .filter(|a| a.key.is_some() && !(view == RECENT && a.left_out))
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

/// How many late rows say so.
fn check_archive(world: &World, oracle: &Oracle, late_flags: bool) -> u64 {
    let mut flags = 0;
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
        flags += u64::from(late);
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
    flags
}

/// Every event has its prediction or the archive's note why it has none, never both, never twice.
fn check_predictions(world: &World, oracle: &Oracle, checked: &mut Checked) {
    if !world.setup.scored {
        return;
    }
    let (published, settled) = (world.published_ids(), settled(world));
    checked.predictions = published.len() as u64;
    let beyond: BTreeSet<_> = published.difference(&oracle.predictions).cloned().collect();
    let known = beyond.intersection(&oracle.taken_back).count();
    checked.of_two_versions = known as u64;
    let beyond: Vec<_> = beyond.difference(&oracle.taken_back).collect();
    assert!(beyond.is_empty(), "no event has the predictions {beyond:?}");
    let missing = oracle.missing(&published);
    assert!(missing.is_empty(), "events without {missing:?}");
    check_notes(world, oracle, (&published, &settled), checked);
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
    let events: Vec<_> = ids.iter().map(|id| oracle.live.get(id)).collect();
    let archived: BTreeSet<_> = events.iter().collect();
    assert_eq!(ids.len(), archived.len(), "an event is archived twice");
    let live: Vec<_> = published.iter().map(|id| oracle.live.get(id)).collect();
    let live: BTreeSet<_> = live.iter().filter(|event| event.is_some()).collect();
    assert_eq!(archived, live, "the archive has a prediction of each event");
    let folded: usize = world.store.rows(OF_PREDICTIONS).iter().map(Vec::len).sum();
    let live = live.len();
    assert_eq!(folded, live, "a view over predictions counts each once");
}

/// Every event that was not published has a note, with the reason that it must have.
fn check_notes(
    world: &World,
    oracle: &Oracle,
    (published, settled): (&BTreeSet<String>, &BTreeMap<String, String>),
    checked: &mut Checked,
) {
    let withdrawn = UnscoredReason::Withdrawn.label();
    for (id, reason) in settled {
        let expected = oracle.settled.get(id).map(|reason| reason.label());
        if reason == withdrawn && oracle.withdrawable.contains(id) {
            checked.withdrawn += 1;
        } else {
            assert_eq!(Some(reason.as_str()), expected, "the note on {id}");
        }
    }
    let all = oracle.predictions.iter().chain(oracle.settled.keys());
    for id in all {
        let (is_published, note) = (published.contains(id), settled.get(id));
        // A power cut may have taken back the settlement of what was published, and what waits
        // anew is withdrawn like all else.
        let may_be_both = note.is_some_and(|reason| reason == withdrawn) && world.deployed.is_cut();
        assert!(
            is_published != note.is_some() || (is_published && may_be_both),
            "{id} is published ({is_published}) and noted ({note:?})"
        );
        checked.both += u64::from(is_published && note.is_some());
    }
    let of = |reason: UnscoredReason| settled.values().filter(|r| *r == reason.label()).count();
    checked.rows_refused = of(UnscoredReason::RowRefused) as u64;
    checked.predictions_refused = of(UnscoredReason::PredictionRefused) as u64;
}

/// Of each archived note the id of the prediction that is not there, and why.
fn settled(world: &World) -> BTreeMap<String, String> {
    let mut settled = BTreeMap::new();
    for row in world.archive.rows(SETTLEMENT_TABLE) {
        let text = |name: &str| match &row.values[name] {
            Value::Text(text) => text.to_string(),
            other => panic!("{name} is {other:?}"),
        };
        let number = |name: &str| match &row.values[name] {
            Value::Int(number) => *number,
            other => panic!("{name} is {other:?}"),
        };
        let offsets = OffsetRuns::of_text(&text("offsets")).expect("runs of offsets");
        assert_eq!(
            i64::try_from(offsets.count()),
            Ok(number("events")),
            "events of {offsets:?}"
        );
        for offset in offsets.ranges().flatten() {
            let key = PredictionKey {
                deployment: text("deployment"),
                model_version: u32::try_from(number("model_version")).expect("small"),
                role: Role::parse(&text("role")).expect("a role"),
                topic: text("source_topic"),
                partition: i32::try_from(number("source_partition")).expect("few"),
                offset,
            };
            let twice = settled.insert(key.id(), text("reason"));
            assert!(twice.is_none(), "{key:?} is noted twice");
        }
    }
    settled
}
