//! Durations that a part counts by itself: [`Timing`] is a histogram of atomics that any part may
//! hold without a registry, and [`TimingFamily`](crate::family::TimingFamily) exposes those that it
//! is shown, as real Prometheus histograms that are read when they are scraped. Recording takes no
//! lock; every timing has the same bounds, so that a part need not know the table of metrics.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use prometheus::Registry;
use prometheus::core::{Collector, Desc};
use prometheus::proto::{Bucket, Histogram, LabelPair, Metric, MetricFamily, MetricType};

use crate::described::{Described, register};
use crate::error::TelemetryError;

/// Buckets with an upper bound: from 0.1 ms to 56 minutes.
const BUCKETS: usize = 26;
/// Upper bound of the first bucket, microseconds; each further one doubles it.
const FIRST_US: u64 = 100;
/// Upper bounds, seconds.
pub(crate) const TIMING_SECONDS: &[f64] = &bounds();

const fn bounds() -> [f64; BUCKETS] {
    let mut bounds = [0.0; BUCKETS];
    let mut i = 0;
    while i < BUCKETS {
        bounds[i] = (FIRST_US << i) as f64 / 1e6;
        i += 1;
    }
    bounds
}

/// How long something took, over all times that it was done. Relaxed: it is for people.
#[derive(Debug, Default)]
pub struct Timing {
    /// By bucket, not cumulative.
    buckets: [AtomicU64; BUCKETS],
    /// Beyond the last bound.
    longer: AtomicU64,
    sum_ns: AtomicU64,
}

/// One reading of a [`Timing`].
#[derive(Debug, Clone, Default, PartialEq)]
pub struct TimingStats {
    /// Durations so far.
    pub count: u64,
    /// Their sum, seconds.
    pub sum_seconds: f64,
    /// How many lie at or below each bound, in ascending order of the bounds.
    pub at_most: Vec<u64>,
}

impl Timing {
    /// Record one duration.
    pub fn record(&self, took: Duration) {
        let first = Duration::from_micros(FIRST_US);
        let mut bound = first;
        let mut at = 0;
        while took > bound && at < BUCKETS {
            bound *= 2;
            at += 1;
        }
        let bucket = self.buckets.get(at).unwrap_or(&self.longer);
        bucket.fetch_add(1, Ordering::Relaxed);
        let took_ns = took.as_secs() * 1_000_000_000 + u64::from(took.subsec_nanos());
        self.sum_ns.fetch_add(took_ns, Ordering::Relaxed);
    }

    /// Durations so far.
    #[must_use]
    pub fn count(&self) -> u64 {
        let buckets = self.buckets.iter().chain([&self.longer]);
        buckets.map(|bucket| bucket.load(Ordering::Relaxed)).sum()
    }

    /// A reading.
    #[must_use]
    pub fn read(&self) -> TimingStats {
        let mut count = 0;
        let at_most = self.buckets.iter().map(|bucket| {
            count += bucket.load(Ordering::Relaxed);
            count
        });
        let at_most = at_most.collect();
        TimingStats {
            count: count + self.longer.load(Ordering::Relaxed),
            sum_seconds: self.sum_ns.load(Ordering::Relaxed) as f64 / 1e9,
            at_most,
        }
    }
}

/// Timings by the name of what is timed. Take a name's once where it is recorded often.
#[derive(Debug, Default)]
pub struct Timings(Mutex<BTreeMap<String, Arc<Timing>>>);

impl Timings {
    /// That of `name`.
    #[must_use]
    pub fn of(&self, name: &str) -> Arc<Timing> {
        let mut timings = self.0.lock();
        if let Some(timing) = timings.get(name) {
            return Arc::clone(timing);
        }
        let timing = Arc::<Timing>::default();
        timings.insert(name.to_owned(), Arc::clone(&timing));
        timing
    }

    /// All of them.
    #[must_use]
    pub fn all(&self) -> Vec<(String, Arc<Timing>)> {
        let timings = self.0.lock();
        let shared = timings.iter();
        shared
            .map(|(name, timing)| (name.clone(), Arc::clone(timing)))
            .collect()
    }
}

/// The timings that are shown under one name, by label values.
#[derive(Debug, Clone, Default)]
pub(crate) struct TimingVec(Arc<Mutex<BTreeMap<Vec<String>, Arc<Timing>>>>);

/// The place of one series in its vector.
#[derive(Debug)]
pub(crate) struct Place {
    vector: TimingVec,
    labels: Vec<String>,
}

impl Place {
    pub(crate) fn show(self, timing: &Arc<Timing>) {
        self.vector.0.lock().insert(self.labels, Arc::clone(timing));
    }
}

impl TimingVec {
    /// As the vectors of the other types; there is nothing that could fail.
    pub(crate) fn get_metric_with_label_values(
        &self,
        labels: &[&str],
    ) -> prometheus::Result<Place> {
        Ok(Place {
            vector: self.clone(),
            labels: owned(labels),
        })
    }

    /// As the vectors of the other types.
    pub(crate) fn remove_label_values(&self, labels: &[&str]) -> prometheus::Result<()> {
        self.0.lock().remove(&owned(labels));
        Ok(())
    }

    /// Those of each series.
    pub(crate) fn label_values(&self) -> Vec<Vec<String>> {
        self.0.lock().keys().cloned().collect()
    }

    /// Expose what is shown.
    pub(crate) fn register(registry: &Registry, of: Described<'_>) -> Result<Self, TelemetryError> {
        let labels = owned(of.labels);
        let (name, help) = (of.name.to_owned(), of.help.to_owned());
        let desc = Desc::new(name, help, labels.clone(), HashMap::new());
        let desc = desc.map_err(|source| TelemetryError::Metric {
            name: of.name,
            source,
        })?;
        let vector = Self::default();
        let collector = TimingCollector {
            desc,
            labels,
            shown: vector.clone(),
        };
        register(registry, of.name, Box::new(collector))?;
        Ok(vector)
    }
}

fn owned(labels: &[&str]) -> Vec<String> {
    labels.iter().map(|label| (*label).to_owned()).collect()
}

/// Reads the timings of one family for a scrape.
struct TimingCollector {
    desc: Desc,
    labels: Vec<String>,
    shown: TimingVec,
}

impl Collector for TimingCollector {
    fn desc(&self) -> Vec<&Desc> {
        vec![&self.desc]
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let shown = self.shown.0.lock();
        let metrics = shown.iter().map(|(values, timing)| {
            let pairs = self.labels.iter().zip(values).map(|(label, value)| {
                let mut pair = LabelPair::default();
                pair.set_name(label.clone());
                pair.set_value(value.clone());
                pair
            });
            let mut pairs: Vec<LabelPair> = pairs.collect();
            // The exposition sorts labels by their name.
            pairs.sort();
            let mut metric = Metric::from_label(pairs);
            metric.set_histogram(histogram(&timing.read()));
            metric
        });
        let metrics = metrics.collect();
        drop(shown);
        let mut family = MetricFamily::default();
        family.set_name(self.desc.fq_name.clone());
        family.set_help(self.desc.help.clone());
        family.set_field_type(MetricType::HISTOGRAM);
        family.set_metric(metrics);
        vec![family]
    }
}

fn histogram(read: &TimingStats) -> Histogram {
    let buckets = TIMING_SECONDS.iter().zip(&read.at_most);
    let buckets = buckets.map(|(bound, count)| {
        let mut bucket = Bucket::default();
        bucket.set_upper_bound(*bound);
        bucket.set_cumulative_count(*count);
        bucket
    });
    let mut histogram = Histogram::default();
    histogram.set_bucket(buckets.collect());
    histogram.set_sample_count(read.count);
    histogram.set_sample_sum(read.sum_seconds);
    histogram
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_counted_at_or_below_its_bound_and_one_beyond_all_too() {
        let timing = Timing::default();
        let us = Duration::from_micros;
        let last = us(FIRST_US << (BUCKETS - 1));
        for took in [us(0), us(100), us(101), last, last + us(1)] {
            timing.record(took);
        }
        let read = timing.read();
        assert_eq!((read.at_most[0], read.at_most[1]), (2, 3));
        assert_eq!(read.at_most[BUCKETS - 2..], [3, 4]);
        assert_eq!(read.count, 5, "the longest is beyond every bound");
        let sum = 2.0 * last.as_secs_f64() + 0.000_202;
        assert!((read.sum_seconds - sum).abs() < 1e-9, "{read:?}");
        assert_eq!(TIMING_SECONDS[BUCKETS - 1], last.as_secs_f64());
    }

    #[test]
    fn a_name_has_one_timing() {
        let timings = Timings::default();
        timings.of("a").record(Duration::from_secs(1));
        timings.of("a").record(Duration::from_secs(1));
        let _other = timings.of("b");
        let counts = timings.all().into_iter();
        let counts: Vec<_> = counts.map(|(name, t)| (name, t.read().count)).collect();
        assert_eq!(counts, [("a".to_owned(), 2), ("b".to_owned(), 0)]);
    }
}
