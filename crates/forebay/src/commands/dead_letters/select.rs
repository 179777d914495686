//! What is listed: which letters the flags mean, the newest of them, and how many there are by
//! source and reason. Pure; what is held does not grow with the table.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result};
use forebay_core::PortError;
use forebay_core::dead_letter::DeadLetterReason;
use forebay_core::fault::FaultKind;
use forebay_core::ports::RecordHeader;
use forebay_core::time::Micros;
use forebay_offline::StoredLetter;

use super::opened::moment;
use crate::instant;

/// The reason of rows that builds of before made dead letters of, because a view refused them.
const REFUSED: &str = "refused";

/// Which letters are meant.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Filter {
    source: Option<String>,
    reason: Option<String>,
    since_us: Option<Micros>,
    /// Partition and offset; empty: all.
    places: BTreeSet<(i32, i64)>,
}

impl Filter {
    /// Those of `source` with `reason`, of `since` or later.
    ///
    /// # Errors
    /// There is no such reason, or `since` is no instant.
    pub(super) fn of(
        source: Option<&String>,
        reason: Option<&String>,
        since: Option<&String>,
    ) -> Result<Self> {
        if let Some(reason) = reason {
            check_reason(reason)?;
        }
        let since = since.map(|since| instant::parse(since)).transpose();
        Ok(Self {
            source: source.cloned(),
            reason: reason.cloned(),
            since_us: since.context("--since")?,
            places: BTreeSet::new(),
        })
    }

    /// The same, in these partitions and offsets alone.
    pub(super) fn at(self, places: BTreeSet<(i32, i64)>) -> Self {
        Self { places, ..self }
    }

    /// Whether `letter` is one of them.
    pub(super) fn takes(&self, letter: &StoredLetter) -> bool {
        let place = (letter.partition.partition, letter.offset);
        self.source.as_ref().is_none_or(|s| *s == letter.source)
            && (self.places.is_empty() || self.places.contains(&place))
            && self.takes_fault(&letter.reason, moment(letter))
    }

    /// Whether something with `reason` of the moment `at_us` is one of them.
    pub(super) fn takes_fault(&self, reason: &str, at_us: Option<Micros>) -> bool {
        self.reason.as_ref().is_none_or(|r| r == reason)
            && self.since_us.is_none_or(|since| at_us >= Some(since))
    }
}

fn check_reason(reason: &str) -> Result<()> {
    let of_records = DeadLetterReason::ALL.map(DeadLetterReason::label);
    let of_rows = FaultKind::ALL.map(FaultKind::label);
    if reason == REFUSED || of_records.contains(&reason) || of_rows.contains(&reason) {
        return Ok(());
    }
    Err(PortError::invalid(format!(
        "there is no reason '{reason}'; those of records are {}, those of rows that a view leaves out {}",
        of_records.join(", "),
        of_rows.join(", ")
    ))
    .into())
}

/// One line of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) source: String,
    pub(super) topic: String,
    pub(super) partition: i32,
    pub(super) offset: i64,
    pub(super) at_us: Option<Micros>,
    pub(super) reason: String,
    /// The view that leaves it out; None: it is no row.
    pub(super) view: Option<String>,
    pub(super) text: String,
    pub(super) key: Option<Vec<u8>>,
    /// None: nobody knows them.
    pub(super) headers: Option<Vec<RecordHeader>>,
}

impl Entry {
    /// Of a dead letter.
    pub(super) fn of(letter: StoredLetter) -> Self {
        Self {
            at_us: moment(&letter),
            source: letter.source,
            topic: letter.partition.topic.to_string(),
            partition: letter.partition.partition,
            offset: letter.offset,
            reason: letter.reason,
            view: None,
            text: letter.detail,
            key: letter.key,
            headers: letter.headers,
        }
    }

    /// By age; of one moment by place.
    fn rank(&self) -> (Option<Micros>, String, i32, i64) {
        (self.at_us, self.topic.clone(), self.partition, self.offset)
    }
}

/// The newest of what was found, and the number of all.
#[derive(Debug)]
pub(super) struct Found {
    limit: usize,
    newest: BTreeMap<(Option<Micros>, String, i32, i64), Entry>,
    /// By source and reason.
    pub(super) counts: BTreeMap<(String, String), u64>,
}

impl Found {
    /// Nothing yet; `limit` are kept.
    pub(super) fn up_to(limit: u64) -> Self {
        Self {
            limit: usize::try_from(limit).expect("the flag is bounded by DEAD_LETTERS_LIST_MAX"),
            newest: BTreeMap::new(),
            counts: BTreeMap::new(),
        }
    }

    /// One more.
    pub(super) fn add(&mut self, entry: Entry) {
        let kind = (entry.source.clone(), entry.reason.clone());
        *self.counts.entry(kind).or_default() += 1;
        self.newest.insert(entry.rank(), entry);
        if self.newest.len() > self.limit {
            self.newest.pop_first();
        }
    }

    /// How many there are.
    pub(super) fn total(&self) -> u64 {
        self.counts.values().sum()
    }

    /// Those that are kept, newest first.
    pub(super) fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.newest.values().rev()
    }

    /// The same, to be completed.
    pub(super) fn entries_mut(&mut self) -> impl Iterator<Item = &mut Entry> {
        self.newest.values_mut()
    }
}

#[cfg(test)]
pub(super) mod tests {
    use forebay_core::limits::DEAD_LETTERS_LIST_MAX;
    use forebay_core::progress::TopicPartition;

    use super::*;

    /// A letter of source `clicks`.
    pub(crate) fn letter(partition: i32, offset: i64) -> StoredLetter {
        StoredLetter {
            source: "clicks".to_owned(),
            partition: TopicPartition::new("raw.clicks", partition),
            offset,
            kafka_time_us: Some(offset * 1_000_000),
            ingest_time_us: Some(7),
            key: Some(b"ann".to_vec()),
            payload: Some(b"{\"n\":1.5}".to_vec()),
            headers: Some(Vec::new()),
            is_cut: Some(false),
            reason: "wrong_type".to_owned(),
            detail: "column `n`: is no BIGINT".to_owned(),
        }
    }

    fn text(text: &str) -> String {
        text.to_owned()
    }

    #[test]
    fn flags_mean_source_reason_moment_and_places() -> Result<()> {
        let all = [(0, 5), (1, 5), (0, 9)].map(|(partition, offset)| letter(partition, offset));
        let taken = |filter: &Filter| -> Vec<(i32, i64)> {
            let taken = all.iter().filter(|letter| filter.takes(letter));
            taken.map(|l| (l.partition.partition, l.offset)).collect()
        };
        let (clicks, other) = (text("clicks"), text("other"));
        let (wrong, json) = (text("wrong_type"), text("not_json"));
        let since = text("1970-01-01T00:00:06Z");
        let of = |source, reason, since| Filter::of(source, reason, since);
        assert_eq!(taken(&Filter::default()).len(), 3);
        assert_eq!(taken(&of(Some(&clicks), Some(&wrong), None)?).len(), 3);
        assert_eq!(taken(&of(Some(&other), None, None)?), []);
        assert_eq!(taken(&of(None, Some(&json), None)?), []);
        assert_eq!(taken(&of(None, None, Some(&since))?), [(0, 9)]);
        let places = BTreeSet::from([(1, 5), (1, 9)]);
        assert_eq!(taken(&Filter::default().at(places)), [(1, 5)]);
        // Where Kafka gives no time, the time of storing stands for it.
        let untimed = StoredLetter {
            kafka_time_us: None,
            ..letter(0, 9)
        };
        assert!(!of(None, None, Some(&since))?.takes(&untimed));
        Ok(())
    }

    #[test]
    fn an_unknown_reason_is_refused_with_those_that_there_are() {
        let error = Filter::of(None, Some(&text("bad")), None).expect_err("unknown");
        for word in ["'bad'", "wrong_type", "division_by_zero"] {
            assert!(error.to_string().contains(word), "{error}");
        }
        for known in ["refused", "too_deep", "key_too_long"] {
            assert!(Filter::of(None, Some(&text(known)), None).is_ok());
        }
    }

    #[test]
    fn the_newest_are_kept_up_to_the_limit_and_all_are_counted() {
        let most = DEAD_LETTERS_LIST_MAX as u64;
        let mut found = Found::up_to(most);
        for offset in 0..=most.cast_signed() {
            found.add(Entry::of(letter(0, offset)));
        }
        let shown: Vec<i64> = found.entries().map(|entry| entry.offset).collect();
        assert_eq!(shown.len(), DEAD_LETTERS_LIST_MAX);
        assert_eq!((shown[0], found.total()), (most.cast_signed(), most + 1));
        let mut none = Found::up_to(0);
        none.add(Entry::of(letter(0, 1)));
        assert_eq!((none.entries().count(), none.total()), (0, 1));
    }

    #[test]
    fn letters_of_one_moment_are_told_apart_by_place() {
        let mut found = Found::up_to(9);
        for (partition, offset) in [(1, 3), (0, 4), (0, 3)] {
            let entry = Entry {
                at_us: Some(1),
                ..Entry::of(letter(partition, offset))
            };
            found.add(entry);
        }
        let shown = found.entries().map(|e| (e.partition, e.offset));
        assert_eq!(shown.collect::<Vec<_>>(), [(1, 3), (0, 4), (0, 3)]);
    }
}
