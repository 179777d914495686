//! Which events of one source partition have their answer: a prediction or a settlement. A monitor
//! asks how far all answers have come. Fed from the log alone, in whatever order the source and its
//! predictions are read; it knows no clock and gives nothing up.
//!
//! Size: one entry for each event from the first unanswered one on, whatever the number of events,
//! versions and holes in the log before it, and one for each run of answers that came before their
//! events: a suspension is one run, however many events it left without a prediction.

use std::collections::VecDeque;
use std::ops::Range;

use crate::bytes::{BytesError, BytesResult, Reader, write_signed, write_unsigned};
use crate::invariant;
use crate::offsets::OffsetSet;
use crate::time::Micros;

/// One event that may have to wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Event {
    offset: i64,
    time_us: Micros,
    /// Greatest event time of the partition before it.
    before_us: Option<Micros>,
    is_answered: bool,
}

/// What an answer is to what is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// The first of its event, before which the partition had come to this event time.
    First {
        /// Greatest event time of the partition before the event.
        before_us: Option<Micros>,
    },
    /// The first, of an event that was not read yet.
    Early,
    /// Its event has one already.
    Repeated,
}

/// The events of one partition of a scored source, for one deployment and role.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Answered {
    /// Ascending, from the first unanswered event on.
    events: VecDeque<Event>,
    /// One past the newest event that was read.
    read_to: i64,
    /// Greatest event time that was read.
    newest_us: Option<Micros>,
    /// Answers of events that were not read yet.
    early: OffsetSet,
}

impl Answered {
    /// The event at `offset` is read; events come in log order, and one that was read before
    /// changes nothing. `is_scored`: whether an answer will come. Returns, where the answer came
    /// first, the greatest event time before the event.
    pub fn read(&mut self, offset: i64, time_us: Micros, is_scored: bool) -> Option<Answer> {
        if offset < self.read_to {
            return None;
        }
        let before_us = self.newest_us;
        self.read_to = offset.saturating_add(1);
        self.newest_us = before_us.max(Some(time_us));
        // Answers of what the source has not: nothing will ask for them again.
        let is_answered = self.early.contains(offset);
        self.early.forget_below(self.read_to);
        invariant!(
            AnswersAhead,
            self.early.before(offset).is_none(),
            "an answer at or below offset {offset} is kept"
        );
        invariant!(
            EventsAscend,
            self.events.back().is_none_or(|last| last.offset < offset),
            "offset {offset} behind {} events",
            self.events.len()
        );
        if is_scored && !(is_answered && self.events.is_empty()) {
            self.events.push_back(Event {
                offset,
                time_us,
                before_us,
                is_answered,
            });
        }
        is_answered.then_some(Answer::First { before_us })
    }

    /// An answer for the event at `offset` is read.
    pub fn answer(&mut self, offset: i64) -> Answer {
        if offset >= self.read_to {
            return if self.early.insert(offset) {
                Answer::Early
            } else {
                Answer::Repeated
            };
        }
        let found = self.events.binary_search_by_key(&offset, |e| e.offset);
        let event = found.ok().and_then(|place| self.events.get_mut(place));
        let Some(event) = event.filter(|event| !event.is_answered) else {
            return Answer::Repeated;
        };
        event.is_answered = true;
        let before_us = event.before_us;
        self.drop_answered();
        Answer::First { before_us }
    }

    /// The events at these offsets are answered, those that were read and those that were not.
    pub fn answer_all(&mut self, offsets: &Range<i64>) {
        let ahead = offsets.start.max(self.read_to);
        self.early.insert_range(ahead, offsets.end);
        let first = self.events.partition_point(|e| e.offset < offsets.start);
        let end = self.events.partition_point(|e| e.offset < offsets.end);
        for event in self.events.range_mut(first..end.max(first)) {
            event.is_answered = true;
        }
        self.drop_answered();
    }

    fn drop_answered(&mut self) {
        while self.events.front().is_some_and(|event| event.is_answered) {
            self.events.pop_front();
        }
    }

    /// The events that were read and have no answer.
    #[must_use]
    pub fn unanswered(&self) -> OffsetSet {
        let waiting = self.events.iter().filter(|event| !event.is_answered);
        waiting
            .map(|event| event.offset..event.offset.saturating_add(1))
            .collect()
    }

    /// The partition is idle, and counts as having come to `mark_us`.
    pub fn hold(&mut self, mark_us: Micros) {
        self.newest_us = self.newest_us.max(Some(mark_us));
    }

    /// Greatest event time of the longest prefix of the partition that is answered; None while that
    /// has no event.
    #[must_use]
    pub fn complete_us(&self) -> Option<Micros> {
        self.events
            .front()
            .map_or(self.newest_us, |first| first.before_us)
    }

    /// One past the newest event that was read.
    #[must_use]
    pub fn read_to(&self) -> i64 {
        self.read_to
    }

    /// Entries that are kept: a bound of its memory.
    #[must_use]
    pub fn len(&self) -> usize {
        self.events.len() + self.early.ranges().len()
    }

    /// Whether nothing waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Append its bytes: part of a checkpoint.
    pub fn encode(&self, out: &mut Vec<u8>) {
        write_signed(out, self.read_to);
        write_time(out, self.newest_us);
        write_unsigned(out, self.events.len() as u64);
        for event in &self.events {
            write_signed(out, event.offset);
            write_signed(out, event.time_us);
            write_time(out, event.before_us);
            out.push(u8::from(event.is_answered));
        }
        self.early.encode(out);
    }

    /// Read what [`Self::encode`] wrote.
    ///
    /// # Errors
    /// Bytes that it does not write.
    pub fn decode(reader: &mut Reader<'_>) -> BytesResult<Self> {
        let (read_to, newest_us) = (reader.signed()?, read_time(reader)?);
        let mut answered = Self {
            read_to,
            newest_us,
            ..Self::default()
        };
        for _ in 0..reader.unsigned()? {
            let event = Event {
                offset: reader.signed()?,
                time_us: reader.signed()?,
                before_us: read_time(reader)?,
                is_answered: reader.u8()? == 1,
            };
            let last = answered.events.back().map(|event| event.offset);
            if last.is_some_and(|last| last >= event.offset) || event.offset >= read_to {
                return Err(BytesError::from("events are not in log order"));
            }
            answered.events.push_back(event);
        }
        answered.early = OffsetSet::decode(reader)?;
        Ok(answered)
    }
}

/// Append an event time that may be missing.
pub fn write_time(out: &mut Vec<u8>, time_us: Option<Micros>) {
    out.push(u8::from(time_us.is_some()));
    if let Some(time_us) = time_us {
        write_signed(out, time_us);
    }
}

/// Read what [`write_time`] wrote.
///
/// # Errors
/// Bytes that it does not write.
pub fn read_time(reader: &mut Reader<'_>) -> BytesResult<Option<Micros>> {
    match reader.u8()? {
        0 => Ok(None),
        1 => reader.signed().map(Some),
        _ => Err(BytesError::from("a time is neither there nor missing")),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn golden_bytes_of_events_that_wait_and_of_answers_that_came_early() {
        let mut answered = Answered::default();
        answered.read(300, -2, true);
        answered.read(301, 50, true);
        answered.answer(301);
        answered.answer_all(&(400..500));
        let mut bytes = Vec::new();
        answered.encode(&mut bytes);
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        let golden = "dc04 0164 02 d804 03 00 00 da04 64 0103 01 01 a006 e807";
        assert_eq!(hex, golden.replace(' ', ""));
        let read = Answered::decode(&mut Reader::new(&bytes));
        assert_eq!(read, Ok(answered));
    }

    #[test]
    fn the_mark_is_that_of_the_longest_answered_prefix() {
        let mut answered = Answered::default();
        for (offset, time_us) in [(0, 50), (2, 20), (5, 70), (6, 60)] {
            assert_eq!(answered.read(offset, time_us, true), None);
        }
        assert_eq!(answered.complete_us(), None);
        let first = |before_us| Answer::First { before_us };
        assert_eq!(answered.answer(2), first(Some(50)));
        assert_eq!(answered.complete_us(), None, "offset 0 is still out");
        let waiting = [0..1, 5..7].into_iter().collect();
        assert_eq!(
            answered.unanswered(),
            waiting,
            "those that nobody has answered"
        );
        assert_eq!(answered.answer(0), first(None));
        assert_eq!(answered.complete_us(), Some(50));
        assert_eq!(answered.answer(2), Answer::Repeated);
        assert_eq!(answered.answer(6), first(Some(70)));
        assert_eq!(answered.answer(5), first(Some(50)));
        assert_eq!((answered.complete_us(), answered.len()), (Some(70), 0));
    }

    #[test]
    fn an_idle_partition_is_held_once_its_events_are_answered() {
        let mut answered = Answered::default();
        answered.read(0, 50, true);
        answered.hold(90);
        assert_eq!(answered.complete_us(), None, "its event is still out");
        answered.answer(0);
        assert_eq!(answered.complete_us(), Some(90));
        answered.read(1, 60, true);
        let late = Answer::First {
            before_us: Some(90),
        };
        assert_eq!(answered.answer(1), late);
    }

    #[test]
    fn an_event_that_nobody_scores_is_not_waited_for() {
        let mut answered = Answered::default();
        answered.read(0, 50, false);
        answered.read(1, 60, true);
        assert_eq!(answered.complete_us(), Some(50));
    }

    proptest! {
        #[test]
        fn any_interleaving_of_events_and_answers_ends_alike(
            events in proptest::collection::vec((1_i64..4, 0_i64..100, any::<bool>()), 1..40),
            order in any::<u64>(),
        ) {
            let mut offset = 0;
            let mut facts: BTreeMap<i64, (Micros, bool)> = BTreeMap::new();
            for (step, time_us, is_answered) in events {
                offset += step;
                facts.insert(offset, (time_us, is_answered));
            }
            let expected: Option<Micros> = facts
                .values()
                .take_while(|(_, is_answered)| *is_answered)
                .map(|(time_us, _)| *time_us)
                .max();
            let mut reads: Vec<i64> = facts.keys().rev().copied().collect();
            let mut answers: Vec<i64> =
                facts.iter().filter(|(_, f)| f.1).map(|(o, _)| *o).collect();
            let (mut answered, mut random) = (Answered::default(), order);
            let mut firsts = 0;
            while !reads.is_empty() || !answers.is_empty() {
                random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                let pick = (random >> 33) as usize;
                if answers.is_empty() || (!reads.is_empty() && pick.is_multiple_of(2)) {
                    if let Some(offset) = reads.pop() {
                        answered.read(offset, facts[&offset].0, true);
                    }
                } else {
                    let offset = answers.swap_remove(pick % answers.len());
                    if pick.is_multiple_of(3) {
                        answered.answer_all(&(offset..offset + 1));
                        firsts += 1;
                    } else {
                        firsts += usize::from(answered.answer(offset) != Answer::Repeated);
                    }
                    prop_assert_eq!(answered.answer(offset), Answer::Repeated);
                }
                let mut bytes = Vec::new();
                answered.encode(&mut bytes);
                let read = Answered::decode(&mut Reader::new(&bytes));
                prop_assert_eq!(read.expect("its own bytes"), answered.clone());
            }
            prop_assert_eq!(answered.complete_us(), expected);
            prop_assert_eq!(firsts, facts.values().filter(|f| f.1).count());
        }
    }
}

#[cfg(test)]
mod growth {
    use super::*;

    #[test]
    fn half_of_a_million_answers_of_two_versions_leave_no_entry() {
        let mut answered = Answered::default();
        let mut most = 0;
        // Two versions answer alternately, one a thousand events behind the other; every hundredth
        // offset is none of an event.
        let offsets: Vec<i64> = (0..1_000_000).filter(|o| o % 100 != 0).collect();
        for (index, offset) in offsets.iter().enumerate() {
            answered.read(*offset, *offset, true);
            for (version, behind) in [(0, 0), (1, 1_000)] {
                let due = index.checked_sub(behind).map(|index| offsets[index]);
                if let Some(due) = due.filter(|due| due % 2 == version) {
                    assert_ne!(answered.answer(due), Answer::Repeated);
                }
            }
            most = most.max(answered.len());
        }
        assert!(most <= 1_001, "{most} entries");
    }

    #[test]
    fn a_hundred_million_events_that_were_settled_before_they_were_read_are_one_entry() {
        let (first, end) = (1_000, 100_001_000);
        let mut answered = Answered::default();
        answered.read(first - 1, 50, true);
        answered.answer_all(&(first..end));
        assert_eq!(
            answered.len(),
            2,
            "the event that is still out, and the run"
        );
        let mut bytes = Vec::new();
        answered.encode(&mut bytes);
        assert!(bytes.len() < 64, "{} bytes", bytes.len());
        let early = Some(Answer::First {
            before_us: Some(50),
        });
        assert_eq!(answered.read(first, 40, true), early);
        assert_eq!(answered.answer(end - 1), Answer::Repeated, "it was settled");
        answered.answer_all(&(first - 1..first));
        assert_eq!((answered.complete_us(), answered.len()), (Some(50), 1));
        assert!(answered.read(end - 1, 60, true).is_some());
        assert_eq!((answered.complete_us(), answered.len()), (Some(60), 0));
        assert_eq!(answered.read(end, 70, true), None);
    }
}
