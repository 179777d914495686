//! Typed handles over the metric vectors. A family knows its number of labels in its type, so that
//! the panic of `with_label_values` cannot be reached; a handle is one series, resolved once and
//! then recorded without a lookup. Label values come from definitions (names of sources, views,
//! services, models) and fixed lists, never from a key, an offset or a client's text.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use prometheus::core::{Collector, MetricVec, MetricVecBuilder};
use prometheus::proto::MetricFamily;
use prometheus::{GaugeVec, HistogramOpts, HistogramVec, IntCounterVec, Opts, Registry};

use crate::described::{Described, register};
use crate::error::TelemetryError;
use crate::timing::{Place, Timing, TimingVec};

/// One counter series. Cloning shares it.
#[derive(Clone)]
pub struct Counter(prometheus::IntCounter);

impl Counter {
    /// One more.
    pub fn inc(&self) {
        self.0.inc();
    }

    /// `count` more.
    pub fn add(&self, count: u64) {
        self.0.inc_by(count);
    }

    /// Value now.
    #[must_use]
    pub fn value(&self) -> u64 {
        self.0.get()
    }
}

impl fmt::Debug for Counter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Counter").field(&self.value()).finish()
    }
}

/// One gauge series. Cloning shares it.
#[derive(Clone)]
pub struct Gauge(prometheus::Gauge);

impl Gauge {
    /// Set it.
    pub fn set(&self, value: f64) {
        self.0.set(value);
    }

    /// Set it to a point in time, given in microseconds since the epoch; exposed in seconds.
    pub fn set_time_us(&self, at_us: i64) {
        self.0.set(at_us as f64 / 1e6);
    }

    /// Raise it.
    pub fn add(&self, value: f64) {
        self.0.add(value);
    }

    /// Lower it.
    pub fn sub(&self, value: f64) {
        self.0.sub(value);
    }

    /// Value now.
    #[must_use]
    pub fn value(&self) -> f64 {
        self.0.get()
    }
}

impl fmt::Debug for Gauge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Gauge").field(&self.value()).finish()
    }
}

/// One histogram series. Cloning shares it.
#[derive(Clone)]
pub struct Histogram(prometheus::Histogram);

impl Histogram {
    /// Record one value, in the metric's base unit.
    pub fn observe(&self, value: f64) {
        self.0.observe(value);
    }

    /// Record one duration; exposed in seconds.
    pub fn observe_duration(&self, duration: Duration) {
        self.0.observe(duration.as_secs_f64());
    }

    /// Number of values so far.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.0.get_sample_count()
    }
}

impl fmt::Debug for Histogram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Histogram").field(&self.count()).finish()
    }
}

/// One series that says what a part counts by itself.
#[derive(Debug)]
pub struct TimingSeries(Place);

impl TimingSeries {
    /// From now on the series says what `timing` has counted. To show the same again changes
    /// nothing.
    pub fn show(self, timing: &Arc<Timing>) {
        self.0.show(timing);
    }
}

/// A vector that knows its series.
trait Series {
    /// The label values of each, in the order of `names`.
    fn series(&self, names: &[&str]) -> Vec<Vec<String>>;
}

impl<T: MetricVecBuilder> Series for MetricVec<T> {
    fn series(&self, names: &[&str]) -> Vec<Vec<String>> {
        let families = self.collect();
        let series = families.iter().flat_map(MetricFamily::get_metric);
        let values = series.map(|series| {
            let value = |name: &&str| {
                let pair = series.get_label().iter().find(|pair| pair.name() == *name);
                pair.map(|pair| pair.value().to_owned())
            };
            names.iter().filter_map(value).collect()
        });
        values.collect()
    }
}

impl Series for TimingVec {
    fn series(&self, _: &[&str]) -> Vec<Vec<String>> {
        self.label_values()
    }
}

macro_rules! family {
    ($(#[$doc:meta])* $family:ident, $vector:ty, $handle:ident) => {
        $(#[$doc])*
        #[derive(Clone)]
        pub struct $family<const LABELS: usize>($vector);

        impl<const LABELS: usize> $family<LABELS> {
            /// The series with these label values, in the order of `MetricName::labels`. Resolve
            /// it once and keep it.
            #[must_use]
            pub fn with(&self, labels: [&str; LABELS]) -> $handle {
                $handle(
                    self.0
                        .get_metric_with_label_values(&labels)
                        .expect("a family is registered with as many label names as its type says"),
                )
            }

            /// Stop exposing the series with these label values, when what they name retires.
            pub fn remove(&self, labels: [&str; LABELS]) {
                // An error says that the series is not there, which is what is wanted.
                drop(self.0.remove_label_values(&labels));
            }

            /// Stop exposing every series whose `label` is `value`; `names` are the labels.
            pub(crate) fn retire(&self, names: &[&str], label: &str, value: &str) {
                let Some(at) = names.iter().position(|name| *name == label) else {
                    return;
                };
                for values in self.0.series(names) {
                    if values.get(at).is_some_and(|found| found == value) {
                        let values: Vec<&str> = values.iter().map(String::as_str).collect();
                        // It may be gone by now.
                        drop(self.0.remove_label_values(&values));
                    }
                }
            }
        }

        impl<const LABELS: usize> fmt::Debug for $family<LABELS> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_struct(stringify!($family)).field("labels", &LABELS).finish_non_exhaustive()
            }
        }
    };
}

family!(
    /// A counter by labels.
    CounterFamily,
    IntCounterVec,
    Counter
);
family!(
    /// A gauge by labels.
    GaugeFamily,
    GaugeVec,
    Gauge
);
family!(
    /// A histogram by labels.
    HistogramFamily,
    HistogramVec,
    Histogram
);
family!(
    /// A histogram of durations by labels, which parts count by themselves.
    TimingFamily,
    TimingVec,
    TimingSeries
);

/// Makes and registers the family of one metric; what [`crate::names::Metrics`] is built from.
pub(crate) trait Family: Sized {
    fn register(registry: &Registry, of: Described<'_>) -> Result<Self, TelemetryError>;
}

impl<const LABELS: usize> Family for CounterFamily<LABELS> {
    fn register(registry: &Registry, of: Described<'_>) -> Result<Self, TelemetryError> {
        let vector =
            IntCounterVec::new(Opts::new(of.name, of.help), of.labels).map_err(|source| {
                TelemetryError::Metric {
                    name: of.name,
                    source,
                }
            })?;
        register(registry, of.name, Box::new(vector.clone()))?;
        let family = Self(vector);
        if LABELS == 0 {
            drop(family.with([""; LABELS])); // an untouched vector is not exposed at all
        }
        Ok(family)
    }
}

impl<const LABELS: usize> Family for GaugeFamily<LABELS> {
    fn register(registry: &Registry, of: Described<'_>) -> Result<Self, TelemetryError> {
        let vector = GaugeVec::new(Opts::new(of.name, of.help), of.labels).map_err(|source| {
            TelemetryError::Metric {
                name: of.name,
                source,
            }
        })?;
        register(registry, of.name, Box::new(vector.clone()))?;
        let family = Self(vector);
        if LABELS == 0 {
            drop(family.with([""; LABELS]));
        }
        Ok(family)
    }
}

impl<const LABELS: usize> Family for HistogramFamily<LABELS> {
    fn register(registry: &Registry, of: Described<'_>) -> Result<Self, TelemetryError> {
        let options = HistogramOpts::new(of.name, of.help).buckets(of.buckets.to_vec());
        let vector =
            HistogramVec::new(options, of.labels).map_err(|source| TelemetryError::Metric {
                name: of.name,
                source,
            })?;
        register(registry, of.name, Box::new(vector.clone()))?;
        let family = Self(vector);
        if LABELS == 0 {
            drop(family.with([""; LABELS]));
        }
        Ok(family)
    }
}

impl<const LABELS: usize> Family for TimingFamily<LABELS> {
    fn register(registry: &Registry, of: Described<'_>) -> Result<Self, TelemetryError> {
        let family = Self(TimingVec::register(registry, of)?);
        if LABELS == 0 {
            family.with([""; LABELS]).show(&Arc::default());
        }
        Ok(family)
    }
}
