//! The events that come to a world, and their labels: they follow from a seed, from how much later
//! they are by then, and from whether their distribution has shifted. What becomes of them is the
//! world's.

use std::sync::atomic::Ordering;

use forebay_core::time::{DAY_US, MINUTE_US, Micros, SECOND_US};
use forebay_testkit::Random;

use crate::monitored::append_labels;
use crate::sources::event;
use crate::world::{KEYS, LEFT_OUT, START_US, TOPIC, World};

/// What the views aggregate of usual events.
const USUAL: [Option<f64>; 6] = [
    Some(0.5),
    Some(-0.0),
    Some(1e16),
    Some(-3.25),
    None,
    Some(LEFT_OUT),
];
/// The same where the distribution has shifted.
const SHIFTED: [Option<f64>; 6] = [
    Some(1e16),
    Some(1e16),
    Some(1e16),
    Some(1e16),
    None,
    Some(LEFT_OUT),
];

impl World {
    /// `count` more events, which follow from `seed`.
    ///
    /// # Panics
    /// The setup says fewer partitions than the log has.
    pub fn append_events(&self, count: usize, seed: u64) {
        let mut random = Random::new(seed);
        let mut labels = Random::new(!seed);
        let later = self.later_us.load(Ordering::Relaxed);
        let shifted = self.shifted.load(Ordering::Relaxed);
        let arguments = if shifted { SHIFTED } else { USUAL };
        for number in 0..count {
            let partition = random.below(self.setup.partitions);
            let number = i64::try_from(number).expect("few");
            let step = later + number * 3 * SECOND_US;
            let jitter = i64::try_from(random.below(20)).expect("few") * SECOND_US;
            let late = if random.below(8) == 0 {
                5 * MINUTE_US
            } else {
                0
            };
            let key = KEYS.get(random.below(KEYS.len() + 1)).copied();
            let x = arguments[random.below(arguments.len())];
            if random.below(10) == 0 {
                self.log.skip(TOPIC, partition, 3);
            }
            let ahead = if self.setup.far_ahead && random.below(14) == 0 {
                365 * DAY_US
            } else {
                0
            };
            let time_us = START_US + step - jitter - late + ahead;
            let values = event(key, time_us, x, number);
            if self.setup.monitored {
                append_labels(self, &mut labels, number, time_us);
            }
            self.log.append(
                TOPIC,
                partition,
                if random.below(12) == 0 {
                    Err("not_json")
                } else {
                    Ok(values)
                },
            );
        }
    }

    /// Events from now on have mostly high scores, or such as the reference has.
    pub fn shift(&self, shifted: bool) {
        self.shifted.store(shifted, Ordering::Relaxed);
    }

    /// Events from now on are so much later.
    pub fn move_on(&self, by_us: Micros) {
        self.later_us.fetch_add(by_us, Ordering::Relaxed);
    }
}
