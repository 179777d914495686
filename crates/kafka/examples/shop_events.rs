//! Fills a topic with events of a shop for `bench/run ingest`: JSON objects of ten fields, of about
//! 190 bytes, over three days of event time, in order. One JSON object to standard output:
//!
//!     shop_events BOOTSTRAP TOPIC EVENTS KEYS zipf|even
//!
//! `zipf` draws the keys by Zipf's law with exponent 0.99, `even` gives each key the same chance.
//! The same arguments give the same events.

#![allow(clippy::disallowed_methods, reason = "it measures real time")]
#![expect(clippy::print_stdout, reason = "an example prints what it measured")]

use std::error::Error;
use std::time::{Duration, Instant};

use forebay_kafka::{ClientSettings, ProducerSettings, Replayer};
use forebay_testkit::Random;

const EXPONENT: f64 = 0.99;
/// 2024-06-01T00:00:00Z.
const BEGINNING_US: i64 = 1_717_200_000_000_000;
const SPAN_US: i64 = 3 * 24 * 3_600 * 1_000_000;
const PATIENCE: Duration = Duration::from_secs(60);
const COUNTRIES: [&str; 8] = ["DE", "FR", "GB", "IT", "NL", "PL", "SE", "US"];
const DEVICES: [&str; 4] = ["web", "ios", "android", "kiosk"];

/// Draws the number of a key.
enum Keys {
    Even(usize),
    /// Shares of the keys up to each, ascending to one.
    Zipf(Vec<f64>),
}

impl Keys {
    fn of(law: &str, keys: usize) -> Option<Self> {
        match law {
            "even" => Some(Self::Even(keys)),
            "zipf" => {
                let mut sum = 0.0;
                let weights = (1..=keys).map(|rank| (rank as f64).powf(-EXPONENT));
                let mut shares: Vec<f64> = weights
                    .map(|weight| {
                        sum += weight;
                        sum
                    })
                    .collect();
                shares.iter_mut().for_each(|share| *share /= sum);
                Some(Self::Zipf(shares))
            }
            _ => None,
        }
    }

    fn draw(&self, random: &mut Random) -> usize {
        match self {
            Self::Even(keys) => random.below(*keys),
            Self::Zipf(shares) => {
                let at = (random.bits() >> 11) as f64 / (1_u64 << 53) as f64;
                let rank = shares.partition_point(|share| *share <= at);
                rank.min(shares.len() - 1)
            }
        }
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let usage = "usage: shop_events BOOTSTRAP TOPIC EVENTS KEYS zipf|even";
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [bootstrap, topic, events, keys, law] = arguments.as_slice() else {
        return Err(usage.into());
    };
    let (events, keys): (usize, usize) = (events.parse()?, keys.parse()?);
    let keys = Keys::of(law, keys).ok_or(usage)?;
    let replayer = Replayer::new(ProducerSettings::new(ClientSettings::new(bootstrap)))?;
    let (mut random, mut bytes, started) = (Random::new(7), 0_u64, Instant::now());
    for number in 0..events {
        let event = event(number, events, keys.draw(&mut random), &mut random);
        bytes += event.len() as u64;
        replayer.send(topic, None, b"", event.as_bytes(), None)?;
    }
    let sent = replayer.flush(PATIENCE)?;
    let seconds = started.elapsed().as_secs_f64();
    println!("{{\"events\": {sent}, \"bytes\": {bytes}, \"seconds\": {seconds}}}");
    Ok(())
}

fn event(number: usize, events: usize, key: usize, random: &mut Random) -> String {
    let at = BEGINNING_US + (SPAN_US as f64 * (number as f64 / events as f64)) as i64;
    let (cents, quantity) = (random.below(50_000), 1 + random.below(9));
    let (country, device) = (COUNTRIES[random.below(8)], DEVICES[random.below(4)]);
    let (session, page) = (random.bits(), random.below(10_000));
    format!(
        "{{\"event_id\":\"e{number:09}\",\"user_id\":\"u{key:07}\",\"at\":{at},\"amount\":{}.{:02},\
         \"quantity\":{quantity},\"country\":\"{country}\",\"device\":\"{device}\",\"is_new\":{},\
         \"session\":\"{session:016x}\",\"page\":\"/p/{page}\"}}",
        cents / 100,
        cents % 100,
        number.is_multiple_of(5),
    )
}
