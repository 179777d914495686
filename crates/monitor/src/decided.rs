//! What is recorded about the time of a source beside its log: at which offset an idle partition
//! was held, and for how much the rows of a range of offsets count ([`MarkFact`]). Each takes its
//! place among the rows by its offset, so that a monitor which reads the rows later, from the
//! archive, dates them as the one that read them live. Kept here, and in
//! the checkpoint, until the reader is past it; the rule itself is `core::watermark`'s.

use std::collections::BTreeMap;

use forebay_core::bytes::{BytesError, BytesResult, Reader, write_signed, write_unsigned};
use forebay_core::invariant;
use forebay_core::progress::TopicPartition;
use forebay_core::time::Micros;
use forebay_core::watermark::{Bound, MarkFact, MarkRecord};

/// What lies ahead of the reader in one partition.
#[derive(Debug, Default, PartialEq, Eq)]
struct Ahead {
    /// Rows about it in the table of decisions of which all is noted that still matters.
    known: i64,
    /// By next offset of the partition the greatest mark at which it was held there.
    holds: BTreeMap<i64, Micros>,
    /// By first offset.
    bounds: BTreeMap<i64, Bound>,
}

/// What lies ahead of the reader, by topic and partition.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Decided(BTreeMap<String, BTreeMap<i32, Ahead>>);

/// When a row counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct DatedRow {
    /// Its event time, no further than the bound under which it was read.
    pub(crate) time_us: Micros,
    /// The mark at which its partition was held right before it.
    pub(crate) held_us: Option<Micros>,
}

impl Decided {
    /// Note `record`, of whose partition the rows below `covered` are counted: what it says of
    /// those was known when they were.
    pub(crate) fn note(&mut self, record: &MarkRecord, covered: i64) {
        let (topic, number) = (&*record.partition.topic, record.partition.partition);
        let is_ahead = match record.fact {
            MarkFact::Hold(hold) => hold.at >= covered,
            MarkFact::Bound(bound) => bound.until > covered,
        };
        if !is_ahead {
            return;
        }
        let ahead = self.ahead(topic, number);
        match record.fact {
            MarkFact::Hold(hold) => {
                let held = ahead.holds.entry(hold.at).or_insert(hold.mark_us);
                *held = hold.mark_us.max(*held);
            }
            MarkFact::Bound(bound) => {
                invariant!(BoundCoversRows, bound.from < bound.until, "{bound:?}");
                let known = ahead.bounds.entry(bound.from).or_insert(bound);
                *known = bound.max(*known);
            }
        }
    }

    fn ahead(&mut self, topic: &str, partition: i32) -> &mut Ahead {
        let partitions = self.0.entry(topic.to_owned()).or_default();
        partitions.entry(partition).or_default()
    }

    /// All that the first `rows` rows about `place` in the table of decisions say was noted.
    pub(crate) fn know(&mut self, place: &TopicPartition, rows: i64) {
        self.ahead(&place.topic, place.partition).known = rows;
    }

    /// See [`Self::know`]; 0 where nothing was said.
    pub(crate) fn known_to(&self, place: &TopicPartition) -> i64 {
        let ahead = self.0.get(&*place.topic);
        ahead
            .and_then(|partitions| partitions.get(&place.partition))
            .map_or(0, |ahead| ahead.known)
    }

    /// Append its bytes: part of a checkpoint.
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        let partitions = || {
            let topics = self.0.iter();
            topics
                .flat_map(|(topic, p)| p.iter().map(move |(number, ahead)| (topic, number, ahead)))
        };
        write_unsigned(out, partitions().count() as u64);
        for (topic, number, ahead) in partitions() {
            write_unsigned(out, topic.len() as u64);
            out.extend_from_slice(topic.as_bytes());
            write_signed(out, i64::from(*number));
            write_signed(out, ahead.known);
            write_unsigned(out, ahead.holds.len() as u64);
            for (at, mark_us) in &ahead.holds {
                write_signed(out, *at);
                write_signed(out, *mark_us);
            }
            write_unsigned(out, ahead.bounds.len() as u64);
            for bound in ahead.bounds.values() {
                let Bound {
                    from,
                    until,
                    mark_max_us,
                    watermark_max_us,
                } = *bound;
                for value in [from, until, mark_max_us, watermark_max_us] {
                    write_signed(out, value);
                }
            }
        }
    }

    /// Read what [`Self::encode`] wrote.
    ///
    /// # Errors
    /// Bytes that it does not write.
    pub(crate) fn decode(reader: &mut Reader<'_>) -> BytesResult<Self> {
        let mut decided = Self::default();
        for _ in 0..reader.unsigned()? {
            let length = reader.unsigned()?;
            let topic = std::str::from_utf8(reader.take(length)?).map_err(|_| BytesError::Utf8)?;
            let number = i32::try_from(reader.signed()?)
                .map_err(|_| BytesError::from("no such partition"))?;
            let ahead = decided.ahead(topic, number);
            ahead.known = reader.signed()?;
            for _ in 0..reader.unsigned()? {
                ahead.holds.insert(reader.signed()?, reader.signed()?);
            }
            for _ in 0..reader.unsigned()? {
                let bound = Bound {
                    from: reader.signed()?,
                    until: reader.signed()?,
                    mark_max_us: reader.signed()?,
                    watermark_max_us: reader.signed()?,
                };
                ahead.bounds.insert(bound.from, bound);
            }
        }
        Ok(decided)
    }

    /// The reader stands at `offset`: the greatest mark at which the partition was held up to
    /// there, which is said once.
    pub(crate) fn reach(&mut self, topic: &str, partition: i32, offset: i64) -> Option<Micros> {
        let ahead = self.0.get_mut(topic)?.get_mut(&partition)?;
        let mut held_us = None;
        while let Some(hold) = ahead.holds.first_entry().filter(|h| *h.key() <= offset) {
            held_us = held_us.max(Some(hold.remove()));
        }
        held_us
    }

    /// Read the row at `offset`.
    pub(crate) fn date(
        &mut self,
        (topic, partition): (&str, i32),
        offset: i64,
        event_time_us: Micros,
    ) -> DatedRow {
        let held_us = self.reach(topic, partition, offset);
        let ahead = self.0.get_mut(topic).and_then(|p| p.get_mut(&partition));
        let bound = ahead.and_then(|ahead| {
            while let Some(first) = ahead.bounds.first_entry()
                && first.get().until <= offset
            {
                first.remove();
            }
            ahead.bounds.range(..=offset).next_back().map(|(_, b)| *b)
        });
        let bound = bound.filter(|bound| offset < bound.until);
        DatedRow {
            time_us: bound.map_or(event_time_us, |b| event_time_us.min(b.mark_max_us)),
            held_us,
        }
    }
}

#[cfg(test)]
mod tests {
    use forebay_core::progress::TopicPartition;
    use forebay_core::watermark::Hold;

    use super::*;

    fn hold(at: i64, mark_us: Micros) -> MarkRecord {
        record(MarkFact::Hold(Hold {
            at,
            mark_us,
            watermark_us: mark_us,
        }))
    }

    fn bound(from: i64, until: i64, mark_max_us: Micros) -> MarkRecord {
        record(MarkFact::Bound(Bound {
            from,
            until,
            mark_max_us,
            watermark_max_us: mark_max_us,
        }))
    }

    fn record(fact: MarkFact) -> MarkRecord {
        MarkRecord {
            partition: TopicPartition::new("t", 0),
            fact,
        }
    }

    #[test]
    fn golden_bytes_of_decisions_that_lie_ahead() {
        let mut decided = Decided::default();
        decided.note(&hold(300, -2), 0);
        decided.note(&bound(258, i64::MAX, -1), 0);
        decided.know(&TopicPartition::new("t", 0), 42);
        let mut bytes = Vec::new();
        decided.encode(&mut bytes);
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        let golden = "01 0174 00 54 01 d804 03 01 8404 feffffffffffffffff01 01 01";
        assert_eq!(hex, golden.replace(' ', ""));
        assert_eq!(Decided::decode(&mut Reader::new(&bytes)), Ok(decided));
    }

    #[test]
    fn a_decision_takes_effect_at_its_offset_and_one_behind_the_reader_never() {
        let mut decided = Decided::default();
        let records = [
            hold(5, 70),
            hold(5, 90),
            hold(8, 95),
            hold(2, 1_000),
            bound(3, 5, 60),
            bound(6, 8, 80),
            bound(6, 7, 80),
            bound(0, 3, 1),
        ];
        for record in &records {
            decided.note(record, 3);
        }
        let place = TopicPartition::new("t", 0);
        decided.know(&place, 8);
        let mut bytes = Vec::new();
        decided.encode(&mut bytes);
        let read = Decided::decode(&mut Reader::new(&bytes)).expect("its own bytes");
        assert_eq!(read, decided);
        assert_eq!(decided.known_to(&place), 8);
        assert_eq!(decided.known_to(&TopicPartition::new("t", 1)), 0);
        let row = |time_us, held_us| DatedRow { time_us, held_us };
        let mut date = |offset| decided.date(("t", 0), offset, 100);
        assert_eq!(date(3), row(60, None));
        assert_eq!(date(5), row(100, Some(90)), "held before it, by no bound");
        assert_eq!(date(6), row(80, None));
        assert_eq!(date(7), row(80, None), "the bound went on");
        assert_eq!(decided.reach("t", 0, 7), None);
        assert_eq!(decided.reach("t", 0, 8), Some(95));
        assert_eq!(decided.reach("t", 0, 8), None, "said once");
        assert_eq!(decided.reach("t", 1, 8), None);
    }
}
