//! What the features of one prediction had applied, from which anybody can recompute them: the text
//! of the column `applied`. It is part of the published format and travels in each record, so it is
//! small: offsets are said once for all views that share them, as differences.
//!
//! `{"cuts":[{"<topic>":"<base64>"}],"views":{"<alias>":<number of its cut>}}`. The base64
//! (standard alphabet, no padding) holds runs of partitions in ascending order until it ends: how
//! many partitions are passed over, how many follow, and for each of these its next offset. Numbers
//! are LEB128. An offset is zigzag and a difference (modulo 2^64): to the same partition in the
//! first cut that has the topic, if that is an earlier cut and has the partition; else to the
//! partition before it in its own cut; else to 0.
//!
//! Records of builds before this form name each offset in full, `{"views":{"<alias>":
//! {"<topic>/<partition>":<next offset>}}}`; archives keep them, so they are read too.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use serde::{Deserialize, Serialize};

use crate::bytes::{BytesError, BytesResult, Reader, write_signed, write_unsigned};
use crate::error::{ErrorKind, PortError, PortResult};
use crate::invariant;
use crate::progress::{Applied, PartitionProgress, TopicPartition};

/// What each view of a service had applied.
///
/// A view with an empty vector had applied nothing (a NULL key reads nothing either). A view that
/// is **absent** had applied what is no longer known: its features cannot be verified.
///
/// As a serde value it names each offset in full, for files that people read.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AppliedViews {
    views: BTreeMap<String, Offsets>,
}

/// By `<topic>/<partition>` the next offset.
type Offsets = BTreeMap<String, i64>;
/// By topic and partition the next offset.
type Cut = BTreeMap<String, BTreeMap<u32, i64>>;

/// The compact text.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Compact {
    cuts: Vec<BTreeMap<String, String>>,
    views: BTreeMap<String, usize>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Text {
    Compact(Compact),
    InFull(AppliedViews),
}

impl AppliedViews {
    /// View `alias` of the service had applied `applied`.
    pub fn insert(&mut self, alias: &str, applied: &Applied) {
        let offsets = applied
            .0
            .iter()
            .map(|(p, progress)| (format!("{}/{}", p.topic, p.partition), progress.next_offset));
        self.views.insert(alias.to_owned(), offsets.collect());
    }

    /// What view `alias` had applied; None where that is not known. It carries no event times.
    ///
    /// # Errors
    /// A partition that is not written `<topic>/<partition>`.
    pub fn get(&self, alias: &str) -> PortResult<Option<Applied>> {
        let Some(offsets) = self.views.get(alias) else {
            return Ok(None);
        };
        let mut applied = Applied::default();
        for (topic, partitions) in cut_of(offsets)? {
            for (partition, next_offset) in partitions {
                let partition = i32::try_from(partition).map_err(|_| no_place(&topic))?;
                let progress = PartitionProgress {
                    next_offset,
                    max_event_time_us: None,
                    last: None,
                };
                let place = TopicPartition::new(topic.as_str(), partition);
                applied.0.insert(place, progress);
            }
        }
        Ok(Some(applied))
    }

    /// The text.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub fn encode(&self) -> PortResult<String> {
        let (mut cuts, mut known): (Vec<Cut>, Vec<&Offsets>) = (Vec::new(), Vec::new());
        let mut views = BTreeMap::new();
        for (alias, offsets) in &self.views {
            let number = match known.iter().position(|other| *other == offsets) {
                Some(number) => number,
                None => {
                    cuts.push(cut_of(offsets)?);
                    known.push(offsets);
                    cuts.len() - 1
                }
            };
            views.insert(alias.clone(), number);
        }
        let text = |number: usize| {
            let earlier = cuts.get(..number).unwrap_or_default();
            cuts.get(number)
                .into_iter()
                .flatten()
                .map(|(topic, partitions)| {
                    let bytes = pack(partitions, first_of(earlier, topic));
                    (topic.clone(), STANDARD_NO_PAD.encode(bytes))
                })
                .collect()
        };
        let compact = Compact {
            cuts: (0..cuts.len()).map(text).collect(),
            views,
        };
        Ok(
            serde_json::to_string(&compact)
                .expect("maps with text keys and whole numbers are JSON"),
        )
    }

    /// Read the text.
    ///
    /// # Errors
    /// It is not what [`Self::encode`] writes, nor what builds before it wrote.
    pub fn decode(text: &str) -> PortResult<Self> {
        match serde_json::from_str(text).map_err(unreadable)? {
            Text::InFull(views) => Ok(views),
            Text::Compact(compact) => compact.read(),
        }
    }
}

impl Compact {
    fn read(self) -> PortResult<AppliedViews> {
        let mut cuts: Vec<Cut> = Vec::new();
        for packed in self.cuts {
            let mut cut = Cut::new();
            for (topic, text) in packed {
                let bytes = STANDARD_NO_PAD.decode(text).map_err(unreadable)?;
                let partitions = unpack(&bytes, first_of(&cuts, &topic)).map_err(unreadable)?;
                cut.insert(topic, partitions);
            }
            cuts.push(cut);
        }
        let in_full: Vec<Offsets> = cuts.iter().map(offsets_of).collect();
        let view = |(alias, number): (String, usize)| {
            let offsets = in_full.get(number).ok_or_else(|| {
                let words = format!(
                    "view {alias} of a prediction names cut {number}, and there are {}",
                    in_full.len()
                );
                PortError::new(ErrorKind::DataLoss, words)
            })?;
            Ok((alias, offsets.clone()))
        };
        let views = self
            .views
            .into_iter()
            .map(view)
            .collect::<PortResult<_>>()?;
        Ok(AppliedViews { views })
    }
}

/// What the first of `earlier` that has `topic` says of it.
fn first_of<'a>(earlier: &'a [Cut], topic: &str) -> Option<&'a BTreeMap<u32, i64>> {
    earlier.iter().find_map(|cut| cut.get(topic))
}

fn offsets_of(cut: &Cut) -> Offsets {
    let places = cut.iter().flat_map(|(topic, partitions)| {
        partitions
            .iter()
            .map(move |(partition, next)| (format!("{topic}/{partition}"), *next))
    });
    places.collect()
}

fn cut_of(offsets: &Offsets) -> PortResult<Cut> {
    let mut cut = Cut::new();
    for (place, next_offset) in offsets {
        let parsed = place.rsplit_once('/').and_then(|(topic, number)| {
            let number: i32 = number.parse().ok()?;
            Some((topic, u32::try_from(number).ok()?))
        });
        let (topic, partition) = parsed.ok_or_else(|| no_place(place))?;
        let partitions = cut.entry(topic.to_owned()).or_default();
        partitions.insert(partition, *next_offset);
    }
    Ok(cut)
}

/// The runs of `partitions`, against those of `first`.
fn pack(partitions: &BTreeMap<u32, i64>, first: Option<&BTreeMap<u32, i64>>) -> Vec<u8> {
    let all: Vec<(u32, i64)> = partitions.iter().map(|(p, next)| (*p, *next)).collect();
    let (mut out, mut end, mut before) = (Vec::new(), 0, 0);
    for run in all.chunk_by(|(a, _), (b, _)| a.checked_add(1) == Some(*b)) {
        let begin = run
            .first()
            .map_or(end, |(partition, _)| u64::from(*partition));
        invariant!(RunsAscend, begin >= end, "{begin} behind {end}");
        write_unsigned(&mut out, begin - end);
        write_unsigned(&mut out, run.len() as u64);
        for (partition, next) in run {
            let base = first
                .and_then(|first| first.get(partition))
                .unwrap_or(&before);
            write_signed(&mut out, next.wrapping_sub(*base));
            before = *next;
        }
        end = begin + run.len() as u64;
    }
    out
}

/// The opposite of [`pack`].
fn unpack(bytes: &[u8], first: Option<&BTreeMap<u32, i64>>) -> BytesResult<BTreeMap<u32, i64>> {
    let mut reader = Reader::new(bytes);
    let (mut partitions, mut end, mut before) = (BTreeMap::new(), 0_u64, 0);
    while !reader.rest().is_empty() {
        end = end.saturating_add(reader.unsigned()?);
        for _ in 0..reader.unsigned()? {
            let partition = u32::try_from(end)
                .map_err(|_| BytesError::from("there is no partition of that number"))?;
            let base = first
                .and_then(|first| first.get(&partition))
                .unwrap_or(&before);
            before = base.wrapping_add(reader.signed()?);
            partitions.insert(partition, before);
            end += 1;
        }
    }
    Ok(partitions)
}

fn no_place(place: &str) -> PortError {
    let words = format!("`{place}` names no topic and partition");
    PortError::new(ErrorKind::DataLoss, words)
}

fn unreadable(error: impl std::error::Error + Send + Sync + 'static) -> PortError {
    PortError::with_source(
        ErrorKind::DataLoss,
        "the applied offsets of a prediction are not readable",
        error,
    )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn applied(offsets: impl IntoIterator<Item = (&'static str, i32, i64)>) -> Applied {
        let progress = |next_offset| PartitionProgress {
            next_offset,
            max_event_time_us: None,
            last: None,
        };
        let places = offsets.into_iter().map(|(topic, partition, next)| {
            (TopicPartition::new(topic, partition), progress(next))
        });
        Applied(places.collect())
    }

    #[test]
    fn golden_applied_text() {
        let first = applied([
            ("flights.eu", 3, i64::MAX),
            ("flights.eu", 12, 0),
            ("w", 0, 300),
        ]);
        let mut views = AppliedViews::default();
        views.insert("t", &first);
        views.insert("same", &first);
        views.insert("later", &applied([("w", 0, 305), ("w", 1, 5)]));
        views.insert("nothing", &Applied::default());
        let text = views.encode().expect("well formed");
        assert_eq!(
            text,
            concat!(
                r#"{"cuts":[{"w":"AALiBNcE"},{},{"flights.eu":"AwH+//////////8BCAH9//////////8B","w":"AAEJ"}],"#,
                r#""views":{"later":0,"nothing":1,"same":2,"t":2}}"#
            )
        );
        let read = AppliedViews::decode(&text).expect("its own text");
        assert_eq!(read, views);
        assert_eq!(read.get("t").expect("well formed"), Some(first));
        let nothing = read.get("nothing").expect("well formed");
        assert_eq!(nothing, Some(Applied::default()));
        assert_eq!(read.get("unknown").expect("well formed"), None);
    }

    #[test]
    fn records_that_name_each_offset_in_full_are_read() {
        let text = r#"{"views":{"nothing":{},"t":{"flights.eu/12":0,"flights.eu/3":7}}}"#;
        let read = AppliedViews::decode(text).expect("the form of earlier builds");
        let expected = applied([("flights.eu", 3, 7), ("flights.eu", 12, 0)]);
        assert_eq!(read.get("t").expect("well formed"), Some(expected));
        let none = AppliedViews::decode(r#"{"views":{}}"#).expect("nothing is known");
        assert_eq!(none.get("t").expect("well formed"), None);
        let bad =
            AppliedViews::decode(r#"{"views":{"t":{"flights":1}}}"#).expect("the shape is right");
        assert!(bad.get("t").is_err());
    }

    #[test]
    fn what_is_no_text_of_offsets_is_refused() {
        for text in [
            "{}",
            "not json",
            r#"{"cuts":[],"views":{"t":0}}"#,
            r#"{"cuts":[{"w":"AAEC"}],"views":{"t":1}}"#,
            r#"{"cuts":[{"w":"AAE"}],"views":{"t":0}}"#,
            r#"{"cuts":[{"w":"?"}],"views":{"t":0}}"#,
            r#"{"cuts":[{"w":"//////////////8BAQI"}],"views":{"t":0}}"#,
            r#"{"cuts":[],"views":{},"more":1}"#,
        ] {
            let error = AppliedViews::decode(text).expect_err(text);
            assert_eq!(error.kind(), ErrorKind::DataLoss, "{text}");
        }
    }

    /// Five views over three topics, in three shards whose epochs differ by some hundred events.
    fn of_five_views(partitions: i32) -> AppliedViews {
        let offsets = |topic: &'static str, ahead: i64| {
            (0..partitions).map(move |p| {
                let spread = i64::from(p) * 7_919 % 200_003;
                (
                    topic,
                    p,
                    40_000_000 + spread + ahead * (1 + i64::from(p % 3)),
                )
            })
        };
        let mut views = AppliedViews::default();
        for (alias, topic, ahead) in [
            ("airport_day", "departures", 0),
            ("carrier_day", "departures", 21),
            ("route_month", "departures", -17),
            ("arrivals", "arrivals", 21),
            ("weather", "weather", 0),
        ] {
            views.insert(alias, &applied(offsets(topic, ahead)));
        }
        views
    }

    #[test]
    fn a_record_names_its_offsets_in_few_bytes() {
        // Partitions a topic, most bytes of the text.
        for (partitions, most) in [(2, 256), (50, 1_024), (1_000, 16 << 10)] {
            let views = of_five_views(partitions);
            let text = views.encode().expect("well formed");
            assert!(text.len() <= most, "{partitions}: {} bytes", text.len());
            assert_eq!(AppliedViews::decode(&text).expect("its own text"), views);
        }
    }

    proptest! {
        #[test]
        fn any_offsets_are_read_as_they_were_written(
            cuts in prop::collection::vec(
                prop::collection::btree_map((0_usize..3, 0_i32..40), any::<i64>(), 0..30), 0..5),
        ) {
            let mut views = AppliedViews::default();
            for (number, cut) in cuts.iter().enumerate() {
                let places = cut.iter().map(|((topic, partition), next)| {
                    (["a", "b/c", ""][*topic], *partition, *next)
                });
                views.insert(&format!("v{number}"), &applied(places));
            }
            let text = views.encode().expect("well formed");
            prop_assert_eq!(AppliedViews::decode(&text).expect("its own text"), views);
        }
    }
}
