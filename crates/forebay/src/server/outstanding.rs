//! Events that are read but whose prediction has not come back: how far a monitor may move on.
//! Predictions overtake one another on their way through scorer and topic, so the watermark of
//! their topic alone would let a label expire before the prediction that it belongs to. Owned by
//! the thread that reads; wall-clock time only bounds how long one is waited for.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::{Duration, Instant};

use forebay_core::time::Micros;

/// How long a prediction is waited for: an event that cannot be scored, or was scored before a
/// restart, never has one.
const WAIT_MAX: Duration = Duration::from_secs(30);

/// Where an event stands in the topic of its source.
pub(crate) type Place = (i32, i64);

/// The events of one source that wait for their prediction.
#[derive(Debug, Default)]
pub(crate) struct Outstanding {
    times: HashMap<Place, Micros>,
    /// How many there are of each event time.
    by_time: BTreeMap<Micros, u32>,
    arrived: VecDeque<(Instant, Place)>,
}

impl Outstanding {
    /// The event at `place` is read, and will be scored.
    pub(crate) fn add(&mut self, place: Place, time_us: Micros, now: Instant) {
        if self.times.insert(place, time_us).is_none() {
            *self.by_time.entry(time_us).or_default() += 1;
            self.arrived.push_back((now, place));
        }
    }

    /// Its prediction is read.
    pub(crate) fn remove(&mut self, place: Place) {
        let Some(time_us) = self.times.remove(&place) else {
            return;
        };
        if let Some(count) = self.by_time.get_mut(&time_us) {
            *count -= 1;
            if *count == 0 {
                self.by_time.remove(&time_us);
            }
        }
    }

    /// The least event time that still waits.
    pub(crate) fn oldest_us(&mut self, now: Instant) -> Option<Micros> {
        while let Some((arrived, place)) = self.arrived.front().copied() {
            if self.times.contains_key(&place) && now.duration_since(arrived) < WAIT_MAX {
                break;
            }
            self.remove(place);
            self.arrived.pop_front();
        }
        self.by_time.first_key_value().map(|(time_us, _)| *time_us)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_event_without_prediction_holds_back_until_it_is_given_up() {
        let start = Instant::now();
        let mut outstanding = Outstanding::default();
        for (offset, time_us) in [(0, 50), (1, 20), (2, 20), (3, 70)] {
            outstanding.add((0, offset), time_us, start);
        }
        outstanding.add((0, 0), 50, start);
        assert_eq!(outstanding.oldest_us(start), Some(20));
        outstanding.remove((0, 1));
        assert_eq!(
            outstanding.oldest_us(start),
            Some(20),
            "one of two at that time came back"
        );
        outstanding.remove((0, 2));
        outstanding.remove((0, 0));
        assert_eq!(outstanding.oldest_us(start), Some(70));
        assert_eq!(outstanding.oldest_us(start + WAIT_MAX), None);
        assert!(outstanding.times.is_empty() && outstanding.arrived.is_empty());
    }
}
